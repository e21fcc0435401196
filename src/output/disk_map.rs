//! A hash table on disk, for sets that may be larger than memory.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::output::disk;

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

/// Bytes of a slot: the key, then the value plus one; all zero when it is free.
const SLOT: usize = 24;
/// Slots read at a time: while at most half are used, one read is nearly always enough.
const PROBE: u64 = 8;
/// A new table has 2^12 slots.
const FIRST_BITS: u32 = 12;
/// A full table grows by this power of two: by more, some tables would be much larger than they need to
/// be, and all of a table is written.
const GROWTH_BITS: u32 = 1;
/// Slots moved at a time while the table grows.
const MOVE: u64 = 4096;

/// Keys and values in a file of fixed-size slots: open addressing, linear probing, never more than
/// half full.
#[derive(Debug)]
pub struct DiskMap {
    home: Home,
    file: File,
    bits: u32,
    len: u64,
}

/// Where the file of a table is.
#[derive(Debug)]
enum Home {
    /// At this path.
    Named(PathBuf),
    /// On the file system of this path, without a name: it is gone when it is closed.
    Nameless(PathBuf),
}

enum Found {
    Value(u64),
    Free(u64),
}

impl DiskMap {
    /// Creates an empty table in a new file; anything that exists at `path` is an error.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::with_bits(path, FIRST_BITS)
    }

    /// Creates an empty table in a file without a name, which is deleted with the table: on the file
    /// system where `out` is or will be, or else in the system's folder for temporary files.
    pub fn temporary(out: &Path) -> io::Result<Self> {
        let home = Home::Nameless(out.to_path_buf());
        Self::empty(home, disk::unnamed_file(out)?, FIRST_BITS)
    }

    /// The value stored with `key`, or `None` after storing `value` with it.
    ///
    /// `value` is less than `u64::MAX`.
    pub fn get_or_insert(&mut self, key: Key, value: u64) -> io::Result<Option<u64>> {
        if (self.len + 1) * 2 > self.slots() {
            self.grow()?;
        }
        match self.find(key)? {
            Found::Value(value) => Ok(Some(value)),
            Found::Free(slot) => {
                let stored = value.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
                let bytes = write_slot(&key, stored);
                self.file.write_all_at(&bytes, slot * SLOT as u64)?;
                self.len += 1;
                Ok(None)
            }
        }
    }

    /// The value stored with `key`, if there is one.
    pub fn get(&self, key: Key) -> io::Result<Option<u64>> {
        match self.find(key)? {
            Found::Value(value) => Ok(Some(value)),
            Found::Free(_) => Ok(None),
        }
    }

    fn with_bits(path: &Path, bits: u32) -> io::Result<Self> {
        let home = Home::Named(path.to_path_buf());
        Self::empty(home, disk::create_new(path)?, bits)
    }

    fn empty(home: Home, file: File, bits: u32) -> io::Result<Self> {
        let table = Self {
            home,
            file,
            bits,
            len: 0,
        };
        table.file.set_len(table.slots() * SLOT as u64)?;
        disk::read_at_random(&table.file);
        Ok(table)
    }

    fn slots(&self) -> u64 {
        1 << self.bits
    }

    /// The slot of a key, or the first that is tried.
    fn home_of(&self, key: &Key) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *key;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> (64 - self.bits)
    }

    fn find(&self, key: Key) -> io::Result<Found> {
        let mut slot = self.home_of(&key);
        let mut bytes = [0; SLOT * PROBE as usize];
        let mut probed = 0;
        while probed < self.slots() {
            let count = PROBE.min(self.slots() - slot);
            let (bytes, _) = bytes.split_at_mut(SLOT * count as usize);
            self.file.read_exact_at(bytes, slot * SLOT as u64)?;
            for (i, entry) in bytes.chunks_exact(SLOT).enumerate() {
                match read_slot(entry) {
                    None => return Ok(Found::Free(slot + i as u64)),
                    Some((found, value)) if found == key => return Ok(Found::Value(value)),
                    Some(_) => {}
                }
            }
            probed += count;
            slot = (slot + count) % self.slots();
        }
        // Half of the slots are free unless something else wrote into the file.
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Writes the slots from `first` on, in one piece, with the keys of a piece of a smaller table: they have
    /// their slots there. The few that crowd over an end of the piece are added to `others`.
    fn fill(&mut self, first: u64, smaller: &[u8], others: &mut Vec<(Key, u64)>) -> io::Result<()> {
        let mut piece = vec![0; smaller.len() << GROWTH_BITS];
        let (slots, _) = piece.as_chunks_mut::<SLOT>();
        for (key, value) in smaller.chunks_exact(SLOT).filter_map(read_slot) {
            let home = self.home_of(&key).checked_sub(first);
            let home = home.and_then(|home| usize::try_from(home).ok());
            let mut tried = home
                .and_then(|home| slots.get_mut(home..))
                .into_iter()
                .flatten();
            match tried.find(|slot| read_slot(*slot).is_none()) {
                Some(slot) => {
                    *slot = write_slot(&key, value + 1);
                    self.len += 1;
                }
                None => others.push((key, value)),
            }
        }
        self.file.write_all_at(&piece, first * SLOT as u64)
    }

    fn grow(&mut self) -> io::Result<()> {
        let bits = self.bits + GROWTH_BITS;
        if bits > 48 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut grown = match &self.home {
            Home::Named(path) => Self::with_bits(&path.with_extension("grown"), bits)?,
            Home::Nameless(out) => {
                Self::empty(Home::Nameless(out.clone()), disk::unnamed_file(out)?, bits)?
            }
        };
        let count = MOVE.min(self.slots());
        let mut bytes = vec![0; SLOT * count as usize];
        let mut others = Vec::new();
        for first in (0..self.slots()).step_by(count as usize) {
            self.file.read_exact_at(&mut bytes, first * SLOT as u64)?;
            grown.fill(first << GROWTH_BITS, &bytes, &mut others)?;
        }
        for (key, value) in others {
            grown.get_or_insert(key, value)?;
        }
        if let (Home::Named(from), Home::Named(to)) = (&grown.home, &self.home) {
            std::fs::rename(from, to)?;
        }
        self.file = grown.file;
        self.bits = grown.bits;
        self.len = grown.len;
        Ok(())
    }
}

