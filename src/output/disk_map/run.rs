//! Keys in ascending order with their values, in a part of a file.

use super::Key;
use super::filter::Filter;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a key.
const KEY: usize = size_of::<Key>();
/// Keys that are read together for one of them.
pub(super) const BLOCK: usize = 256;
/// Bytes of the largest block.
const BLOCK_BYTES: usize = BLOCK * (KEY + size_of::<u64>());
/// Blocks that are read together where all are.
const AHEAD: usize = 4;
/// Bytes that are collected before they are written.
const WRITE: usize = 1 << 18;

/// Keys in ascending order with their values.
#[derive(Debug)]
pub(super) struct Run {
    /// Where it begins in the file.
    start: u64,
    keys: u64,
    /// Values have as many bytes as the greatest needs.
    greatest: u64,
    blocks: Vec<Block>,
    /// Without one, every key may be here.
    pub(super) filter: Option<Filter>,
}

/// What is remembered of a block.
#[derive(Debug)]
pub(super) struct Block {
    first: Key,
    /// CRC-32 of its bytes.
    checksum: u32,
}

impl Run {
    /// How many keys it has.
    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    /// The greatest of its values.
    pub(super) fn greatest(&self) -> u64 {
        self.greatest
    }

    /// Where it ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.start + self.keys * item_bytes(self.greatest) as u64
    }

    /// The value of a key, if the run has it.
    pub(super) fn get(&self, file: &File, key: &Key) -> io::Result<Option<u64>> {
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.may_have(key))
        {
            return Ok(None);
        }
        let after = self.blocks.partition_point(|block| block.first <= *key);
        let Some(number) = after.checked_sub(1) else {
            return Ok(None);
        };
        let mut bytes = [0; BLOCK_BYTES];
        let (bytes, _) = bytes.split_at_mut(self.bytes_of(number..after));
        self.read(file, number..after, bytes)?;
        let mut items = bytes.chunks_exact(item_bytes(self.greatest));
        let found = items.find_map(|item| item.strip_prefix(key));
        Ok(found.map(value))
    }

    /// Bytes of some blocks.
    fn bytes_of(&self, blocks: std::ops::Range<usize>) -> usize {
        let keys = self.keys.min((blocks.end * BLOCK) as u64) as usize;
        keys.saturating_sub(blocks.start * BLOCK) * item_bytes(self.greatest)
    }

    /// Reads some blocks, as many bytes as they have, and compares their checksums.
    fn read(
        &self,
        file: &File,
        blocks: std::ops::Range<usize>,
        bytes: &mut [u8],
    ) -> io::Result<()> {
        let block_bytes = BLOCK * item_bytes(self.greatest);
        file.read_exact_at(bytes, self.start + (blocks.start * block_bytes) as u64)?;
        let read = bytes.chunks(block_bytes).map(crc32fast::hash);
        let due = self.blocks.get(blocks).unwrap_or_default();
        let due = due.iter().map(|block| block.checksum);
        match read.eq(due) {
            true => Ok(()),
            // Something else wrote into the file, or the disk lost what was written.
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Bytes of a key and a value up to this one.
fn item_bytes(greatest: u64) -> usize {
    KEY + (u64::BITS - greatest.leading_zeros()).div_ceil(8) as usize
}

/// A value from its bytes.
fn value(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Writes a run.
pub(super) struct RunWriter<'a> {
    file: &'a File,
    run: Run,
    item_bytes: usize,
    /// Where the pending bytes go.
    at: u64,
    pending: Vec<u8>,
    /// Where the last block begins in them.
    block: usize,
}

impl<'a> RunWriter<'a> {
    /// From byte `start` on, with values up to `greatest`.
    pub(super) fn new(file: &'a File, start: u64, greatest: u64, filter: Option<Filter>) -> Self {
        Self {
            file,
            run: Run {
                start,
                keys: 0,
                greatest,
                blocks: Vec::new(),
                filter,
            },
            item_bytes: item_bytes(greatest),
            at: start,
            pending: Vec::with_capacity(WRITE + BLOCK_BYTES),
            block: 0,
        }
    }

    /// Adds a key, which is greater than the one before.
    pub(super) fn push(&mut self, key: &Key, value: u64) -> io::Result<()> {
        if self.run.keys.is_multiple_of(BLOCK as u64) {
            self.close_block();
            if self.pending.len() >= WRITE {
                self.write()?;
            }
            self.block = self.pending.len();
            self.run.blocks.push(Block {
                first: *key,
                checksum: 0,
            });
        }
        self.pending.extend(key);
        let value = value.to_le_bytes();
        self.pending
            .extend(value.iter().take(self.item_bytes - KEY));
        if let Some(filter) = &mut self.run.filter {
            filter.add(key);
        }
        self.run.keys += 1;
        Ok(())
    }

    /// The run, once all of it is written.
    pub(super) fn finish(mut self) -> io::Result<Run> {
        self.close_block();
        self.write()?;
        self.run.blocks.shrink_to_fit();
        Ok(self.run)
    }

    fn close_block(&mut self) {
        let bytes = self.pending.get(self.block..).unwrap_or_default();
        if let Some(block) = self.run.blocks.last_mut() {
            block.checksum = crc32fast::hash(bytes);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.pending, self.at)?;
        self.at += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

/// Reads a run from its first key to its last.
pub(super) struct RunReader<'a> {
    file: &'a File,
    run: &'a Run,
    /// The next block to read.
    block: usize,
    bytes: Vec<u8>,
    taken: usize,
}

impl<'a> RunReader<'a> {
    pub(super) fn new(file: &'a File, run: &'a Run) -> Self {
        Self {
            file,
            run,
            block: 0,
            bytes: Vec::new(),
            taken: 0,
        }
    }

    /// The next key and its value; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(Key, u64)>> {
        if self.taken == self.bytes.len() {
            let end = self.run.blocks.len().min(self.block + AHEAD);
            self.bytes.resize(self.run.bytes_of(self.block..end), 0);
            self.run.read(self.file, self.block..end, &mut self.bytes)?;
            self.block = end;
            self.taken = 0;
        }
        let end = self.taken + item_bytes(self.run.greatest);
        let item = self.bytes.get(self.taken..end);
        let Some((key, bytes)) = item.and_then(|item| item.split_first_chunk()) else {
            return Ok(None);
        };
        self.taken = end;
        Ok(Some((*key, value(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        let mut key = [7; 16];
        key[12..].copy_from_slice(&n.to_be_bytes());
        key
    }

    /// Even keys, each with a value.
    fn run(file: &File, start: u64, count: u32, greatest: u64) -> Run {
        let mut writer = RunWriter::new(file, start, greatest, None);
        for n in 0..count {
            let value = greatest - u64::from(n % 3);
            writer.push(&key(2 * n), value).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        for (count, greatest) in [(0, 2), (1, 2), (256, 300), (20_000, u64::MAX - 1)] {
            let file = tempfile::tempfile().unwrap();
            let run = run(&file, 5, count, greatest);
            let bytes = if greatest == 2 { 17 } else { 16 + 8 };
            let bytes = if greatest == 300 { 18 } else { bytes };
            assert_eq!(run.end(), 5 + u64::from(count) * bytes);
            assert_eq!(
                file.metadata().unwrap().len(),
                if count == 0 { 0 } else { run.end() }
            );
            for n in 0..count {
                let value = greatest - u64::from(n % 3);
                assert_eq!(run.get(&file, &key(2 * n)).unwrap(), Some(value));
                assert_eq!(run.get(&file, &key(2 * n + 1)).unwrap(), None);
            }
            assert_eq!(run.get(&file, &[0; 16]).unwrap(), None);
            assert_eq!(run.get(&file, &[9; 16]).unwrap(), None);
            let mut reader = RunReader::new(&file, &run);
            for n in 0..count {
                let value = greatest - u64::from(n % 3);
                assert_eq!(reader.next().unwrap(), Some((key(2 * n), value)));
            }
            assert_eq!(reader.next().unwrap(), None);
        }
    }

    #[test]
    fn damage_is_an_error_wherever_it_is() {
        let file = tempfile::tempfile().unwrap();
        let run = run(&file, 0, 10_000, 9);
        let read_all = || {
            let mut reader = RunReader::new(&file, &run);
            while reader.next()?.is_some() {}
            io::Result::Ok(())
        };
        read_all().unwrap();
        file.write_all_at(&[1], 9_000 * 17 + 3).unwrap();
        assert_eq!(read_all().unwrap_err().kind(), io::ErrorKind::InvalidData);
        let error = run.get(&file, &key(18_000)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(run.get(&file, &key(4)).unwrap(), Some(7));
        file.set_len(9_000 * 17).unwrap();
        assert_eq!(read_all().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let error = run.get(&file, &key(19_998)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
