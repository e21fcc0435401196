//! `ids.npy`: the identifiers row by row, as an array that NumPy loads.
//!
//! The array has the type `<U{n}`, where n is the length of the longest identifier: four bytes for
//! each character, and shorter identifiers are padded with zeros. A byte that is not UTF-8, and a
//! NUL, which NumPy would cut off, are written as in `index.tsv`: `\x` and two hexadecimal digits.

use crate::numerals::grouped;
use crate::output::append_file::AppendFile;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::escape::unescape;
use crate::output::folder_files::{IDS_NPY, INDEX_TSV};
use crate::output::npy::{self, HEADER_BYTES};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The most characters of an identifier.
const MOST_CHARACTERS: u64 = 1024;
/// The most bytes of the file.
const MOST_BYTES: u64 = 1 << 30;
/// Bytes of one character.
const WIDTH: u64 = 4;
/// Longest identifier that is read from the index: up to four bytes for each character, and four
/// characters for each escaped byte.
const LONGEST_FIELD: u64 = 16 * MOST_CHARACTERS + 1;
/// Longest row number, with the tab after it.
const LONGEST_ROW: u64 = 21;

/// The number of identifiers and the length of the longest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ids {
    records: u64,
    longest: u64,
}

/// Why `ids.npy` is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoIds {
    /// An identifier has too many characters: this number.
    TooLong(u64),
    /// The file would have too many bytes: this number.
    TooLarge(u64),
}

impl fmt::Display for NoIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoIds::TooLong(characters) => write!(
                f,
                "the longest id has {} characters, and at most {} are written there",
                grouped(*characters),
                grouped(MOST_CHARACTERS)
            ),
            NoIds::TooLarge(bytes) => write!(
                f,
                "it would have {} bytes, and at most {} are written",
                grouped(*bytes),
                grouped(MOST_BYTES)
            ),
        }
    }
}

impl Ids {
    /// Counts the identifier of one more record.
    pub fn add(&mut self, id: &[u8]) {
        self.add_length(Self::length(id));
    }

    /// The same for an identifier of this [`Self::length`].
    pub fn add_length(&mut self, length: u64) {
        self.records += 1;
        self.longest = self.longest.max(length);
    }

    /// The identifiers of this many records, of which the longest has this [`Self::length`].
    pub fn of(records: u64, longest: u64) -> Self {
        Self { records, longest }
    }

    /// Characters that an identifier takes in the file.
    pub fn length(id: &[u8]) -> u64 {
        let is_plain = id.is_ascii() && !id.contains(&0);
        let length = match is_plain {
            true => id.len(),
            false => characters(id).count(),
        };
        length as u64
    }

    /// Bytes of the file.
    ///
    /// # Errors
    /// Why it is not written.
    pub fn bytes(&self) -> Result<u64, NoIds> {
        if self.longest > MOST_CHARACTERS {
            return Err(NoIds::TooLong(self.longest));
        }
        let bytes = size(self.columns(), self.records);
        match bytes > MOST_BYTES {
            true => Err(NoIds::TooLarge(bytes)),
            false => Ok(bytes),
        }
    }

    /// Characters of each row; NumPy has no strings of length 0.
    fn columns(&self) -> u64 {
        self.longest.max(1)
    }

    /// The header of the file.
    pub(crate) fn npy_header(&self) -> Option<[u8; HEADER_BYTES]> {
        npy::text_header(self.columns(), self.records)
    }

    /// Appends the row of an identifier, one of those that were counted.
    pub(crate) fn append_row(&self, id: &[u8], bytes: &mut Vec<u8>) {
        let end = bytes.len() + (self.columns() * WIDTH) as usize;
        bytes.extend(characters(id).flat_map(|character| u32::from(character).to_le_bytes()));
        bytes.resize(end, 0);
    }

