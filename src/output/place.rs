//! Where the values of each record belong, stored on disk.

use crate::output::append_file::AppendFile;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::file_name::MAX_BYTES;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Name of the file in the working folder.
pub(super) const PLACES: &str = "places";

/// Where the values of one record belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Row in `index.tsv` and in every pooled file, from 0.
    pub row: u64,
    /// Residue rows of all records before this one.
    pub residue_offset: u64,
    /// Residue rows of this record.
    pub length: u64,
    /// Name of the record's own files, if the layout has such files.
    pub file: Option<String>,
}

/// Offset and length.
const NUMBERS: usize = 16;

/// Bytes of a place: offset, length and, if there is one, the name of the file.
pub(super) fn slot_bytes(files: bool) -> usize {
    if files { NUMBERS + MAX_BYTES } else { NUMBERS }
}

/// Appends the bytes of a place; its row determines their position.
pub(super) fn encode(place: &Place, files: bool, bytes: &mut Vec<u8>) {
    let end = bytes.len() + slot_bytes(files);
    bytes.extend(place.residue_offset.to_le_bytes());
    bytes.extend(place.length.to_le_bytes());
    bytes.extend(place.file.iter().flat_map(|name| name.bytes()));
    bytes.resize(end, 0);
}

/// The place of a row, from its bytes.
pub(super) fn decode(row: u64, slot: &[u8], files: bool) -> Place {
    let (offset, rest) = slot.split_at(slot.len().min(8));
    let (length, name) = rest.split_at(rest.len().min(8));
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |n, &byte| n << 8 | u64::from(byte))
    };
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Place {
        row,
        residue_offset: number(offset),
        length: number(length),
        file: files.then(|| String::from_utf8_lossy(name).into_owned()),
    }
}

/// Writes places in the order of rows.
#[derive(Debug)]
pub(super) struct PlaceWriter {
    log: AppendFile,
    files: bool,
}

impl PlaceWriter {
    pub(super) fn create(partial: &Path, files: bool) -> Result<Self, OutputError> {
        Ok(Self {
            log: AppendFile::create(partial.join(PLACES))?,
            files,
        })
    }

    pub(super) fn push(&mut self, place: &Place) -> Result<(), OutputError> {
        let mut slot = Vec::with_capacity(slot_bytes(self.files));
        encode(place, self.files, &mut slot);
        self.log.write(&slot)
    }

    pub(super) fn close(self) -> Result<(), OutputError> {
        self.log.close()
    }
}

/// Reads the place of any row.
#[derive(Debug)]
pub(super) struct PlaceReader {
    path: PathBuf,
    file: File,
    files: bool,
}

impl PlaceReader {
    pub(super) fn open(partial: &Path, files: bool) -> Result<Self, OutputError> {
        let path = partial.join(PLACES);
        let file = disk::open_regular(&path).map_err(|e| OutputError::io("opening", &path, e))?;
        Ok(Self { path, file, files })
    }

    pub(super) fn get(&self, row: u64) -> Result<Place, OutputError> {
        let mut slot = vec![0; slot_bytes(self.files)];
        let at = row.saturating_mul(slot.len() as u64);
        self.file
            .read_exact_at(&mut slot, at)
            .map_err(|e| OutputError::io("reading", &self.path, e))?;
        Ok(decode(row, &slot, self.files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_again() {
        for files in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let place = |row, residue_offset, length| Place {
                row,
                residue_offset,
                length,
                file: files.then(|| format!("{}{row}.npy", "é".repeat(97))),
            };
            let places = [
                place(0, 0, 7),
                place(1, 7, 1 << 40),
                place(2, (1 << 40) + 7, 3),
            ];
            let mut writer = PlaceWriter::create(dir.path(), files).unwrap();
            for place in &places {
                writer.push(place).unwrap();
            }
            writer.close().unwrap();
            let reader = PlaceReader::open(dir.path(), files).unwrap();
            for place in places.iter().rev() {
                assert_eq!(reader.get(place.row).unwrap(), *place);
            }
            assert!(reader.get(3).is_err());
            assert!(reader.get(u64::MAX).is_err());
        }
    }
}
