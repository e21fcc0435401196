//! What the first pass found of each record, kept until it is known which records belong to the
//! shard: 10 to 20 bytes a record, beyond a few MiB in a file without a name.

use crate::output::unnamed_file;
use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Bytes that are kept in memory.
const MEMORY: usize = 4 << 20;

/// What the first pass found of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Tokens that it costs, whether or not it can be embedded.
    pub tokens: u64,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is embedded.
    Embedded(Embeddable),
    /// It is skipped.
    Skipped,
    /// It ends the run, with this message.
    Refused(String),
}

/// What counts of a record that can be embedded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Embeddable {
    /// Residues that are embedded.
    pub residues: u64,
    /// Bytes of its header.
    pub header: u64,
    /// Characters of its identifier.
    pub id: u64,
    /// Part of the SHA-256 of its tokens.
    pub digest: u64,
    /// Gaps of an alignment.
    pub gaps: u64,
    /// Whether it looks like nucleotides.
    pub nucleotides: bool,
    /// File, line, number and identifier, if there is a warning about it.
    pub place: Option<String>,
}

/// Records in the order of the input.
#[derive(Debug)]
pub struct Spool {
    near: PathBuf,
    memory_limit: usize,
    memory: Vec<u8>,
    file: Option<File>,
}

impl Spool {
    /// Empty; a file, if one is needed, is made on the file system of `out`.
    pub fn near(out: &Path) -> Spool {
        Spool::with_memory(out, MEMORY)
    }

    fn with_memory(out: &Path, memory_limit: usize) -> Spool {
        Spool {
            near: out.to_path_buf(),
            memory_limit,
            memory: Vec::new(),
            file: None,
        }
    }

    /// One more record.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn push(&mut self, record: &Surveyed) -> io::Result<()> {
        encode(record, &mut self.memory);
        if self.memory.len() >= self.memory_limit {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(unnamed_file(&self.near)?),
            };
            file.write_all(&self.memory)?;
            self.memory.clear();
        }
        Ok(())
    }

    /// The records from the first to the last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn replay(self) -> io::Result<impl Iterator<Item = io::Result<Surveyed>>> {
        let mut file = self.file;
        if let Some(file) = &mut file {
            file.rewind()?;
        }
        let memory = Cursor::new(self.memory);
        let mut bytes: Box<dyn Read> = match file {
            Some(file) => Box::new(BufReader::with_capacity(1 << 16, file).chain(memory)),
            None => Box::new(memory),
        };
        Ok(std::iter::from_fn(move || decode(&mut bytes).transpose()))
    }
}

const SKIPPED: u64 = 0;
const REFUSED: u64 = 1;
const EMBEDDED: u64 = 2;
/// Added to [`EMBEDDED`].
const NUCLEOTIDES: u64 = 1;
const WITH_PLACE: u64 = 2;

fn encode(record: &Surveyed, to: &mut Vec<u8>) {
    write_number(to, record.tokens);
    match &record.fate {
        Fate::Skipped => write_number(to, SKIPPED),
        Fate::Refused(message) => {
            write_number(to, REFUSED);
            write_text(to, message);
        }
        Fate::Embedded(found) => {
            let nucleotides = u64::from(found.nucleotides) * NUCLEOTIDES;
            let with_place = u64::from(found.place.is_some()) * WITH_PLACE;
            write_number(to, EMBEDDED + nucleotides + with_place);
            for number in [found.residues, found.header, found.id, found.gaps] {
                write_number(to, number);
            }
            to.extend(found.digest.to_le_bytes());
            if let Some(place) = &found.place {
                write_text(to, place);
            }
        }
    }
}

/// The next record; None at the end.
fn decode(from: &mut impl Read) -> io::Result<Option<Surveyed>> {
    let Some(tokens) = read_number(from)? else {
        return Ok(None);
    };
    let mut number = || read_number(from)?.ok_or(io::Error::from(ErrorKind::UnexpectedEof));
    let fate = match number()? {
        SKIPPED => Fate::Skipped,
        REFUSED => Fate::Refused(read_text(from)?),
        kind => {
            let flags = kind - EMBEDDED;
            let [residues, header, id, gaps] = [number()?, number()?, number()?, number()?];
            let mut digest = [0; 8];
            from.read_exact(&mut digest)?;
            Fate::Embedded(Embeddable {
                residues,
                header,
                id,
                digest: u64::from_le_bytes(digest),
                gaps,
                nucleotides: flags & NUCLEOTIDES != 0,
                place: match flags & WITH_PLACE {
                    0 => None,
                    _ => Some(read_text(from)?),
                },
            })
        }
    };
    Ok(Some(Surveyed { tokens, fate }))
}

/// Seven bits a byte, lowest first; the eighth says that more follow.
fn write_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// None where nothing follows.
fn read_number(from: &mut impl Read) -> io::Result<Option<u64>> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let mut byte = [0];
        if from.read(&mut byte)? == 0 {
            return match shift {
                0 => Ok(None),
                _ => Err(ErrorKind::UnexpectedEof.into()),
            };
        }
        let [byte] = byte;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(Some(number));
        }
    }
    Err(ErrorKind::InvalidData.into())
}

fn write_text(to: &mut Vec<u8>, text: &str) {
    write_number(to, text.len() as u64);
    to.extend(text.as_bytes());
}

fn read_text(from: &mut impl Read) -> io::Result<String> {
    let length = read_number(from)?.ok_or(ErrorKind::UnexpectedEof)?;
    let mut text = String::new();
    from.take(length).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Surveyed> {
        let embedded = |i: u64| Embeddable {
            residues: i << (i % 40),
            header: i * 1000,
            id: i % 7,
            digest: u64::MAX / (i + 1),
            gaps: i % 3,
            nucleotides: i.is_multiple_of(5),
            place: i
                .is_multiple_of(4)
                .then(|| format!("in.fasta, record {i} (é)")),
        };
        let fate = |i: u64| match i % 11 {
            3 => Fate::Skipped,
            7 => Fate::Refused(format!("record {i}:\nno")),
            _ => Fate::Embedded(embedded(i)),
        };
        let record = |i| Surveyed {
            tokens: i * i,
            fate: fate(i),
        };
        (0..1000).map(record).collect()
    }

    #[test]
    fn records_come_back_from_memory_and_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for memory in [1, 100, 5000, usize::MAX] {
            let mut spool = Spool::with_memory(&folder.path().join("out"), memory);
            let records = records();
            for record in &records {
                spool.push(record).unwrap();
            }
            assert_eq!(spool.file.is_some(), memory < usize::MAX);
            let found: Vec<_> = spool.replay().unwrap().map(Result::unwrap).collect();
            assert!(found == records, "{memory}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        let empty = Spool::near(folder.path());
        assert_eq!(empty.replay().unwrap().count(), 0);
    }

    #[test]
    fn a_usual_record_takes_few_bytes() {
        let mut bytes = Vec::new();
        let usual = Embeddable {
            residues: 350,
            header: 90,
            id: 22,
            digest: u64::MAX,
            ..Embeddable::default()
        };
        let record = Surveyed {
            tokens: 352,
            fate: Fate::Embedded(usual),
        };
        encode(&record, &mut bytes);
        assert_eq!(bytes.len(), 16);
        // Cut short anywhere, it is an error and not another record.
        for length in 1..bytes.len() {
            assert!(decode(&mut &bytes[..length]).is_err());
        }
    }
}
