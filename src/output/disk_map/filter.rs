//! Says of most keys that a run, or all runs of a level, do not have them, without reading any.

use super::Key;

/// Bytes of a filter for two keys: of a hundred keys that a run does not have, it lets one pass at most.
const BYTES_FOR_TWO_KEYS: u64 = 3;
/// Blocks come in groups of as many, so that a filter can be halved three times.
const GROUP: u64 = 8;

/// 256 bits, of which each key sets one in each word: half a cache line.
type Block = [u32; 8];
const BLOCK_BYTES: u64 = size_of::<Block>() as u64;

/// A Bloom filter in blocks. Keys are digests, so their own bits say where their bits are.
#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<Block>,
}

/// Bytes of a filter for this many keys.
pub(super) fn bytes_for(keys: u64) -> u64 {
    let bytes = keys.saturating_mul(BYTES_FOR_TWO_KEYS) / 2;
    bytes
        .next_multiple_of(GROUP * BLOCK_BYTES)
        .max(GROUP * BLOCK_BYTES)
}

impl Filter {
    /// An empty filter of at most this many bytes; `None` if they are too few to be of use, or if there is no
    /// memory.
    pub(super) fn of(bytes: u64) -> Option<Self> {
        let count = bytes / BLOCK_BYTES / GROUP * GROUP;
        let count = usize::try_from(count).ok().filter(|&count| count > 0)?;
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(count).ok()?;
        blocks.resize(count, Block::default());
        Some(Self { blocks })
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK_BYTES
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        self.blocks.fill(Block::default());
    }

    /// Notes a key.
    pub(super) fn add(&mut self, key: &Key) {
        let at = self.block_of(key);
        if let Some(block) = self.blocks.get_mut(at) {
            block
                .iter_mut()
                .zip(bits(key))
                .for_each(|(word, bit)| *word |= bit);
        }
    }

    /// False only for keys that were not added.
    pub(super) fn may_have(&self, key: &Key) -> bool {
        let block = self.blocks.get(self.block_of(key));
        block.is_none_or(|block| {
            block
                .iter()
                .zip(bits(key))
                .all(|(word, bit)| word & bit != 0)
        })
    }

    /// The same in half of the memory, letting more keys pass; `None` if it would let nearly all of them pass.
    pub(super) fn halved(self) -> Option<Self> {
        if !self.blocks.len().is_multiple_of(2) {
            return None;
        }
        let (pairs, _) = self.blocks.as_chunks();
        let both = |[one, other]: &[Block; 2]| std::array::from_fn(|i| one[i] | other[i]);
        let blocks = pairs.iter().map(both).collect();
        Some(Self { blocks })
    }

    /// The number of a key's block: keys in ascending order have blocks in ascending order.
    fn block_of(&self, key: &Key) -> usize {
        let [a, b, c, d, e, f, g, h, ..] = *key;
        let share = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        ((u128::from(share) * self.blocks.len() as u128) >> 64) as usize
    }
}

/// The bit of a key in each word of its block.
fn bits(key: &Key) -> Block {
    let [.., a, b, c, d, e, f, g, h] = *key;
    let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    std::array::from_fn(|i| 1 << ((number >> (5 * i)) & 31))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::disk_map::key;

    const KEYS: u64 = 20_000;

    fn number(n: u64) -> Key {
        key(&n.to_le_bytes())
    }

    fn passed(filter: &Filter) -> usize {
        let others = (KEYS..2 * KEYS).filter(|&n| filter.may_have(&number(n)));
        others.count()
    }

    #[test]
    fn few_keys_pass_that_were_not_added() {
        let mut filter = Filter::of(bytes_for(KEYS)).unwrap();
        assert_eq!(filter.bytes(), 30_208);
        (0..KEYS).for_each(|n| filter.add(&number(n)));
        let mut shares = Vec::new();
        let mut filter = Some(filter);
        while let Some(fuller) = filter.take() {
            assert!((0..KEYS).all(|n| fuller.may_have(&number(n))));
            shares.push(passed(&fuller) * 100 / KEYS as usize);
            filter = fuller.halved();
        }
        // 12, 6, 3 and 1.5 bits a key, and fewer: the blocks are an odd number then.
        assert_eq!(shares.len(), 5);
        assert!(
            shares[0] == 0 && shares[1] < 10 && shares[2] < 60,
            "{shares:?}"
        );
    }

    #[test]
    fn too_little_memory_is_none() {
        assert!(Filter::of(GROUP * BLOCK_BYTES - 1).is_none());
        assert!(Filter::of(u64::MAX).is_none());
        assert_eq!(Filter::of(bytes_for(1)).unwrap().bytes(), 256);
    }

    #[test]
    fn crowded_keys_are_let_pass_and_never_lost() {
        let mut filter = Filter::of(bytes_for(4)).unwrap();
        for last in 0..4 {
            let mut key = [0xff; 16];
            key[0] = last;
            filter.add(&key);
            assert!(filter.may_have(&key));
        }
        assert!(!filter.may_have(&[0; 16]));
    }
}
