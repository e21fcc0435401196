//! Runs of about the same size, in one file.

use super::Key;
use super::filter::Filter;
use super::run::{Run, RunReader, RunWriter};
use crate::output::disk;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io;

/// Runs of about the same size, in one file.
#[derive(Debug)]
pub(super) struct Level {
    file: File,
    pub(super) runs: Vec<Run>,
    /// Of the keys of all runs. Without one, every key may be in any run.
    pub(super) filter: Option<Filter>,
}

impl Level {
    /// Without runs, in an empty file.
    pub(super) fn new(file: File, filter: Option<Filter>) -> Self {
        disk::read_at_random(&file);
        Self {
            file,
            runs: Vec::new(),
            filter,
        }
    }

    /// The value of a key, if one of the runs has it.
    pub(super) fn get(&self, key: &Key) -> io::Result<Option<u64>> {
        let filter = self.filter.as_ref();
        if filter.is_some_and(|filter| !filter.may_have(key)) {
            return Ok(None);
        }
        for run in &self.runs {
            if let Some(value) = run.get(&self.file, key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// How many keys the runs have.
    pub(super) fn keys(&self) -> u64 {
        self.runs.iter().map(Run::keys).sum()
    }

    /// Adds a run of some keys in ascending order. Until all of it is written, it counts for nothing.
    pub(super) fn add(&mut self, items: &[(Key, u64)], filter: Option<Filter>) -> io::Result<()> {
        let greatest = items.iter().map(|(_, value)| *value).max();
        let mut writer = self.writer(greatest.unwrap_or(0), filter);
        for (key, value) in items {
            writer.push(key, *value)?;
        }
        let run = writer.finish()?;
        if let Some(filter) = &mut self.filter {
            items.iter().for_each(|(key, _)| filter.add(key));
        }
        self.runs.push(run);
        Ok(())
    }

    /// Adds a run of all keys of another level. This level has no filter for all its runs: they are few.
    pub(super) fn add_all(&mut self, other: &Level, filter: Option<Filter>) -> io::Result<()> {
        let greatest = other.runs.iter().map(Run::greatest).max();
        let mut writer = self.writer(greatest.unwrap_or(0), filter);
        let runs = other.runs.iter();
        let mut readers: Vec<_> = runs.map(|run| RunReader::new(&other.file, run)).collect();
        let mut least = BinaryHeap::new();
        for (number, reader) in readers.iter_mut().enumerate() {
            least.extend(reader.next()?.map(|item| Reverse((item, number))));
        }
        while let Some(mut first) = least.peek_mut() {
            let Reverse(((key, value), number)) = *first;
            writer.push(&key, value)?;
            match readers.get_mut(number).map_or(Ok(None), RunReader::next)? {
                Some(item) => *first = Reverse((item, number)),
                None => drop(PeekMut::pop(first)),
            }
        }
        let run = writer.finish()?;
        self.runs.push(run);
        Ok(())
    }

    fn writer(&self, greatest: u64, filter: Option<Filter>) -> RunWriter<'_> {
        let start = self.runs.last().map_or(0, Run::end);
        RunWriter::new(&self.file, start, greatest, filter)
    }

    /// Removes all runs, and their bytes from the disk.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.runs.clear();
        if let Some(filter) = &mut self.filter {
            filter.clear();
        }
        self.file.set_len(0)
    }
}
