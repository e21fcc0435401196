//! Keys with values, for sets that may be larger than memory.
//!
//! A log-structured merge tree. New keys are collected in memory; when there are [`RECENT`], they are
//! written to a file as a sorted run, and [`FAN_OUT`] runs are merged into one of the next level. So a
//! key is written once for each level, one after the other: once up to 3.6 million keys, twice up to 469
//! million. A table with a slot for each key would be written all over, all the time.
//!
//! Nearly every new key is known to be new without reading a run, from filters in memory: one for all of the
//! many small runs of the first level, and one for each run. Filters have a limit; beyond it they let more
//! keys pass, for which a piece of a run is read.

mod filter;
mod level;
mod run;

use crate::memory::MemoryLimit;
use crate::output::disk;
use filter::{Filter, bytes_for};
use level::Level;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The first half of a SHA-256 digest. Two inputs with the same key count as the same; a collision
/// by chance needs about 2^64 inputs.
pub type Key = [u8; 16];

/// The key of some bytes.
pub fn key(bytes: &[u8]) -> Key {
    let digest = Sha256::digest(bytes);
    let mut key = Key::default();
    for (to, from) in key.iter_mut().zip(digest) {
        *to = from;
    }
    key
}

/// Keys in memory: as many as a hash table of 2^15 entries holds before it grows.
const RECENT: usize = 7 << 12;
/// Runs that are merged into one.
const FAN_OUT: usize = 128;
/// Bytes of all filters. They are enough for 60 million keys.
const FILTERS: u64 = 96 << 20;
/// The part of the memory of this process that filters may take at most.
const SHARE_OF_MEMORY: u64 = 64;

/// Bytes of an entry of the hash table in memory, one in eight of which is free, while it grows.
const RECENT_BYTES: u64 = 56;
/// Bytes of memory for a key in a run without its filter: see [`run::Block`].
const KEYS_PER_BYTE: u64 = 12;
/// Memory for merging: pieces of all runs, and of the new one.
const MERGING: u64 = 4 << 20;

/// What a map may take of memory.
#[derive(Debug, Clone, Copy)]
struct Limits {
    recent: usize,
    fan_out: usize,
    /// Bytes. `None` until it is needed.
    filters: Option<u64>,
}

const LIMITS: Limits = Limits {
    recent: RECENT,
    fan_out: FAN_OUT,
    filters: None,
};

/// Bytes of all filters in the memory of this process.
fn most_filters() -> u64 {
    let memory = MemoryLimit::here().map_or(u64::MAX, |limit| limit.bytes);
    FILTERS.min(memory / SHARE_OF_MEMORY)
}

/// Bytes of all filters of this many keys, if they had no limit.
fn filters(keys: u64) -> u64 {
    bytes_for(keys) + bytes_for((RECENT * FAN_OUT) as u64)
}

/// Keys with values. A key stays, and its value does not change.
#[derive(Debug)]
pub struct DiskMap {
    home: Home,
    limits: Limits,
    recent: HashMap<Key, u64>,
    /// From those of the smallest runs on.
    levels: Vec<Level>,
}

/// Where the files of a map are. Without many keys, it has none.
#[derive(Debug)]
enum Home {
    /// The first has this path, and the others this path with a number.
    Named(PathBuf),
    /// On the file system of this path, without names: they are gone when they are closed.
    Nameless(PathBuf),
}

impl Home {
    /// Makes the file of a level.
    fn make(&self, level: usize) -> io::Result<File> {
        match self {
            Home::Named(path) if level == 0 => disk::create_new(path),
            Home::Named(path) => {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".{level}"));
                disk::create_new(Path::new(&name))
            }
            Home::Nameless(out) => disk::unnamed_file(out),
        }
    }
}

impl DiskMap {
    /// An empty map. Once its keys need a file, that is made at `path`, and anything that exists there is an
    /// error then.
    pub fn create(path: &Path) -> Self {
        Self::with(Home::Named(path.to_path_buf()), LIMITS)
    }

    /// An empty map. Once its keys need a file, that has no name and is deleted with the map: on the file
    /// system where `out` is or will be, or else in the system's folder for temporary files.
    pub fn temporary(out: &Path) -> Self {
        Self::with(Home::Nameless(out.to_path_buf()), LIMITS)
    }

    fn with(home: Home, limits: Limits) -> Self {
        Self {
            home,
            limits,
            recent: HashMap::new(),
            levels: Vec::new(),
        }
    }

