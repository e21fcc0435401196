//! Sorting on disk: any number of items of a fixed size, in bounded memory.
//!
//! Items are sorted by their bytes, so numbers in them are big-endian. What does not fit in memory is
//! written to files without names, as sorted runs; reading merges them.

use crate::output::unnamed_file;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of items that are held in memory.
pub const MEMORY: usize = 128 << 20;

/// Bytes read at a time of each run.
const READ: usize = 256 << 10;

/// Takes items in any order.
#[derive(Debug)]
pub struct Sorter<const N: usize> {
    near: PathBuf,
    most: usize,
    items: Vec<[u8; N]>,
    file: Option<File>,
    /// Where each run ends in the file, in items.
    ends: Vec<u64>,
}

impl<const N: usize> Sorter<N> {
    /// Without items; files, if any are needed, are made on the file system of `near`.
    pub fn near(near: &Path) -> Sorter<N> {
        Sorter::with_memory(near, MEMORY)
    }

    fn with_memory(near: &Path, bytes: usize) -> Sorter<N> {
        Sorter {
            near: near.to_path_buf(),
            most: (bytes / N).max(1),
            items: Vec::new(),
            file: None,
            ends: Vec::new(),
        }
    }

    /// Adds an item.
    ///
    /// # Errors
    /// A file cannot be made or written.
    pub fn push(&mut self, item: [u8; N]) -> io::Result<()> {
        if self.items.len() >= self.most {
            self.write_run()?;
        }
        self.items.push(item);
        Ok(())
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.items.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(unnamed_file(&self.near)?),
        };
        for some in self.items.chunks(READ.div_ceil(N)) {
            file.write_all(some.as_flattened())?;
        }
        let before = self.ends.last().copied().unwrap_or(0);
        self.ends.push(before + self.items.len() as u64);
        self.items.clear();
        Ok(())
    }

    /// All items, to be read in their order.
    ///
    /// # Errors
    /// A file cannot be made or written.
    pub fn finish(mut self) -> io::Result<Sorted<N>> {
        if self.file.is_some() && !self.items.is_empty() {
            // The memory is free for whoever reads.
            self.write_run()?;
            self.items = Vec::new();
        }
        self.items.sort_unstable();
        Ok(Sorted {
            items: self.items,
            file: self.file,
            ends: self.ends,
        })
    }
}

/// Sorted items, which can be read any number of times.
#[derive(Debug)]
pub struct Sorted<const N: usize> {
    items: Vec<[u8; N]>,
    file: Option<File>,
    ends: Vec<u64>,
}

impl<const N: usize> Sorted<N> {
    /// The items from the first to the last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> io::Result<Reading<'_, N>> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let mut runs: Vec<Run<'_, N>> = starts
            .zip(&self.ends)
            .filter_map(|(at, &end)| {
                let file = self.file.as_ref()?;
                Some(Run {
                    file,
                    at,
                    end,
                    bytes: Vec::new(),
                    taken: 0,
                })
            })
            .collect();
        let mut heads = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(run.next()?.map(|item| Reverse((item, number))));
        }
        Ok(Reading {
            memory: self.items.iter(),
            runs,
            heads,
        })
    }
}

/// A sorted part of the file.
struct Run<'a, const N: usize> {
    file: &'a File,
    /// In items.
    at: u64,
    end: u64,
    bytes: Vec<u8>,
    taken: usize,
}

impl<const N: usize> Run<'_, N> {
    fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.taken == self.bytes.len() {
            let items = (self.end - self.at).min(READ.div_ceil(N) as u64);
            self.bytes.resize(items as usize * N, 0);
            self.taken = 0;
            self.file
                .read_exact_at(&mut self.bytes, self.at * N as u64)?;
            self.at += items;
        }
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let item = rest.first_chunk().copied();
        self.taken += if item.is_some() { N } else { 0 };
        Ok(item)
    }
}

/// Reads sorted items.
pub struct Reading<'a, const N: usize> {
    /// All items, where there is no file.
    memory: std::slice::Iter<'a, [u8; N]>,
    runs: Vec<Run<'a, N>>,
    heads: BinaryHeap<Reverse<([u8; N], usize)>>,
}

impl<const N: usize> Reading<'_, N> {
    /// The next item; None at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        let Some(mut least) = self.heads.peek_mut() else {
            return Ok(self.memory.next().copied());
        };
        let Reverse((item, number)) = *least;
        let run = self.runs.get_mut(number);
        match run.map_or(Ok(None), Run::next)? {
            Some(next) => *least = Reverse((next, number)),
            None => {
                std::collections::binary_heap::PeekMut::pop(least);
            }
        }
        Ok(Some(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(items: &[[u8; 3]], memory: usize) -> Vec<[u8; 3]> {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::with_memory(&folder.path().join("out"), memory);
        for &item in items {
            sorter.push(item).unwrap();
        }
        let sorted = sorter.finish().unwrap();
        assert_eq!(sorted.file.is_some(), items.len() > memory / 3);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let read = || {
            let mut reading = sorted.read().unwrap();
            std::iter::from_fn(move || reading.next().unwrap()).collect::<Vec<_>>()
        };
        let first = read();
        assert_eq!(first, read());
        first
    }

    #[test]
    fn runs_longer_than_one_read_are_merged() {
        let item = |i: u32| {
            let [_, bytes @ ..] = i.wrapping_mul(2_654_435_761).to_be_bytes();
            bytes
        };
        let items: Vec<[u8; 3]> = (0..300_000).map(item).collect();
        let mut expected = items.clone();
        expected.sort_unstable();
        assert_eq!(sorted(&items, 3 * 120_000), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_items_in_any_memory(
            items in proptest::collection::vec(any::<[u8; 3]>(), 0..60),
            memory in 3_usize..120,
        ) {
            let mut expected = items.clone();
            expected.sort_unstable();
            prop_assert_eq!(sorted(&items, memory), expected);
        }
    }
}
