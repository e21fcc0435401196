//! Answers that are kept for the same sequence, the least recently used thrown away first.

use super::item::{Arrays, Item};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes of an entry beside its tokens and numbers.
const OVERHEAD: usize = 256;

/// Answers by their items.
#[derive(Debug)]
pub struct Cache {
    entries: HashMap<Arc<Item>, Entry>,
    /// Items by the time of their last use.
    order: BTreeMap<u64, Arc<Item>>,
    uses: u64,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    arrays: Arc<Arrays>,
    used: u64,
    bytes: usize,
}

impl Cache {
    /// For this many bytes; with 0, nothing is kept.
    pub fn new(limit: usize) -> Cache {
        Cache {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            bytes: 0,
            limit,
        }
    }

    /// The answer of an item, if it is kept.
    pub fn get(&mut self, item: &Item) -> Option<Arc<Arrays>> {
        let entry = self.entries.get_mut(item)?;
        let kept = self.order.remove(&entry.used)?;
        self.uses += 1;
        entry.used = self.uses;
        self.order.insert(self.uses, kept);
        Some(Arc::clone(&entry.arrays))
    }

    /// Keeps an answer.
    pub fn insert(&mut self, item: &Arc<Item>, arrays: &Arc<Arrays>) {
        let bytes = size_of_val(&*item.tokens) + arrays.bytes() + OVERHEAD;
        if bytes > self.limit || self.entries.contains_key(item) {
            return;
        }
        while self.bytes + bytes > self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            let gone = self.entries.remove(&oldest);
            self.bytes -= gone.map_or(0, |entry| entry.bytes);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.order.insert(self.uses, Arc::clone(item));
        let entry = Entry {
            arrays: Arc::clone(arrays),
            used: self.uses,
            bytes,
        };
        self.entries.insert(Arc::clone(item), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::{Pool, Product};
    use crate::server::scheduler::item::Array;
    use crate::tokenizer::TokenId;

    const MEAN: Product = Product::Pooled {
        layer: 2,
        pool: Pool::Mean,
    };

    fn item(residue: TokenId) -> Arc<Item> {
        Arc::new(Item {
            tokens: vec![0, residue, 2],
            windows: Vec::new(),
            products: Arc::new([MEAN]),
        })
    }

    fn arrays(value: f32) -> Arc<Arrays> {
        let array = Array {
            product: MEAN,
            values: vec![value; 16],
        };
        Arc::new(Arrays {
            arrays: vec![array],
            fallback: None,
        })
    }

    #[test]
    fn the_least_recently_used_is_thrown_away() {
        // An entry takes 256 + 6 + 64 bytes.
        let mut cache = Cache::new(2 * 326);
        for residue in [5, 6] {
            cache.insert(&item(residue), &arrays(f32::from(residue)));
        }
        assert_eq!(cache.get(&item(5)), Some(arrays(5.0)));
        cache.insert(&item(7), &arrays(7.0));
        assert_eq!(cache.get(&item(6)), None);
        assert_eq!(cache.get(&item(5)), Some(arrays(5.0)));
        assert_eq!(cache.get(&item(7)), Some(arrays(7.0)));
        assert_eq!((cache.bytes, cache.order.len()), (2 * 326, 2));
        // The same again changes nothing.
        cache.insert(&item(7), &arrays(8.0));
        assert_eq!(cache.get(&item(7)), Some(arrays(7.0)));
    }

    #[test]
    fn without_room_nothing_is_kept() {
        for limit in [0, 325] {
            let mut cache = Cache::new(limit);
            cache.insert(&item(5), &arrays(1.0));
            assert_eq!(cache.get(&item(5)), None);
            assert_eq!(cache.bytes, 0);
        }
    }
}
