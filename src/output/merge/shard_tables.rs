//! The records of one shard, in the order of the input.

use super::MergeError;
use super::agree::Part;
use super::hashed::Hashed;
use crate::output::disk_map::Key;
use crate::output::index::parse::{IndexLine, SkippedLine};
use crate::output::index::{SKIPPED_COLUMNS, columns};
use crate::output::layout::{INDEX_TSV, SHARD_TSV, SKIPPED_TSV};
use crate::output::shard::{self, ShardLine};
use crate::output::shard_file;

/// Bytes read at a time from each table.
const BUFFER: usize = 1 << 14;
/// The same of all tables together: there may be tens of thousands.
const BUFFERS: usize = 64 << 20;
/// The least of one table.
const LEAST_BUFFER: usize = 1 << 11;
/// Tables of a shard, at most.
const TABLES: usize = 3;

/// How the tables of some shards are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    buffer: usize,
    /// Whether the tables of all shards may be open at a time.
    is_kept_open: bool,
}

impl Reading {
    /// For this many shards.
    pub(super) fn of(shards: usize) -> Self {
        let tables = shards.saturating_mul(TABLES);
        let buffer = BUFFERS.checked_div(tables).unwrap_or(BUFFER);
        Self {
            buffer: buffer.clamp(LEAST_BUFFER, BUFFER),
            is_kept_open: shard_file::fit(tables),
        }
    }

    fn open<'a>(self, part: &'a Part, name: &str) -> Result<Hashed<'a>, MergeError> {
        Hashed::open_among(part, name, self.buffer, self.is_kept_open)
    }
}
/// Longest line of an index: a header of 16 MiB, each byte written as four, and numbers.
const LONGEST_LINE: usize = (16 << 22) + (1 << 16);

/// The tables of one shard, read in parallel.
pub(super) struct ShardTables<'a> {
    files: bool,
    places: Hashed<'a>,
    index: Hashed<'a>,
    skipped: Option<Hashed<'a>>,
    next: Option<ShardLine>,
    line: Vec<u8>,
}

/// The next record of a shard.
pub(super) enum ShardRecord {
    Skipped(SkippedLine),
    Embedded {
        line: IndexLine,
        sequence: Key,
        masks: u64,
    },
}

impl<'a> ShardTables<'a> {
    pub(super) fn open(part: &'a Part, reading: Reading) -> Result<Self, MergeError> {
        let files = part.manifest.layout.has_files();
        let mut source = Self {
            files,
            places: reading.open(part, SHARD_TSV)?,
            index: reading.open(part, INDEX_TSV)?,
            skipped: None,
            next: None,
            line: Vec::new(),
        };
        first_line(&mut source.places, shard::COLUMNS)?;
        first_line(&mut source.index, columns(files))?;
        if part.manifest.counts.skipped > 0 {
            let mut skipped = reading.open(part, SKIPPED_TSV)?;
            first_line(&mut skipped, SKIPPED_COLUMNS)?;
            source.skipped = Some(skipped);
        }
        Ok(source)
    }

    /// Advances to the next record and returns its number in the whole input, or `None` at the end.
    pub(super) fn next_ordinal(&mut self) -> Result<Option<u64>, MergeError> {
        if !self.places.line(shard::LONGEST_LINE, &mut self.line)? {
            self.next = None;
            return Ok(None);
        }
        let line = ShardLine::parse(&self.line)
            .ok_or_else(|| self.places.damaged("has a line that no run writes"))?;
        self.next = Some(line);
        Ok(Some(line.ordinal))
    }

    /// The record to which [`Self::next_ordinal`] advanced.
    pub(super) fn record(&mut self) -> Result<ShardRecord, MergeError> {
        let embedded = self.next.and_then(|line| line.embedded);
        let table = match (&embedded, &mut self.skipped) {
            (None, Some(skipped)) => skipped,
            (None, None) => {
                return Err(self
                    .places
                    .damaged("has more skipped records than skipped.tsv"));
            }
            (Some(_), _) => &mut self.index,
        };
        if !table.line(LONGEST_LINE, &mut self.line)? {
            return Err(table.damaged("has fewer lines than shard.tsv has records"));
        }
        let strange = || table.damaged("has a line that no run writes");
        match embedded {
            None => {
                let line = SkippedLine::parse(&self.line).ok_or_else(strange)?;
                Ok(ShardRecord::Skipped(line))
            }
            Some((sequence, masks)) => Ok(ShardRecord::Embedded {
                line: IndexLine::parse(&self.line, self.files).ok_or_else(strange)?,
                sequence,
                masks,
            }),
        }
    }

    /// Checks that every table ends with the last record and has its checksum.
    pub(super) fn close(self) -> Result<(), MergeError> {
        self.places.close()?;
        self.index.close()?;
        self.skipped.map_or(Ok(()), Hashed::close)
    }
}

fn first_line(table: &mut Hashed<'_>, expected: &str) -> Result<(), MergeError> {
    let mut line = Vec::new();
    let is_there = table.line(expected.len(), &mut line)?;
    if is_there && line == expected.trim_end().as_bytes() {
        Ok(())
    } else {
        Err(table.damaged("does not start with the names of its columns"))
    }
}
