//! Records of an output folder by row and by identifier, without holding them: `index.tsv` may have
//! millions of lines.
//!
//! Building reads the table once. It keeps 8 bytes for each record, half a hash of its identifier and
//! its row, and the place of every 16th line.

use super::ReadError;
use super::array_file::unreadable;
use super::record::Record;
use crate::output::escape::unescape;
use crate::output::ids::id_text;
use crate::output::index::columns;
use crate::output::shard_file::ShardFile;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Lines from one known place to the next.
const STEP: u64 = 16;
/// Bytes read at a time while the table is read once.
const ALL: usize = 1 << 16;
/// Bytes read at a time to look a record up.
const ONE: usize = 1 << 12;

/// Looks records up.
#[derive(Debug)]
pub struct RecordIndex {
    reader: Mutex<BufReader<ShardFile>>,
    path: PathBuf,
    files: bool,
    records: u64,
    /// Hash of the identifier in the upper half, row in the lower; ascending.
    keys: Vec<u64>,
    /// Where lines 0, 16, 32 … begin, without the line of column names.
    places: Vec<u64>,
}

impl RecordIndex {
    pub(super) fn new(file: ShardFile, path: PathBuf, files: bool) -> Result<Self, ReadError> {
        let mut index = Self {
            reader: Mutex::new(BufReader::with_capacity(ALL, file)),
            path,
            files,
            records: 0,
            keys: Vec::new(),
            places: Vec::new(),
        };
        index.build()?;
        let reader = index
            .reader
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Self {
            reader: Mutex::new(BufReader::with_capacity(ONE, reader.into_inner())),
            ..index
        })
    }

    fn build(&mut self) -> Result<(), ReadError> {
        let path = self.path.clone();
        let damaged = |what: String| ReadError::Damaged {
            path: path.clone(),
            what,
        };
        let reader = self
            .reader
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let mut line = Vec::new();
        let mut place = 0;
        loop {
            line.clear();
            let bytes = reader
                .read_until(b'\n', &mut line)
                .map_err(|error| damaged(unreadable(error)))?;
            if place == 0 {
                if line != columns(self.files).as_bytes() {
                    let what = "its first line does not name the columns of an index";
                    return Err(damaged(what.into()));
                }
                place = bytes as u64;
                continue;
            }
            if bytes == 0 {
                break;
            }
            let row = u32::try_from(self.records)
                .map_err(|_| damaged("it has more lines than this version looks up".into()))?;
            let id = line.split(|&byte| byte == b'\t').nth(1).and_then(unescape);
            let Some(id) = id.filter(|_| line.ends_with(b"\n")) else {
                let line = self.records.saturating_add(2);
                return Err(damaged(format!("line {line} is not that of a record")));
            };
            if self.records.is_multiple_of(STEP) {
                self.places.push(place);
            }
            self.keys.push(upper(&id_text(&id)) | u64::from(row));
            self.records += 1;
            place += bytes as u64;
        }
        self.keys.sort_unstable();
        self.keys.shrink_to_fit();
        Ok(())
    }

    /// Number of records.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The records with this identifier, as `ids.npy` spells it, by row.
    ///
    /// # Errors
    /// The table has been changed since.
    pub fn find(&self, id: &str) -> Result<Vec<Record>, ReadError> {
        let hash = upper(id.as_bytes());
        let start = self.keys.partition_point(|&key| key < hash);
        let rows = self.keys.iter().skip(start);
        let rows = rows.take_while(|&&key| key & HASH == hash);
        let records = rows.map(|key| self.record(key & !HASH));
        let is_it = |record: &Record| *id_text(&record.id) == *id.as_bytes();
        records
            .filter(|record| record.as_ref().map_or(true, is_it))
            .collect()
    }

    /// The record in a row, which has to exist.
    ///
    /// # Errors
    /// There is no such row, or the table has been changed since.
    pub fn record(&self, row: u64) -> Result<Record, ReadError> {
        let damaged = |what: String| ReadError::Damaged {
            path: self.path.clone(),
            what,
        };
        let not_there = || damaged(format!("line {} is not that of a record", row + 2));
        let place = usize::try_from(row / STEP).ok();
        let place = place.and_then(|at| self.places.get(at));
        let place = *place.ok_or_else(not_there)?;
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = Vec::new();
        let mut read = || {
            reader.seek(SeekFrom::Start(place))?;
            for _ in 0..=row % STEP {
                line.clear();
                reader.read_until(b'\n', &mut line)?;
            }
            Ok(())
        };
        read().map_err(|error| damaged(unreadable(error)))?;
        let record = line.strip_suffix(b"\n");
        let record = record.and_then(|line| Record::parse(line, self.files));
        let record = record.filter(|record| record.row == row);
        record.ok_or_else(not_there)
    }
}

/// The half of a key that is a hash.
const HASH: u64 = 0xffff_ffff_0000_0000;

fn upper(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id);
    hasher.finish() & HASH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(lines: &str) -> Result<RecordIndex, ReadError> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("index.tsv");
        std::fs::write(&path, format!("{}{lines}", columns(false))).unwrap();
        let file = ShardFile::kept(std::fs::File::open(&path).unwrap());
        RecordIndex::new(file.unwrap(), path, false)
    }

    #[test]
    fn records_are_found_by_row_and_by_id() {
        let mut lines = String::new();
        for row in 0..1000 {
            // Two rows for each of the first ten ids.
            let id = if row < 990 { row } else { row - 990 };
            lines += &format!("{row}\tP{id}\t3\t{}\t\tnumber {row}\n", 3 * row);
        }
        let index = index(&lines).unwrap();
        assert_eq!(index.records(), 1000);
        for row in [0, 1, 15, 16, 17, 500, 999] {
            let record = index.record(row).unwrap();
            assert_eq!((record.row, record.residue_offset), (row, 3 * row));
            assert_eq!(record.description, format!("number {row}").as_bytes());
        }
        let rows = |id: &str| -> Vec<u64> {
            let found = index.find(id).unwrap();
            found.iter().map(|record| record.row).collect()
        };
        assert_eq!(rows("P989"), [989]);
        assert_eq!(rows("P7"), [7, 997]);
        assert!(rows("P990").is_empty() && rows("").is_empty());
        assert!(index.record(1000).is_err() && index.record(u64::MAX - 2).is_err());
    }

    #[test]
    fn ids_are_those_of_ids_npy() {
        let index =
            index("0\ta\\tb\t1\t0\t\t\n1\t\\xff\t1\t1\t\t\n2\té\t1\t2\t\t\n3\t\t1\t3\t\t\n");
        let index = index.unwrap();
        for (row, id) in (0..).zip(["a\tb", "\\xff", "é", ""]) {
            assert_eq!(index.find(id).unwrap()[0].row, row, "{id}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        for lines in ["0\n", "0\ta\t1\t0\t\t", "0\t\\q\t1\t0\t\t\n"] {
            let error = index(lines).unwrap_err().to_string();
            assert!(error.contains("line 2 is not that of a record"), "{error}");
        }
        let index = index("1\ta\t1\t0\t\t\n").unwrap();
        let error = index.find("a").unwrap_err().to_string();
        assert!(error.contains("line 2 is not that of a record"), "{error}");
        assert_eq!(index.find("b").unwrap(), []);
    }
}
