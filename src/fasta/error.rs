//! Errors of FASTA input: where, what was found, and `hint:` lines that say what to do.

use std::{fmt, io, sync::Arc};

use thiserror::Error;

use super::{Damage, Lookalike, MAX_HEADER, MAX_SEQUENCE};
use crate::numerals::count;
use crate::printable;

/// Characters of an identifier that a message shows.
const SHOWN: usize = 80;

/// Why FASTA input cannot be read.
#[derive(Debug, Clone, Error)]
pub enum FastaError {
    /// One record is unusable; the reader can read the next.
    #[error(transparent)]
    Record(#[from] Box<BadRecord>),
    /// The input cannot be opened.
    #[error("{file}: cannot be opened: {cause}\nhint: check the path and its permissions")]
    Open {
        /// Name of the input.
        file: String,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// The input is a folder.
    #[error("{file}: is a folder\nhint: name the FASTA files in it, for example {file}/*.fasta")]
    Folder {
        /// Name of the input.
        file: String,
    },
    /// The input cannot be read further.
    #[error(
        "{file}, line {line}: cannot be read: {cause}\n\
         hint: check the disk, or the program that writes this input, then run again"
    )]
    Read {
        /// Name of the input.
        file: String,
        /// The line that was being read, from 1.
        line: u64,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// What is read cannot be written to a second file.
    #[error("{file}: the copy of it cannot be written: {cause}\nhint: make space on that disk")]
    Copy {
        /// Name of the input.
        file: String,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// The length of a file changed while it was read.
    #[error(
        "{file}: changed while it was read: it had {} when it was opened and has {} now\n\
         hint: wait until nothing writes to it, then run again",
        count(*length, "byte"),
        count(*found, "byte")
    )]
    Changed {
        /// Name of the input.
        file: String,
        /// Length in bytes when its end was reached.
        found: u64,
        /// Length in bytes when the file was opened.
        length: u64,
    },
    /// The compressed data is cut short, damaged or followed by something else.
    #[error("{file}: {damage}")]
    Damaged {
        /// Name of the input.
        file: String,
        /// What is wrong with the compressed data.
        damage: Damage,
    },
    /// The text is in an encoding of two or four bytes per character.
    #[error(
        "{file}: is {encoding} text, but FASTA is ASCII or UTF-8\n\
         hint: convert it with `iconv -f {encoding} -t UTF-8 IN > OUT`"
    )]
    Encoding {
        /// Name of the input.
        file: String,
        /// `UTF-16` or `UTF-32`, with the byte order where no mark gives it.
        encoding: &'static str,
    },
    /// The first line that is not blank has an invisible character before its `>`.
    #[error(
        "{file}, line {line}: the invisible character {} at column {column} is before the `>`, so \
         the line is not a header\n\
         hint: delete that character",
        code_point(*character)
    )]
    UnseenAtStart {
        /// Name of the input.
        file: String,
        /// The line, from 1.
        line: u64,
        /// Column of the character, in characters, from 1.
        column: u64,
        /// The character.
        character: char,
    },
    /// The first line that is not blank does not start with `>`.
    #[error(
        "{file}, line {line}: not FASTA, which starts with `>`: the line starts with `{start}`, \
         which looks like {}\nhint: {}", .lookalike.what, .lookalike.remedy
    )]
    NotFasta {
        /// Name of the input.
        file: String,
        /// The first line that is not blank, from 1.
        line: u64,
        /// How that line starts, printable.
        start: String,
        /// What it looks like instead.
        lookalike: Lookalike,
    },
}

impl FastaError {
    /// Whether the error is of one record, so that the next one can be read.
    pub fn is_record(&self) -> bool {
        self.record().is_some()
    }

    /// The record, if the error is of one and the next one can be read.
    pub fn record(&self) -> Option<&BadRecord> {
        match self {
            Self::Record(record) => Some(record),
            _ => None,
        }
    }
}

