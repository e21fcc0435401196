//! A linked folder: the tables of a whole, whose arrays stay in the folders of its shards.
//!
//! Its `run.json` lists the shards, and `links.npy`, `[records, 2]` of 32-bit integers, says for each
//! row of the whole the number of its shard and its row there. The other tables are those of an
//! ordinary merge, byte for byte.

use crate::output::append_file::AppendFile;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::folder_files::LINKS_NPY;
use crate::output::npy::{HEADER_BYTES, pair_header};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

/// Bytes of a row of `links.npy`.
const ROW: usize = 8;

/// A shard of a linked folder, as `run.json` lists it. Its number is its position in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its folder, relative to the linked folder.
    pub path: String,
    /// SHA-256 of its `run.json`.
    pub run_json: String,
    /// Its records with rows.
    pub records: u64,
    /// Their residues.
    pub residues: u64,
    /// For each file of an array, and each list of the files of one, the checksum in its `run.json`.
    pub arrays: BTreeMap<String, String>,
}

/// A row of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Linked {
    /// Number of the shard, from 1.
    pub(super) shard: u32,
    /// The row in the folder of the shard.
    pub(super) row: u32,
}

/// Writes `links.npy`.
#[derive(Debug)]
pub(super) struct LinkWriter {
    path: PathBuf,
    log: AppendFile,
    /// For each shard, its rows so far.
    rows: Vec<u32>,
}

impl LinkWriter {
    /// Starts the file in a working folder.
    pub(super) fn create(partial: &Path, shards: usize) -> Result<Self, OutputError> {
        let path = partial.join(LINKS_NPY);
        let mut log = AppendFile::create(path.clone())?;
        // The number of rows is known at the end.
        log.write(&[0; HEADER_BYTES])?;
        Ok(Self {
            path,
            log,
            rows: vec![0; shards],
        })
    }

    /// Enters the next record of the whole, which is the next one of this shard, from 0.
    pub(super) fn push(&mut self, shard: usize) -> Result<(), OutputError> {
        let too_large = |row| OutputError::TooLarge {
            file: LINKS_NPY.into(),
            row,
        };
        let Some(row) = self.rows.get_mut(shard) else {
            return Ok(());
        };
        let number = u32::try_from(shard.saturating_add(1));
        let number = number.map_err(|_| too_large(u64::from(*row)))?;
        let mut bytes = [0; ROW];
        let (first, second) = bytes.split_at_mut(ROW / 2);
        first.copy_from_slice(&number.to_le_bytes());
        second.copy_from_slice(&row.to_le_bytes());
        *row = row
            .checked_add(1)
            .ok_or_else(|| too_large(u64::from(u32::MAX)))?;
        self.log.write(&bytes)
    }

    /// Writes the header.
    pub(super) fn close(self) -> Result<(), OutputError> {
        let rows = self.rows.iter().map(|&rows| u64::from(rows)).sum();
        self.log.close()?;
        let writing = |e| OutputError::io("writing", &self.path, e);
        let header = pair_header(rows).ok_or_else(|| OutputError::TooLarge {
            file: LINKS_NPY.into(),
            row: rows,
        })?;
        let file = disk::open_or_create(&self.path).map_err(writing)?;
        file.write_all_at(&header, 0).map_err(writing)
    }
}

/// Opens `links.npy` behind its header, which has to give this number of rows. The error is the
/// predicate of a sentence about the file.
fn open(dir: &Path, records: u64) -> Result<File, String> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let mut file = disk::open_regular(&dir.join(LINKS_NPY)).map_err(cannot)?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header).map_err(cannot)?;
    if Some(header) != pair_header(records) {
        return Err("does not have the header that its number of records gives".into());
    }
    Ok(file)
}

/// Reads the shard of each row, in order.
#[derive(Debug)]
pub(super) struct LinkReader {
    reader: BufReader<File>,
    left: u64,
    /// For each shard, its rows so far.
    rows: Vec<u64>,
}

impl LinkReader {
    pub(super) fn open(dir: &Path, records: u64, shards: usize) -> Result<Self, String> {
        let file = open(dir, records)?;
        Ok(Self {
            reader: BufReader::with_capacity(1 << 16, file),
            left: records,
            rows: vec![0; shards],
        })
    }

