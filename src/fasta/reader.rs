//! Bytes to records.

use std::io::Read;

use super::{
    BadRecord, FastaError, Fault, Input, MAX_HEADER, MAX_SEQUENCE, Record,
    buffer::{LineBuffer, PREVIEW, line_length, prefix, residue_length},
    input::failure,
    is_blank,
    lead::{Lead, unseen_before_header},
    lookalike::lookalike,
};
use crate::printable;

/// Bytes read at a time.
const CAPACITY: usize = 256 << 10;

/// Characters of a foreign first line that a message shows.
const SHOWN: usize = 24;

/// Bytes kept of a header that is too long.
const KEPT: usize = 1024;

/// The longest distance, in bytes, at which a `>` still closes a `<`.
const TOKEN: usize = 16;

/// The codes that a PIR header may start with, before a semicolon.
const PIR_CODES: [&[u8]; 9] = [
    b"P1", b"F1", b"DL", b"DC", b"RL", b"RC", b"N1", b"N3", b"XX",
];

/// A reader of FASTA records.
#[derive(Debug)]
pub struct Reader<R> {
    lines: LineBuffer<R>,
    name: String,
    position: Position,
    records: u64,
    /// Byte of the decompressed input at which the record that was read last begins.
    start: u64,
    /// The header being read; kept for its allocation.
    header: Vec<u8>,
    hash_is_letter: bool,
}

/// Where a record begins in its decompressed input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordStart {
    /// The byte of its `>`.
    pub offset: u64,
    /// The line of its header, from 1.
    pub line: u64,
    /// Its number in its file, from 1.
    pub number: u64,
}

/// The position of a reader.
#[derive(Debug)]
enum Position {
    /// Nothing has been read.
    Start,
    /// At a `>` that starts a line, or at the end.
    Header,
    /// Inside a record that is skipped.
    BadRecord,
    /// After an error that ends reading.
    Failed(FastaError),
}

impl Reader<Input> {
    /// Makes a reader of an opened file or standard input.
    pub fn new(input: Input) -> Self {
        let name = input.name().to_owned();
        Self::with_capacity(name, input, CAPACITY)
    }
}

impl<R> Reader<R> {
    /// Makes a reader of any bytes that need no decompression; `name` is for messages.
    pub fn from_read(name: impl Into<String>, inner: R) -> Self {
        Self::with_capacity(name, inner, CAPACITY)
    }

    /// As [`from_read`](Self::from_read), with a buffer of `capacity` bytes, at least 512.
    pub fn with_capacity(name: impl Into<String>, inner: R, capacity: usize) -> Self {
        Self {
            lines: LineBuffer::new(inner, capacity),
            name: name.into(),
            position: Position::Start,
            records: 0,
            start: 0,
            header: Vec::new(),
            hash_is_letter: false,
        }
    }

    /// Whether a line of a sequence may begin with `#`, which structure-aware alphabets have among their
    /// letters. Otherwise such a line is a comment, and an error.
    pub fn hash_is_letter(mut self, is_letter: bool) -> Self {
        self.hash_is_letter = is_letter;
        self
    }

    /// Makes a reader of bytes that begin with the header of a record of a larger input.
    pub fn at_record(
        name: impl Into<String>,
        inner: R,
        capacity: usize,
        start: RecordStart,
    ) -> Self {
        Self {
            lines: LineBuffer::at(inner, capacity, start.offset, start.line),
            name: name.into(),
            position: Position::Header,
            records: start.number.saturating_sub(1),
            start: start.offset,
            header: Vec::new(),
            hash_is_letter: false,
        }
    }

    /// Where the record that was read last begins in the decompressed input.
    pub fn record_offset(&self) -> u64 {
        self.start
    }

    /// Bytes of the decompressed input that have been read as records: the start of the next record,
    /// unless the last one was unusable.
    pub fn offset(&self) -> u64 {
        self.lines.offset()
    }

    /// Records met so far, unusable ones included.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The source.
    pub fn get_ref(&self) -> &R {
        self.lines.get_ref()
    }

    /// The source, to change how it is read.
    pub fn get_mut(&mut self) -> &mut R {
        self.lines.get_mut()
    }

    /// The source; what is buffered is lost.
    pub fn into_inner(self) -> R {
        self.lines.into_inner()
    }
}

impl<R: Read> Reader<R> {
    /// Reads the next record into `record`; `false` means that there is none.
    ///
    /// An input without any record gives `false` at once.
    ///
    /// # Errors
    ///
    /// After a [record-level](FastaError::is_record) error `record` holds the header with an
    /// empty sequence, and the next call reads the record that follows. After any other error
    /// every call returns that error again.
    pub fn read(&mut self, record: &mut Record) -> Result<bool, FastaError> {
        if let Position::Failed(error) = &self.position {
            return Err(error.clone());
        }
        let result = self.advance(record);
        self.position = match &result {
            Ok(_) => Position::Header,
            Err(error) if error.is_record() => Position::BadRecord,
            Err(error) => Position::Failed(error.clone()),
        };
        if !matches!(result, Ok(true)) {
            record.sequence.clear();
        }
        result
    }

