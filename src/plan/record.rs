//! One record of a plan, and its bytes in the index.
//!
//! | field | bytes | |
//! |---|---|---|
//! | ordinal | 1 to 9 | number in the whole input, less that of the record before it in the shard |
//! | offset | 1 to 10 | byte of its `>` in its decompressed file, less the end of the record before it |
//! | bytes | 1 to 10 | up to the next `>` or the end of the file |
//! | line | 1 to 10 | of its header, less that of the record before it |
//! | residues | 1 to 5 | times four, plus 1 if it is skipped, 2 if its sequence occurred before |
//! | content | 8 | [`content`] |
//! | sequence | 16 | [`Key`] of its tokens; not there if it is skipped |
//!
//! Numbers have seven bits a byte, lowest first. Where a file begins, offset and line are not
//! differences.

use crate::fasta::{BadRecord, Record, RecordStart};
use crate::output::Key;
use crate::varint;
use sha2::{Digest as _, Sha256};
use std::io::{self, ErrorKind, Read};

/// What identifies everything in a record that can change a byte of an output.
pub type Content = [u8; 8];

/// A record of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlannedRecord {
    /// Number in the whole input, from 0.
    pub ordinal: u64,
    /// Number of its file, from 0.
    pub input: usize,
    /// Byte of its `>` in the decompressed file.
    pub offset: u64,
    /// Bytes up to the next record or the end of the file.
    pub bytes: u64,
    /// Line of its header, from 1.
    pub line: u64,
    /// Number in its file, from 1.
    pub number: u64,
    /// Residues of its whole sequence.
    pub residues: usize,
    /// What happens to it.
    pub fate: Fate,
    /// Its header and sequence, or what is wrong with them.
    pub content: Content,
}

/// What happens to a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It cannot be embedded.
    #[default]
    Skipped,
    /// Its sequence, with the key of its tokens, is embedded.
    Embedded(Key),
    /// An earlier record has its sequence, with the key of its tokens.
    Copied(Key),
}

impl Fate {
    /// The key of the tokens, unless the record is skipped.
    pub fn sequence(&self) -> Option<Key> {
        match *self {
            Fate::Skipped => None,
            Fate::Embedded(key) | Fate::Copied(key) => Some(key),
        }
    }
}

impl PlannedRecord {
    /// Where its file has to be read.
    pub fn start(&self) -> RecordStart {
        RecordStart {
            offset: self.offset,
            line: self.line,
            number: self.number,
        }
    }