/// A record that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}, line {}, record {number} ({}): {fault}", place(.line, .fault), Id(.id))]
pub struct BadRecord {
    /// Name of the input.
    pub file: String,
    /// The number of the record in its file, from 1.
    pub number: u64,
    /// The line of its header, from 1.
    pub line: u64,
    /// Its identifier; of a header that is too long, at most its first 1024 bytes.
    pub id: Vec<u8>,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with one record. Lines and columns count from 1; columns are bytes unless stated
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The header is longer than [`MAX_HEADER`].
    #[error(
        "the header has more than {}\nhint: check that its line ends where it should",
        count(MAX_HEADER as u64, "byte")
    )]
    HeaderTooLong,
    /// The sequence is longer than [`MAX_SEQUENCE`].
    #[error(
        "the sequence has more than {}\n\
         hint: check that the file is protein FASTA and that no header lost its `>`\n\
         hint: cut the sequence",
        count(MAX_SEQUENCE as u64, "character")
    )]
    SequenceTooLong {
        /// The line on which the bound was passed.
        line: u64,
    },
    /// A line starts with `;` or `#`.
    #[error(
        "the line starts with `{mark}`, as comments do; FASTA has none\n\
         hint: delete such lines, for example with `grep -v '^{mark}' IN > OUT`"
    )]
    Comment {
        /// The comment's line.
        line: u64,
        /// `;` or `#`.
        mark: char,
    },
    /// A `>` inside a sequence line.
    #[error(
        "there is a `>` at column {column}, inside a sequence line\n\
         hint: if a header starts there, put it on its own line (joined files may lack a last line \
         end); otherwise delete the `>`"
    )]
    HeaderInLine {
        /// Its line.
        line: u64,
        /// Its column.
        column: u64,
    },
    /// An invisible character before the `>` that would start a header.
    #[error(
        "the invisible character {} at column {column} is before the `>`, so the line is not a \
         header\n\
         hint: delete that character, or the `>` if the line is sequence",
        code_point(*character)
    )]
    UnseenBeforeHeader {
        /// Its line.
        line: u64,
        /// Its column, in characters.
        column: u64,
        /// The character.
        character: char,
    },
    /// A control character in the sequence.
    #[error(
        "there is a control character, 0x{byte:02X}, at column {column} of the sequence\n\
         hint: delete it, or create the file again if it is damaged"
    )]
    Control {
        /// Its line.
        line: u64,
        /// Its column.
        column: u64,
        /// The character.
        byte: u8,
    },
    /// A byte in the sequence that is not UTF-8.
    #[error(
        "the byte 0x{byte:02X} at column {column} of the sequence is not UTF-8\n\
         hint: replace it, or convert the file, for example with \
         `iconv -f ISO-8859-1 -t UTF-8 IN > OUT`"
    )]
    NotUtf8 {
        /// Its line.
        line: u64,
        /// Its column.
        column: u64,
        /// The byte.
        byte: u8,
    },
    /// The record is written in the PIR format.
    #[error(
        "this is a PIR record (`>{code};` … `*`), whose second line is a title, not sequence\n\
         hint: convert the file to FASTA, for example with \
         `seqret -sequence pir::IN -outseq fasta::OUT`"
    )]
    Pir {
        /// The two characters of the entry type.
        code: String,
    },
}

impl Fault {
    /// The line of the fault, if it is not the header's.
    pub fn line(&self) -> Option<u64> {
        match *self {
            Self::HeaderTooLong | Self::Pir { .. } => None,
            Self::SequenceTooLong { line }
            | Self::Comment { line, .. }
            | Self::HeaderInLine { line, .. }
            | Self::UnseenBeforeHeader { line, .. }
            | Self::Control { line, .. }
            | Self::NotUtf8 { line, .. } => Some(line),
        }
    }
}

/// The line that a message names: that of the fault, else that of the header.
fn place(header: &u64, fault: &Fault) -> u64 {
    fault.line().unwrap_or(*header)
}

/// The code point of a character: `U+00A0`.
fn code_point(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

/// An identifier as messages show it.
struct Id<'a>(&'a [u8]);

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("no id")
        } else {
            write!(f, "`{}`", printable::start(self.0, SHOWN))
        }
    }
}
