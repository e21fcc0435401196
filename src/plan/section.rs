//! The records of one shard, read from the index.

use super::record::{Coder, PlannedRecord};
use super::{PlanError, ShardFacts};
use crate::sha256::sha256_read;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at a time.
const READ: usize = 1 << 18;

/// The part of the index with the records of one shard.
#[derive(Clone, Debug)]
pub struct Section {
    path: PathBuf,
    file: Arc<File>,
    facts: ShardFacts,
    firsts: Arc<[u64]>,
}

impl Section {
    pub(super) fn new(path: PathBuf, file: File, facts: ShardFacts, firsts: Vec<u64>) -> Section {
        Section {
            path,
            file: Arc::new(file),
            facts,
            firsts: firsts.into(),
        }
    }

    /// What the shard holds.
    pub fn facts(&self) -> &ShardFacts {
        &self.facts
    }

    /// Compares its checksum.
    ///
    /// # Errors
    /// The index cannot be read, or is damaged.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let read = sha256_read(&mut self.bytes());
        let (sha256, _) = read.map_err(|cause| PlanError::io("reading", &self.path, cause))?;
        match sha256 == self.facts.sha256 {
            true => Ok(()),
            false => Err(damaged(
                &self.path,
                "does not have the checksum in shards.tsv",
            )),
        }
    }

    fn bytes(&self) -> SectionBytes {
        SectionBytes {
            file: Arc::clone(&self.file),
            at: self.facts.offset,
            left: self.facts.bytes,
        }
    }

    /// Its records from the first to the last.
    pub fn read(&self) -> SectionReader<'_> {
        let bytes = self.bytes();
        SectionReader {
            path: &self.path,
            left: self.facts.records.saturating_add(self.facts.skipped),
            coder: Coder::new(&self.firsts),
            bytes: BufReader::with_capacity(READ, bytes),
        }
    }
}

/// Reads the records of a section.
#[derive(Debug)]
pub struct SectionReader<'a> {
    path: &'a Path,
    left: u64,
    coder: Coder<'a>,
    bytes: BufReader<SectionBytes>,
}

impl SectionReader<'_> {
    /// The next record; None at the end.
    ///
    /// # Errors
    /// The index cannot be read, or is damaged.
    pub fn next_record(&mut self) -> Result<Option<PlannedRecord>, PlanError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match self.coder.decode(&mut self.bytes) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.raw_os_error().is_some() => {
                Err(PlanError::io("reading", self.path, error))
            }
            Err(_) => Err(damaged(
                self.path,
                "has a record that `plan` does not write",
            )),
        }
    }
}

fn damaged(path: &Path, what: &str) -> PlanError {
    PlanError::Damaged {
        path: path.to_path_buf(),
        what: what.into(),
    }
}

/// The bytes of a section.
#[derive(Debug)]
struct SectionBytes {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for SectionBytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let into = into.get_mut(..wanted).unwrap_or_default();
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