    /// The first byte after it.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// The content of a record that could be read.
pub fn content(record: &Record) -> Content {
    digest(b'r', &[&record.id, &record.description, &record.sequence])
}

/// The content of a record that could not be read.
pub fn bad_content(bad: &BadRecord) -> Content {
    digest(b'b', &[&bad.id, bad.fault.to_string().as_bytes()])
}

fn digest(kind: u8, texts: &[&[u8]]) -> Content {
    let mut hash = Sha256::new();
    hash.update([kind]);
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let digest = hash.finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

const SKIPPED: u64 = 1;
const COPIED: u64 = 2;

/// What the numbers of the next record are counted from.
#[derive(Clone, Debug)]
pub struct Coder<'a> {
    /// Number of the first record of each file, and of all records at the end.
    firsts: &'a [u64],
    ordinal: u64,
    input: usize,
    offset: u64,
    line: u64,
}

impl<'a> Coder<'a> {
    /// Before the first record of a shard.
    pub fn new(firsts: &'a [u64]) -> Coder<'a> {
        Coder {
            firsts,
            ordinal: 0,
            input: 0,
            offset: 0,
            line: 0,
        }
    }

    /// Goes to the file of a record.
    fn go_to(&mut self, ordinal: u64) -> Option<u64> {
        let before = self.input;
        while ordinal >= *self.firsts.get(self.input + 1)? {
            self.input += 1;
        }
        if self.input != before {
            (self.offset, self.line) = (0, 0);
        }
        let first = self.firsts.get(self.input)?;
        Some(ordinal.checked_sub(*first)? + 1)
    }

    fn went_to(&mut self, record: &PlannedRecord) {
        self.ordinal = record.ordinal + 1;
        self.offset = record.end();
        self.line = record.line;
    }

    /// Appends the bytes of the next record.
    pub fn encode(&mut self, record: &PlannedRecord, to: &mut Vec<u8>) {
        let ordinal = record.ordinal.saturating_sub(self.ordinal);
        self.go_to(record.ordinal);
        let kind = match record.fate {
            Fate::Skipped => SKIPPED,
            Fate::Embedded(_) => 0,
            Fate::Copied(_) => COPIED,
        };
        for number in [
            ordinal,
            record.offset.saturating_sub(self.offset),
            record.bytes,
            record.line.saturating_sub(self.line),
            (record.residues as u64) << 2 | kind,
        ] {
            varint::write(number, to);
        }
        to.extend(record.content);
        to.extend(record.fate.sequence().into_iter().flatten());
        self.went_to(record);
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// The source fails or ends, or holds what [`Self::encode`] does not write.
    pub fn decode(&mut self, from: &mut impl Read) -> io::Result<PlannedRecord> {
        let wrong = || io::Error::from(ErrorKind::InvalidData);
        let mut numbers = [0; 5];
        for number in &mut numbers {
            *number = varint::read(from)?;
        }
        let [ordinal, offset, bytes, line, residues] = numbers;
        let ordinal = self.ordinal.checked_add(ordinal).ok_or_else(wrong)?;
        let number = self.go_to(ordinal).ok_or_else(wrong)?;
        let mut content = Content::default();
        from.read_exact(&mut content)?;
        let mut key = || {
            let mut key = Key::default();
            from.read_exact(&mut key).map(|()| key)
        };
        let record = PlannedRecord {
            ordinal,
            input: self.input,
            offset: self.offset.checked_add(offset).ok_or_else(wrong)?,
            bytes,
            line: self.line.checked_add(line).ok_or_else(wrong)?,
            number,
            residues: usize::try_from(residues >> 2).map_err(|_| wrong())?,
            fate: match residues & 3 {
                0 => Fate::Embedded(key()?),
                SKIPPED => Fate::Skipped,
                COPIED => Fate::Copied(key()?),
                _ => return Err(wrong()),
            },
            content,
        };
        record.offset.checked_add(bytes).ok_or_else(wrong)?;
        self.went_to(&record);
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRSTS: [u64; 4] = [0, 3, 3, 9];

    fn records() -> Vec<PlannedRecord> {
        let record = |ordinal, input, number, offset, fate| PlannedRecord {
            ordinal,
            input,
            offset,
            bytes: 400,
            line: 7 * number,
            number,
            residues: 300,
            fate,
            content: [ordinal as u8; 8],
        };
        vec![
            record(1, 0, 2, 500, Fate::Embedded([7; 16])),
            record(2, 0, 3, 900, Fate::Copied([7; 16])),
            // The second file has no record.
            record(3, 2, 1, 4, Fate::Skipped),
            record(8, 2, 6, 1 << 40, Fate::Embedded([9; 16])),
        ]
    }

    fn encoded(records: &[PlannedRecord]) -> Vec<u8> {
        let (mut coder, mut bytes) = (Coder::new(&FIRSTS), Vec::new());
        records.iter().for_each(|r| coder.encode(r, &mut bytes));
        bytes
    }

    #[test]
    fn records_are_read_back_and_take_few_bytes() {
        let bytes = encoded(&records());
        let (mut coder, mut from) = (Coder::new(&FIRSTS), &bytes[..]);
        for record in records() {
            assert_eq!(coder.decode(&mut from).unwrap(), record);
        }
        assert!(coder.decode(&mut from).is_err());
        assert_eq!(encoded(&records()[..1]).len(), 32);
        // Cut short anywhere, it is an error and not another record.
        for length in 0..32 {
            assert!(Coder::new(&FIRSTS).decode(&mut &bytes[..length]).is_err());
        }
    }

    #[test]
    fn header_and_sequence_are_told_apart() {
        let of = |id: &[u8], description: &[u8], sequence: &[u8]| {
            content(&Record {
                id: id.to_vec(),
                description: description.to_vec(),
                sequence: sequence.to_vec(),
                ..Record::default()
            })
        };
        let all = [
            of(b"a", b"b", b"c"),
            of(b"ab", b"", b"c"),
            of(b"a", b"", b"bc"),
        ];
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let (mut coder, mut from) = (Coder::new(&FIRSTS), &bytes[..]);
            while coder.decode(&mut from).is_ok() {}
        }
    }
}