    /// Goes forward to the start of a record, over whatever lies between. False if the input ends
    /// before, or no header starts there.
    ///
    /// # Errors
    ///
    /// The input cannot be read.
    pub fn pass_to(&mut self, start: RecordStart) -> Result<bool, FastaError> {
        let passed = self.lines.pass_to(start.offset, start.line);
        let passed = passed.map_err(|error| failure(&self.name, start.line, error))?;
        self.records = start.number.saturating_sub(1);
        self.position = Position::Header;
        Ok(passed && self.peek()?.first() == Some(&b'>'))
    }

    fn advance(&mut self, record: &mut Record) -> Result<bool, FastaError> {
        match self.position {
            Position::Start => self.find_first()?,
            Position::BadRecord => self.skip_record()?,
            Position::Header | Position::Failed(_) => {}
        }
        if self.peek()?.is_empty() {
            return Ok(false);
        }
        self.read_header(record)?;
        self.read_sequence(record)?;
        self.check_pir(record)?;
        Ok(true)
    }

    /// Skips blank lines up to the first header.
    fn find_first(&mut self) -> Result<(), FastaError> {
        if let Some(encoding) = wide_encoding(self.peek_at_least(4)?) {
            return Err(FastaError::Encoding {
                file: self.name.clone(),
                encoding,
            });
        }
        loop {
            let Some(&byte) = self.peek()?.first() else {
                return Ok(());
            };
            match byte {
                b'>' if self.lines.at_line_start() => return Ok(()),
                b'\n' | b'\r' => self.lines.end_line(byte),
                _ if is_blank(byte) => {
                    let count = prefix(self.peek()?, is_blank);
                    self.lines.consume(count);
                }
                _ if self.at_mark(byte)? => {}
                _ => return Err(self.not_fasta()),
            }
        }
    }

    fn not_fasta(&mut self) -> FastaError {
        let line = self.lines.line();
        let column = self.lines.column();
        let preview = match self.peek_at_least(PREVIEW) {
            Ok(preview) => preview,
            Err(error) => return error,
        };
        let start = preview.get(..line_length(preview)).unwrap_or_default();
        if let Some((before, character)) = unseen_before_header(start) {
            return FastaError::UnseenAtStart {
                file: self.name.clone(),
                line,
                column: column + before,
                character,
            };
        }
        let start = printable::start(start, SHOWN);
        let lookalike = lookalike(preview);
        FastaError::NotFasta {
            file: self.name.clone(),
            line,
            start,
            lookalike,
        }
    }

    /// Goes to the next header over the rest of a record, whatever it holds.
    fn skip_record(&mut self) -> Result<(), FastaError> {
        loop {
            let at_line_start = self.lines.at_line_start();
            let Some(&first) = self.peek()?.first() else {
                return Ok(());
            };
            if at_line_start && first == b'>' {
                return Ok(());
            }
            if self.at_mark(first)? {
                continue;
            }
            let bytes = self.peek()?;
            let length = line_length(bytes);
            let end = bytes.get(length).copied();
            self.lines.consume(length);
            if let Some(byte) = end {
                self.lines.end_line(byte);
            }
        }
    }

    /// Reads the header that starts at the next byte, with its line end.
    fn read_header(&mut self, record: &mut Record) -> Result<(), FastaError> {
        self.records += 1;
        record.number = self.records;
        record.line = self.lines.line();
        self.start = self.lines.offset();
        self.lines.consume(1);
        self.header.clear();
        loop {
            let bytes = self
                .lines
                .peek()
                .map_err(|error| failure(&self.name, record.line, error))?;
            if bytes.is_empty() {
                break;
            }
            let length = line_length(bytes);
            let (text, rest) = bytes.split_at(length);
            let end = rest.first().copied();
            if self.header.len() + length > MAX_HEADER {
                self.header.truncate(KEPT);
                record.set_header(&self.header);
                return Err(self.bad(record, Fault::HeaderTooLong));
            }
            self.header.extend_from_slice(text);
            self.lines.consume(length);
            if let Some(byte) = end {
                self.lines.end_line(byte);
                break;
            }
        }
        record.set_header(&self.header);
        Ok(())
    }

