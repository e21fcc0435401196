//! Errors of FASTA input: where, what was found, and what to do.

use std::{fmt, io, sync::Arc};

use thiserror::Error;

use super::{Damage, Lookalike, MAX_HEADER, MAX_SEQUENCE};
use crate::printable;

/// Characters of an identifier that a message shows.
const SHOWN: usize = 80;

/// What can go wrong when FASTA is read.
#[derive(Debug, Clone, Error)]
pub enum FastaError {
    /// One record is unusable; the reader can go on with the next.
    #[error(transparent)]
    Record(#[from] Box<BadRecord>),
    /// The input cannot be opened.
    #[error("{file}: cannot be opened: {cause}; check the path and its permissions")]
    Open {
        /// Name of the input.
        file: String,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// The input is a folder.
    #[error("{file}: is a folder; name the FASTA files in it, for example {file}/*.fasta")]
    Folder {
        /// Name of the input.
        file: String,
    },
    /// The input cannot be read on.
    #[error(
        "{file}, line {line}: cannot be read: {cause}; check the disk or the program that feeds \
         it, then run again"
    )]
    Read {
        /// Name of the input.
        file: String,
        /// The line that was being read, from 1.
        line: u64,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// A file has another length at its end than when it was opened.
    #[error(
        "{file}: changed while it was read (it had {length} bytes when it was opened and has \
         {found}); wait until nothing writes to it, then run again"
    )]
    Changed {
        /// Name of the input.
        file: String,
        /// Bytes up to the end that it has now.
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
        "{file}: is {encoding} text; FASTA is ASCII or UTF-8: convert it with \
         `iconv -f {encoding} -t UTF-8 IN > OUT`"
    )]
    Encoding {
        /// Name of the input.
        file: String,
        /// `UTF-16` or `UTF-32`, with the byte order where no mark gives it.
        encoding: &'static str,
    },
    /// The first line that is not blank has an invisible character before its `>`.
    #[error(
        "{file}, line {line}: the invisible character {} at column {column} is in front of `>`, so the \
         line is not a header: delete it",
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
         which looks like {}; {}", .lookalike.what, .lookalike.remedy
    )]
    NotFasta {
        /// Name of the input.
        file: String,
        /// The first line that is not blank, from 1.
        line: u64,
        /// How that line starts, fit for print.
        start: String,
        /// What it looks like instead.
        lookalike: Lookalike,
    },
}

impl FastaError {
    /// Whether only one record is concerned, so that reading can go on with the next.
    pub fn is_record(&self) -> bool {
        self.record().is_some()
    }

    /// The record concerned, if reading can go on with the next.
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

/// What is wrong with one record. Lines and columns count from 1, columns in bytes
/// unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The header is longer than [`MAX_HEADER`].
    #[error(
        "the header has more than {} bytes; check that its line ends where it should",
        MAX_HEADER
    )]
    HeaderTooLong,
    /// The sequence is longer than [`MAX_SEQUENCE`].
    #[error(
        "the sequence has more than {} characters; check that the file is protein FASTA and that \
         no header lost its `>`, or cut the sequence",
        MAX_SEQUENCE
    )]
    SequenceTooLong {
        /// The line on which the bound was passed.
        line: u64,
    },
    /// A line starts with `;` or `#`.
    #[error(
        "the line starts with `{mark}`, a comment in other formats and never a residue; delete \
         such lines, for example with `grep -v '^{mark}' IN > OUT`"
    )]
    Comment {
        /// The comment's line.
        line: u64,
        /// `;` or `#`.
        mark: char,
    },
    /// A `>` inside a sequence line.
    #[error(
        "a `>` stands at column {column}, inside a sequence line; if a header starts there, put \
         it on its own line (files that were joined may lack their last end of line), otherwise \
         delete it"
    )]
    HeaderInLine {
        /// Its line.
        line: u64,
        /// Its column.
        column: u64,
    },
    /// An invisible character before the `>` that would start a header.
    #[error(
        "the invisible character {} at column {column} is in front of a `>`, so the line is not a \
         header: delete the character, or the `>` if it belongs to the sequence",
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
        "control character 0x{byte:02X} at column {column} of the sequence; delete it, or make \
         the file again if it is damaged"
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
        "byte 0x{byte:02X} at column {column} of the sequence is not UTF-8; replace it, or \
         convert the file, for example with `iconv -f ISO-8859-1 -t UTF-8 IN > OUT`"
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
        "a PIR record (`>{code};` … `*`), whose second line is a title and no sequence; convert \
         the file to FASTA, for example with `seqret -sequence pir::IN -outseq fasta::OUT`"
    )]
    Pir {
        /// The two characters that name the kind of the entry.
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

/// The line that a message names: that of the fault, or else of the header.
fn place(header: &u64, fault: &Fault) -> u64 {
    fault.line().unwrap_or(*header)
}

/// A character by its number in Unicode: `U+00A0`.
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