    /// Writes the file from the identifiers in the index of the same folder; false if it is not
    /// written.
    pub(super) fn write(&self, partial: &Path) -> Result<bool, OutputError> {
        if self.bytes().is_err() {
            return Ok(false);
        }
        let index = partial.join(INDEX_TSV);
        let reading = |e| OutputError::io("reading", &index, e);
        let mut lines = BufReader::new(disk::open_regular(&index).map_err(reading)?);
        let mut file = AppendFile::create(partial.join(IDS_NPY))?;
        let header = self.npy_header();
        let header = header.ok_or_else(|| OutputError::TooLarge {
            file: IDS_NPY.into(),
            row: self.records,
        })?;
        file.write(&header)?;
        skip_line(&mut lines).map_err(reading)?;
        let mut row = Vec::new();
        for _ in 0..self.records {
            let id = next_id(&mut lines).map_err(reading)?;
            row.clear();
            self.append_row(&id, &mut row);
            file.write(&row)?;
        }
        file.close()?;
        Ok(true)
    }
}

/// Checks the header and the size of an `ids.npy` of `records` identifiers; the error says what is
/// wrong.
pub(super) fn check(head: &[u8; HEADER_BYTES], bytes: u64, records: u64) -> Result<(), String> {
    let (columns, rows) = npy::parse_text_header(head)
        .ok_or("its first 128 bytes are not the header of an array that a run writes")?;
    if rows != records {
        return Err(format!(
            "its header gives {rows} ids, run.json {records} records"
        ));
    }
    if !(1..=MOST_CHARACTERS).contains(&columns) || bytes != size(columns, rows) {
        return Err(format!(
            "its header gives {rows} ids of {columns} characters, which does not fit {bytes} bytes"
        ));
    }
    Ok(())
}

fn size(columns: u64, records: u64) -> u64 {
    columns
        .saturating_mul(WIDTH)
        .saturating_mul(records)
        .saturating_add(HEADER_BYTES as u64)
}

/// An identifier as `ids.npy` has it, in UTF-8: the same for two that NumPy cannot tell apart.
pub fn id_text(id: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(id).is_ok() && !id.contains(&0) {
        true => Cow::Borrowed(id),
        false => Cow::Owned(characters(id).collect::<String>().into_bytes()),
    }
}

/// The characters of an identifier.
fn characters(id: &[u8]) -> impl Iterator<Item = char> {
    id.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().flat_map(|character| match character {
            '\0' => escaped(0).to_vec(),
            _ => vec![character],
        });
        valid.chain(chunk.invalid().iter().flat_map(|&byte| escaped(byte)))
    })
}

fn escaped(byte: u8) -> [char; 4] {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    ['\\', 'x', digit(byte >> 4), digit(byte & 15)]
}