    /// Reads sequence lines up to the next header or the end.
    fn read_sequence(&mut self, record: &mut Record) -> Result<(), FastaError> {
        record.sequence.clear();
        let mut lead = Lead::default();
        loop {
            let line = self.lines.line();
            let column = self.lines.column();
            let at_line_start = self.lines.at_line_start();
            if at_line_start {
                lead = Lead::default();
            }
            let hash_is_letter = self.hash_is_letter;
            let bytes = self.peek()?;
            let Some(&first) = bytes.first() else {
                return Ok(());
            };
            match first {
                b'>' if at_line_start => return Ok(()),
                b';' | b'#' if at_line_start && !(first == b'#' && hash_is_letter) => {
                    let mark = char::from(first);
                    return Err(self.bad(record, Fault::Comment { line, mark }));
                }
                b'\n' | b'\r' => self.lines.end_line(first),
                b'>' if !closes_token(&record.sequence) => {
                    let fault = match lead.unseen {
                        Some((column, character)) if lead.holds => Fault::UnseenBeforeHeader {
                            line,
                            column,
                            character,
                        },
                        _ => Fault::HeaderInLine { line, column },
                    };
                    return Err(self.bad(record, fault));
                }
                _ if is_blank(first) => {
                    let count = prefix(bytes, is_blank);
                    self.lines.consume(count);
                    lead.characters += count as u64;
                }
                _ if self.at_mark(first)? => {}
                _ => {
                    let Some(count) = self.take_residues(record)? else {
                        let fault = if first.is_ascii() {
                            Fault::Control {
                                line,
                                column,
                                byte: first,
                            }
                        } else {
                            Fault::NotUtf8 {
                                line,
                                column,
                                byte: first,
                            }
                        };
                        return Err(self.bad(record, fault));
                    };
                    lead.pass(&record.sequence, count);
                    self.lines.consume(count);
                }
            }
        }
    }

    /// Appends the run of characters that comes next and gives its length in bytes; `None` if
    /// the next byte is a control character or not UTF-8.
    fn take_residues(&mut self, record: &mut Record) -> Result<Option<usize>, FastaError> {
        let wanted = match self.peek()?.first() {
            Some(0x80..) => 4,
            _ => 1,
        };
        let bytes = self.peek_at_least(wanted)?;
        let count = match bytes.first() {
            Some(b'>') => 1,
            Some(0x80..) => character_length(bytes),
            _ => residue_length(bytes),
        };
        let residues = bytes.get(..count).unwrap_or_default();
        if residues.is_empty() {
            return Ok(None);
        }
        if record.sequence.len() + count > MAX_SEQUENCE {
            let line = self.lines.line();
            return Err(self.bad(record, Fault::SequenceTooLong { line }));
        }
        record.sequence.extend_from_slice(residues);
        Ok(Some(count))
    }

    /// A PIR record gives itself away by the code in its header and the `*` at its end; either
    /// by itself is ordinary FASTA.
    fn check_pir(&self, record: &Record) -> Result<(), FastaError> {
        let Some((code, b";")) = record
            .id
            .get(..3)
            .and_then(|start| start.split_at_checked(2))
        else {
            return Ok(());
        };
        if PIR_CODES.contains(&code) && record.sequence.ends_with(b"*") {
            let code = String::from_utf8_lossy(code).into_owned();
            return Err(self.bad(record, Fault::Pir { code }));
        }
        Ok(())
    }

    /// Passes a byte order mark at the start of a line, whose first byte is `byte`.
    fn at_mark(&mut self, byte: u8) -> Result<bool, FastaError> {
        if byte != 0xEF || !self.lines.at_line_start() {
            return Ok(false);
        }
        let line = self.lines.line();
        self.lines
            .skip_mark()
            .map_err(|error| failure(&self.name, line, error))
    }

    fn peek(&mut self) -> Result<&[u8], FastaError> {
        self.peek_at_least(1)
    }

    fn peek_at_least(&mut self, count: usize) -> Result<&[u8], FastaError> {
        let line = self.lines.line();
        self.lines
            .peek_at_least(count)
            .map_err(|error| failure(&self.name, line, error))
    }
}

impl<R> Reader<R> {
    fn bad(&self, record: &Record, fault: Fault) -> FastaError {
        FastaError::Record(Box::new(BadRecord {
            file: self.name.clone(),
            number: record.number,
            line: record.line,
            id: record.id.clone(),
            fault,
        }))
    }
}

/// Whether a `>` after `sequence` closes a `<` shortly before, as in `<mask>`.
fn closes_token(sequence: &[u8]) -> bool {
    sequence
        .iter()
        .rev()
        .take(TOKEN)
        .find(|byte| matches!(byte, b'<' | b'>'))
        == Some(&b'<')
}

/// Bytes of the UTF-8 character at the start of `bytes`; 0 if there is none.
fn character_length(bytes: &[u8]) -> usize {
    (2..=4)
        .find(|&length| {
            bytes
                .get(..length)
                .is_some_and(|bytes| std::str::from_utf8(bytes).is_ok())
        })
        .unwrap_or(0)
}

/// The encoding of a text whose characters have two or four bytes, from its byte order mark or
/// from the zero bytes beside its ASCII characters.
fn wide_encoding(head: &[u8]) -> Option<&'static str> {
    match head {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => Some("UTF-32"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Some("UTF-16"),
        [1..=0x7F, 0, 0, 0, ..] => Some("UTF-32LE"),
        [0, 0, 0, 1..=0x7F, ..] => Some("UTF-32BE"),
        [1..=0x7F, 0] | [1..=0x7F, 0, _, 0, ..] => Some("UTF-16LE"),
        [0, 1..=0x7F] | [0, 1..=0x7F, 0, _, ..] => Some("UTF-16BE"),
        _ => None,
    }
}
