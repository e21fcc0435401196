//! The root group: the names of the datasets in a heap, and a B-tree to find them.

use super::UNDEFINED;

/// A leaf has twice as many names at most.
pub(super) const LEAF_K: usize = 64;
/// An inner node has twice as many children at most.
pub(super) const NODE_K: usize = 128;
/// Bytes of a leaf.
const LEAF_BYTES: usize = 8 + 2 * LEAF_K * 40;
/// Bytes of an inner node.
const NODE_BYTES: usize = 24 + (2 * NODE_K + 1) * 8 + 2 * NODE_K * 8;

/// Names and addresses of headers.
#[derive(Default)]
pub(super) struct Group {
    /// The names, one after the other.
    names: String,
    /// Where each begins, and the address of its header.
    entries: Vec<(usize, u64)>,
}

impl Group {
    pub(super) fn add(&mut self, name: &str, header: u64) {
        self.entries.push((self.names.len(), header));
        self.names.push_str(name);
        self.names.push('\0');
    }

    fn name(&self, start: usize) -> &[u8] {
        let rest = self.names.as_bytes().get(start..).unwrap_or_default();
        rest.split_inclusive(|&byte| byte == 0)
            .next()
            .unwrap_or_default()
    }

    /// The heap of the names at this address, and for each name in ascending order its place in the
    /// heap and the address of its header.
    pub(super) fn heap(&self, address: u64) -> (Vec<u8>, Vec<(u64, u64)>) {
        let mut sorted: Vec<&(usize, u64)> = self.entries.iter().collect();
        sorted.sort_unstable_by_key(|(start, _)| self.name(*start));
        // The empty name comes first.
        let mut data = vec![0; 8];
        let mut places = Vec::with_capacity(sorted.len());
        for (start, header) in sorted {
            places.push((data.len() as u64, *header));
            data.extend(self.name(*start));
            data.resize(data.len().next_multiple_of(8), 0);
        }
        let mut bytes = b"HEAP\0\0\0\0".to_vec();
        bytes.extend((data.len() as u64).to_le_bytes());
        // No free space.
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend((address + 32).to_le_bytes());
        bytes.append(&mut data);
        (bytes, places)
    }

    /// The leaves and nodes at this address, and the address of the root.
    pub(super) fn tree(&self, places: &[(u64, u64)], address: u64) -> (Vec<u8>, u64) {
        let mut bytes = Vec::new();
        // The children of the next level: the place of the last name in each, and its address.
        let mut children = Vec::new();
        for chunk in places.chunks(2 * LEAF_K) {
            children.push((
                chunk.last().map_or(0, |(name, _)| *name),
                address + bytes.len() as u64,
            ));
            leaf(chunk, &mut bytes);
        }
        let mut level = 0;
        loop {
            let mut nodes = Vec::new();
            let first = address + bytes.len() as u64;
            let count = children.len().div_ceil(2 * NODE_K).max(1);
            let mut least = 0;
            for number in 0..count {
                let at = |number: usize| first + (number * NODE_BYTES) as u64;
                let left = number.checked_sub(1).map_or(UNDEFINED, at);
                let right = if number + 1 < count {
                    at(number + 1)
                } else {
                    UNDEFINED
                };
                let chunk = children.chunks(2 * NODE_K).nth(number).unwrap_or_default();
                node(level, [left, right], least, chunk, &mut bytes);
                least = chunk.last().map_or(0, |(name, _)| *name);
                nodes.push((least, at(number)));
            }
            if count == 1 {
                return (bytes, first);
            }
            children = nodes;
            level += 1;
        }
    }
}

/// Appends a symbol-table node.
fn leaf(places: &[(u64, u64)], bytes: &mut Vec<u8>) {
    let end = bytes.len() + LEAF_BYTES;
    bytes.extend(b"SNOD\x01\0");
    bytes.extend((places.len() as u16).to_le_bytes());
    for (name, header) in places {
        bytes.extend(name.to_le_bytes());
        bytes.extend(header.to_le_bytes());
        bytes.extend([0; 24]);
    }
    bytes.resize(end, 0);
}

/// Appends a node of a B-tree of version 1: keys and children alternate.
fn node(level: u8, siblings: [u64; 2], least: u64, children: &[(u64, u64)], bytes: &mut Vec<u8>) {
    let end = bytes.len() + NODE_BYTES;
    bytes.extend(b"TREE\0");
    bytes.push(level);
    bytes.extend((children.len() as u16).to_le_bytes());
    bytes.extend(siblings.iter().flat_map(|sibling| sibling.to_le_bytes()));
    bytes.extend(least.to_le_bytes());
    for (name, child) in children {
        bytes.extend(child.to_le_bytes());
        bytes.extend(name.to_le_bytes());
    }
    bytes.resize(end, 0);
}