/// The bytes of a slot that holds this, a value plus one.
fn write_slot(key: &Key, stored: u64) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    let (to_key, to_value) = bytes.split_at_mut(key.len());
    to_key.copy_from_slice(key);
    to_value.copy_from_slice(&stored.to_le_bytes());
    bytes
}

/// Key and value of a slot, or `None` if it is free.
fn read_slot(bytes: &[u8]) -> Option<(Key, u64)> {
    let (key, value) = bytes.split_first_chunk()?;
    let value = u64::from_le_bytes(*value.first_chunk()?).checked_sub(1)?;
    Some((*key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn the_key_is_half_a_digest() {
        assert_eq!(
            crate::sha256::hex(&key(b"")),
            "e3b0c44298fc1c149afbf4c8996fb924"
        );
    }

    #[test]
    fn every_key_is_found_again_after_growing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        let mut seen = DiskMap::create(&path).unwrap();
        for value in 0..20_000_u64 {
            assert_eq!(
                seen.get_or_insert(key(&value.to_le_bytes()), value)
                    .unwrap(),
                None
            );
        }
        for value in 0..20_000_u64 {
            assert_eq!(
                seen.get_or_insert(key(&value.to_le_bytes()), 0).unwrap(),
                Some(value)
            );
        }
        // 2^12 slots hold 2^11 keys, 2^15 hold 2^14, 2^16 hold 2^15.
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 24 << 16);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_temporary_table_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = DiskMap::temporary(&dir.path().join("not/there/yet")).unwrap();
        for value in 0..5_000_u64 {
            let key = key(&value.to_le_bytes());
            assert_eq!(seen.get_or_insert(key, value).unwrap(), None);
            assert_eq!(seen.get_or_insert(key, 0).unwrap(), Some(value));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_existing_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(
            DiskMap::create(file.path()).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn the_largest_value_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = DiskMap::create(&dir.path().join("table")).unwrap();
        assert!(seen.get_or_insert([0; 16], u64::MAX).is_err());
        assert_eq!(seen.get_or_insert([0; 16], u64::MAX - 1).unwrap(), None);
        assert_eq!(seen.get_or_insert([0; 16], 0).unwrap(), Some(u64::MAX - 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Keys from a few bytes at the end of the table crowd together and wrap around.
        #[test]
        fn it_agrees_with_a_map(keys in prop::collection::vec((0xfe_u8.., any::<u8>(), 0..4_u8), 0..300)) {
            let dir = tempfile::tempdir().unwrap();
            let mut seen = DiskMap::with_bits(&dir.path().join("table"), 3).unwrap();
            let mut map = HashMap::new();
            for (value, (a, b, c)) in (0_u64..).zip(keys) {
                let mut key = [0xff; 16];
                (key[0], key[1], key[15]) = (a, b, c);
                prop_assert_eq!(seen.get_or_insert(key, value).unwrap(), map.get(&key).copied());
                map.entry(key).or_insert(value);
            }
        }
    }
}