/// The identifier of the next line.
fn next_id(lines: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut field = Vec::new();
    lines
        .by_ref()
        .take(LONGEST_ROW)
        .read_until(b'\t', &mut field)?;
    field.clear();
    lines
        .by_ref()
        .take(LONGEST_FIELD)
        .read_until(b'\t', &mut field)?;
    let id = match field.pop() {
        Some(b'\t') => unescape(&field),
        _ => None,
    };
    skip_line(lines)?;
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Skips the rest of a line, which may be long.
fn skip_line(lines: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = lines.fill_buf()?;
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let count = match (end, bytes.len()) {
            (_, 0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (Some(end), _) => end + 1,
            (None, all) => all,
        };
        lines.consume(count);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::index::{self, Entry};

    fn of(ids: &[&[u8]]) -> Ids {
        let mut all = Ids::default();
        ids.iter().for_each(|id| all.add(id));
        all
    }

    /// The file that is written for these identifiers.
    fn written(ids: &[&[u8]]) -> Option<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let mut text = index::columns(false).as_bytes().to_vec();
        for (row, id) in (0..).zip(ids) {
            let entry = Entry {
                id,
                description: &[b'd'; 20_000],
                ..Entry::default()
            };
            text.extend(index::line(&entry, row, 0, None, None));
        }
        std::fs::write(dir.path().join(INDEX_TSV), text).unwrap();
        let is_written = of(ids).write(dir.path()).unwrap();
        let bytes = std::fs::read(dir.path().join(IDS_NPY)).ok();
        assert_eq!(is_written, bytes.is_some());
        bytes
    }

    fn strings(bytes: &[u8]) -> Vec<String> {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk().unwrap();
        let (columns, rows) = npy::parse_text_header(head).unwrap();
        check(head, bytes.len() as u64, rows).unwrap();
        bytes[HEADER_BYTES..]
            .chunks((columns * WIDTH) as usize)
            .map(|row| {
                row.chunks(4)
                    .map(|c| u32::from_le_bytes(c.try_into().unwrap()))
                    .filter(|&c| c != 0)
                    .map(|c| char::from_u32(c).unwrap())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn literal_bytes() {
        let bytes = written(&[b"P1", b"", "é".as_bytes()]).unwrap();
        let header =
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<U2', 'fortran_order': False, 'shape': (3,), }";
        assert_eq!(&bytes[..header.len()], header);
        assert_eq!(bytes[127], b'\n');
        assert_eq!(
            &bytes[128..],
            b"P\0\0\x001\0\0\0\0\0\0\0\0\0\0\0\xe9\0\0\0\0\0\0\0"
        );
    }

    #[test]
    fn every_identifier_is_read_back_as_text() {
        let long = "蛋".repeat(1024);
        let cases: [(&[u8], &str); 8] = [
            (b"sp|P1|A_B", "sp|P1|A_B"),
            (b"", ""),
            (b"a\\nb", "a\\nb"),
            (b"a\x1f\"", "a\x1f\""),
            (b"caf\xe9", "caf\\xe9"),
            (b"a\0", "a\\x00"),
            ("𝄞é".as_bytes(), "𝄞é"),
            (long.as_bytes(), &long),
        ];
        let bytes = written(&cases.map(|(id, _)| id)).unwrap();
        assert_eq!(strings(&bytes), cases.map(|(_, text)| text));
        assert_eq!(bytes.len(), 128 + 8 * 1024 * 4);
    }

    #[test]
    fn ids_with_one_text_are_the_same() {
        assert_eq!(id_text(b"a\xff"), id_text(b"a\\xff"));
        assert_eq!(id_text(b"a\0"), id_text(b"a\\x00"));
        assert_eq!(&*id_text("é".as_bytes()), "é".as_bytes());
        assert_ne!(id_text(b"a\\xFF"), id_text(b"a\xff"));
        assert_ne!(id_text(b"a\xfe"), id_text(b"a\xff"));
    }

    #[test]
    fn no_record_has_an_empty_array() {
        let bytes = written(&[]).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<U1', "));
        assert_eq!(bytes.len(), 128);
    }

    #[test]
    fn what_is_too_long_or_too_large_is_not_written() {
        let long = "é".repeat(1025);
        assert_eq!(written(&[b"a", long.as_bytes()]), None);
        assert_eq!(of(&[long.as_bytes()]).bytes(), Err(NoIds::TooLong(1025)));
        let most = |records| Ids {
            records,
            longest: 1024,
        };
        assert_eq!(most(262_143).bytes(), Ok((1 << 30) - 4096 + 128));
        assert_eq!(most(262_144).bytes(), Err(NoIds::TooLarge((1 << 30) + 128)));
        assert!(most(u64::MAX).bytes().is_err());
        assert_eq!(
            NoIds::TooLong(2000).to_string(),
            "the longest id has 2,000 characters, and at most 1,024 are written there"
        );
    }

    #[test]
    fn other_files_are_refused() {
        let head = |columns, rows| npy::text_header(columns, rows).unwrap();
        assert_eq!(check(&head(3, 2), 128 + 24, 2), Ok(()));
        for (columns, rows, bytes) in [(3, 1, 140), (3, 2, 151), (1025, 2, 8328), (0, 2, 128)] {
            assert!(check(&head(columns, rows), bytes, 2).is_err(), "{columns}");
        }
        let matrix = npy::header(crate::product::OutDtype::F32, &[2, 3]).unwrap();
        assert!(check(&matrix, 152, 2).is_err());
    }
}