    /// Bytes of memory that a map of this many keys takes at most.
    pub fn memory(keys: u64) -> u64 {
        let recent = keys.min(RECENT as u64) * RECENT_BYTES;
        match keys > RECENT as u64 {
            false => recent,
            true => recent + MERGING + keys / KEYS_PER_BYTE + filters(keys).min(FILTERS),
        }
    }

    /// The value stored with `key`, or `None` after storing `value` with it.
    ///
    /// `value` is less than `u64::MAX`.
    ///
    /// # Errors
    /// A file cannot be made, written or read, or is not as it was written. No key is lost by that.
    pub fn get_or_insert(&mut self, key: Key, value: u64) -> io::Result<Option<u64>> {
        let found = self.get(key)?;
        if found.is_some() {
            return Ok(found);
        }
        if value == u64::MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.recent.len() >= self.limits.recent {
            self.write_recent()?;
        }
        self.recent.insert(key, value);
        Ok(None)
    }

    /// The value stored with `key`, if there is one.
    ///
    /// # Errors
    /// A file cannot be read, or is not as it was written.
    pub fn get(&self, key: Key) -> io::Result<Option<u64>> {
        if let Some(value) = self.recent.get(&key) {
            return Ok(Some(*value));
        }
        for level in &self.levels {
            if let Some(value) = level.get(&key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Writes the keys in memory to a run, and merges runs where there are enough of them.
    fn write_recent(&mut self) -> io::Result<()> {
        let mut items: Vec<(Key, u64)> = self
            .recent
            .iter()
            .map(|(key, value)| (*key, *value))
            .collect();
        items.sort_unstable();
        let filter = self.new_filter(items.len() as u64);
        self.open(0)?.add(&items, filter)?;
        self.recent.clear();
        for full in 0.. {
            let level = self.levels.get(full);
            let Some(level) = level.filter(|level| level.runs.len() >= self.limits.fan_out) else {
                break;
            };
            let keys = level.keys();
            self.open(full + 1)?;
            if let Some(level) = self.levels.get_mut(full) {
                // No key is looked up while they are merged.
                level.runs.iter_mut().for_each(|run| run.filter = None);
            }
            let filter = self.new_filter(keys);
            let (lower, upper) = self.levels.split_at_mut(full + 1);
            if let (Some(level), Some(next)) = (lower.last_mut(), upper.first_mut()) {
                next.add_all(level, filter)?;
                level.clear()?;
            }
        }
        Ok(())
    }

    /// The level with this number, which is made if there is none yet.
    fn open(&mut self, number: usize) -> io::Result<&mut Level> {
        if number >= self.levels.len() {
            let file = self.home.make(number)?;
            let filter = self.first_filter().filter(|_| number == 0);
            self.levels.push(Level::new(file, filter));
        }
        let level = self.levels.get_mut(number);
        level.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Bytes of all filters.
    fn most_filters(&mut self) -> u64 {
        *self.limits.filters.get_or_insert_with(most_filters)
    }

    /// A filter for all runs of the first level, if it may be as large as that needs.
    fn first_filter(&mut self) -> Option<Filter> {
        let bytes = bytes_for((self.limits.recent * self.limits.fan_out) as u64);
        let most = self.most_filters() / 4;
        (bytes <= most).then(|| Filter::of(bytes)).flatten()
    }

    /// A filter for a new run. The largest of the others are halved until there is memory for it.
    fn new_filter(&mut self, keys: u64) -> Option<Filter> {
        let most = self.most_filters();
        let bytes = bytes_for(keys).min(most / 4);
        let of_levels = self.levels.iter().filter_map(|level| level.filter.as_ref());
        let of_levels: u64 = of_levels.map(Filter::bytes).sum();
        loop {
            let runs = self.levels.iter_mut().flat_map(|level| &mut level.runs);
            let filters: Vec<_> = runs
                .filter_map(|run| run.filter.is_some().then_some(&mut run.filter))
                .collect();
            let size = |filter: &Option<Filter>| filter.as_ref().map_or(0, Filter::bytes);
            let of_runs: u64 = filters.iter().map(|filter| size(filter)).sum();
            if of_levels + of_runs + bytes <= most {
                return Filter::of(bytes);
            }
            let largest = filters.into_iter().max_by_key(|filter| size(filter))?;
            *largest = largest.take().and_then(Filter::halved);
        }
    }
}

#[cfg(test)]
mod tests;
