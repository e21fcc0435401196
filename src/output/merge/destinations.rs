//! Where the values of every record of every shard belong in the whole.

use super::MergeError;
use super::agree::Part;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::place::{Place, decode, encode, slot_bytes};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Name of the list of places in the working folder.
const DESTINATIONS: &str = "destinations";
/// Bytes of places that are collected before they are written.
const PENDING: usize = 1 << 12;

/// Where the values of every record belong, on disk: one shard after the other, each in its own
/// order.
pub(super) struct Destinations {
    path: PathBuf,
    file: File,
    files: bool,
    /// For each shard, the byte where its next place goes, and places not yet written.
    ends: Vec<(u64, Vec<u8>)>,
    starts: Vec<u64>,
}

impl Destinations {
    pub(super) fn create(partial: &Path, files: bool, parts: &[Part]) -> Result<Self, MergeError> {
        let path = partial.join(DESTINATIONS);
        let file = disk::create_new(&path).map_err(|e| OutputError::io("making", &path, e))?;
        let mut at = 0_u64;
        let starts: Vec<u64> = parts
            .iter()
            .map(|part| {
                let start = at;
                let bytes = part.manifest.counts.records.saturating_mul(slot(files));
                at = at.saturating_add(bytes);
                start
            })
            .collect();
        Ok(Self {
            path,
            file,
            files,
            ends: starts.iter().map(|&start| (start, Vec::new())).collect(),
            starts,
        })
    }

    /// Adds the place of the next record of a shard.
    pub(super) fn push(&mut self, shard: usize, place: &Place) -> Result<(), MergeError> {
        if let Some((_, pending)) = self.ends.get_mut(shard) {
            pending.extend(place.row.to_le_bytes());
            encode(place, self.files, pending);
            if pending.len() >= PENDING {
                self.write(shard)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, shard: usize) -> Result<(), MergeError> {
        if let Some((at, pending)) = self.ends.get_mut(shard) {
            self.file
                .write_all_at(pending, *at)
                .map_err(|e| OutputError::io("writing places to", &self.path, e))?;
            *at += pending.len() as u64;
            pending.clear();
        }
        Ok(())
    }

    pub(super) fn close(&mut self) -> Result<(), MergeError> {
        (0..self.ends.len()).try_for_each(|shard| self.write(shard))
    }

    /// The places of one shard, to be read once for each array.
    pub(super) fn of(&self, shard: usize) -> Result<Places, MergeError> {
        let reading = |e| OutputError::io("reading", &self.path, e);
        let file = disk::open_regular(&self.path).map_err(reading)?;
        Ok(Places {
            path: self.path.clone(),
            reader: BufReader::with_capacity(1 << 16, file),
            files: self.files,
            start: self.starts.get(shard).copied().unwrap_or(0),
        })
    }
}

fn slot(files: bool) -> u64 {
    8 + slot_bytes(files) as u64
}

/// The places of one shard's records.
pub(super) struct Places {
    path: PathBuf,
    reader: BufReader<File>,
    files: bool,
    start: u64,
}

impl Places {
    /// Calls `each` with the place of every record.
    pub(super) fn each(
        &mut self,
        records: u64,
        mut each: impl FnMut(&Place) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let reading = |e| OutputError::io("reading", &self.path, e);
        self.reader
            .seek(SeekFrom::Start(self.start))
            .map_err(reading)?;
        let mut row = [0; 8];
        let mut bytes = vec![0; slot_bytes(self.files)];
        for _ in 0..records {
            self.reader.read_exact(&mut row).map_err(reading)?;
            self.reader.read_exact(&mut bytes).map_err(reading)?;
            each(&decode(u64::from_le_bytes(row), &bytes, self.files))?;
        }
        Ok(())
    }
}