    /// The place of the next row: the next row of some shard. `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Linked>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut bytes = [0; ROW];
        let read = self.reader.read_exact(&mut bytes);
        read.map_err(|error| format!("cannot be read: {error}"))?;
        let linked = decode(bytes);
        let due = (linked.shard as usize).checked_sub(1);
        let due = due.and_then(|shard| self.rows.get_mut(shard));
        match due {
            Some(due) if *due == u64::from(linked.row) => {
                *due += 1;
                self.left -= 1;
                Ok(Some(linked))
            }
            _ => Err("does not list the rows of each shard in order".into()),
        }
    }

    /// For each shard, the rows that were read.
    pub(super) fn rows(&self) -> &[u64] {
        &self.rows
    }
}

/// Looks up the shard of any row.
#[derive(Debug)]
pub(super) struct LinkTable {
    file: File,
    records: u64,
}

impl LinkTable {
    pub(super) fn open(dir: &Path, records: u64) -> Result<Self, String> {
        let file = open(dir, records)?;
        Ok(Self { file, records })
    }

    pub(super) fn get(&self, row: u64) -> Result<Linked, String> {
        if row >= self.records {
            return Err(format!("has no row {row}"));
        }
        let mut bytes = [0; ROW];
        let at = (HEADER_BYTES as u64).saturating_add(row.saturating_mul(ROW as u64));
        let read = self.file.read_exact_at(&mut bytes, at);
        read.map_err(|error| format!("cannot be read: {error}"))?;
        Ok(decode(bytes))
    }
}

fn decode(bytes: [u8; ROW]) -> Linked {
    let whole = u64::from_le_bytes(bytes);
    Linked {
        shard: whole as u32,
        row: (whole >> 32) as u32,
    }
}

/// The path from one folder to another, both absolute and without links; `None` unless it can be
/// written into a `run.json`.
pub(super) fn relative(from: &Path, to: &Path) -> Option<String> {
    let from: Vec<Component> = from.components().collect();
    let to: Vec<Component> = to.components().collect();
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Component::ParentDir, from.len().saturating_sub(same));
    let path: PathBuf = up.chain(to.into_iter().skip(same)).collect();
    match path.as_os_str().is_empty() {
        true => Some(".".into()),
        false => path.to_str().map(ToOwned::to_owned),
    }
}

/// Whether a path in a `run.json` is one that a merge writes: relative, with a name in it.
pub(super) fn is_relative(path: &str) -> bool {
    let mut components = Path::new(path).components();
    let is_plain = |part: Component| matches!(part, Component::ParentDir | Component::Normal(_));
    !path.is_empty() && !path.contains('\0') && components.all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_leads_from_one_folder_to_the_other() {
        for (from, to, expected) in [
            ("/a/whole", "/a/shard-1", "../shard-1"),
            ("/a/b/whole", "/a/c/shard-1", "../../c/shard-1"),
            ("/a", "/a/shard", "shard"),
            ("/a/shard/whole", "/a/shard", ".."),
            ("/x/whole", "/y/z", "../../y/z"),
        ] {
            let found = relative(Path::new(from), Path::new(to)).unwrap();
            assert_eq!(found, expected);
            assert!(is_relative(&found), "{found}");
        }
        for path in ["", "/etc", "/", "a\0b", "."] {
            assert!(!is_relative(path), "{path:?}");
        }
    }

    #[test]
    fn rows_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LinkWriter::create(dir.path(), 3).unwrap();
        let shards = [2, 0, 2, 1, 0];
        for shard in shards {
            writer.push(shard).unwrap();
        }
        writer.close().unwrap();
        let expected = [(3, 0), (1, 0), (3, 1), (2, 0), (1, 1)];
        let expected = expected.map(|(shard, row)| Linked { shard, row });
        let mut reader = LinkReader::open(dir.path(), 5, 3).unwrap();
        let table = LinkTable::open(dir.path(), 5).unwrap();
        for (row, linked) in expected.into_iter().enumerate() {
            assert_eq!(reader.next().unwrap(), Some(linked));
            assert_eq!(table.get(row as u64).unwrap(), linked);
        }
        assert_eq!(reader.next().unwrap(), None);
        assert_eq!(reader.rows(), [2, 1, 2]);
        assert_eq!(table.get(5).unwrap_err(), "has no row 5");
        assert!(LinkTable::open(dir.path(), 4).is_err());
        // Of three shards, the third is not one of two.
        let mut reader = LinkReader::open(dir.path(), 5, 2).unwrap();
        assert!(reader.next().is_err());
        let bytes = std::fs::read(dir.path().join(LINKS_NPY)).unwrap();
        assert_eq!(bytes.len(), HEADER_BYTES + 5 * ROW);
        let head = "{'descr': '<u4', 'fortran_order': False, 'shape': (5, 2), }";
        assert!(bytes[10..].starts_with(head.as_bytes()));
    }
}
