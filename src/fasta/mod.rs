//! FASTA: files, standard input or any bytes in, one [`Record`] at a time out.
//!
//! ```
//! use esm_embed::fasta::{Reader, Record};
//!
//! let text: &[u8] = b">sp|P69905|HBA_HUMAN Hemoglobin\nMVLSP\nADKTN\n>empty\n";
//! let mut reader = Reader::from_read("globins.fasta", text);
//! let mut record = Record::default();
//!
//! assert!(reader.read(&mut record)?);
//! assert_eq!(record.id, b"sp|P69905|HBA_HUMAN");
//! assert_eq!(record.description, b"Hemoglobin");
//! assert_eq!(record.sequence, b"MVLSPADKTN");
//! assert_eq!((record.line, record.number), (1, 1));
//!
//! assert!(reader.read(&mut record)?);
//! assert_eq!((record.line, record.number), (4, 2));
//! assert!(record.sequence.is_empty());
//!
//! assert!(!reader.read(&mut record)?);
//! # Ok::<(), esm_embed::fasta::FastaError>(())
//! ```
//!
//! # What is read
//!
//! - **Compression** is decided by content, never by name: gzip (any number of members, so also
//!   bgzip), zstd (any number of frames) or plain text. Data that is cut short, damaged or
//!   followed by something else is a fatal error; zero bytes after gzip data are padding.
//! - **Lines** end with LF, CRLF or a lone CR, also mixed. Blank lines are allowed anywhere. A
//!   UTF-8 byte order mark is skipped at the start of any line, because files that carry one get
//!   joined.
//! - **A header** is a line whose first character is `>`. After white space the first word is the
//!   identifier, the rest without white space around it the description. White space is ASCII
//!   space, tab, vertical tab and form feed; all other bytes, valid UTF-8 or not, are kept. The
//!   identifier may be empty.
//! - **A sequence** is every line up to the next header, without white space, otherwise as typed.
//!   It may be empty. Whether a character is a residue is not decided here.
//!
//! # What is refused
//!
//! A [record-level](FastaError::is_record) error is of one record, and reading continues with
//! the next one: a line that starts with `;` or `#` (comments of other formats, whose letters
//! would pass for residues), a `>` inside a line (the end of line before a header is missing)
//! unless it closes a token such as `<mask>`, control characters, bytes that are not UTF-8, the
//! PIR format, and sizes beyond [`MAX_HEADER`] and [`MAX_SEQUENCE`], which are noticed as soon as
//! they are passed. Anything that is not FASTA from its first line on, and anything that cannot
//! be read, is fatal.
//!
//! Memory is one buffer and the current record, whatever the input, and for zstd its window, at
//! most 128 MiB.

mod buffer;
mod compression;
mod error;
mod input;
mod lead;
mod lookalike;
mod reader;
mod record;

pub use compression::{Block, Compression, Damage};
pub use error::{BadRecord, FastaError, Fault};
pub use input::{Digest, Input, Part};
pub use lookalike::Lookalike;
pub use reader::{Reader, RecordStart};
pub use record::Record;

/// The most bytes a header may have between its `>` and its end of line: 16 MiB.
pub const MAX_HEADER: usize = 16 << 20;

/// The most characters a sequence may have, in bytes as typed and without white space: 16 Mi.
pub const MAX_SEQUENCE: usize = 16 << 20;

/// Whether a byte is white space within a line.
///
/// `u8::is_ascii_whitespace` differs: it leaves out the vertical tab and takes in the line ends.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0B | 0x0C)
}
