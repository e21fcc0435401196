//! The contact probabilities of a protein, and the pairs of residues with the highest ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;

/// Contact probabilities, `[n, n]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ContactMap {
    residues: usize,
    values: Vec<f32>,
}

/// Two residues, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The first residue.
    pub i: usize,
    /// The second; `i < j`.
    pub j: usize,
    /// The probability that they are in contact.
    pub probability: f32,
}

/// How many pairs are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Top {
    /// This number.
    Pairs(usize),
    /// The length of the sequence, L, divided by this number and rounded down, but at least one.
    LengthOver(usize),
}

impl Top {
    /// As many pairs as there are residues, as is usual.
    pub const LENGTH: Self = Self::LengthOver(1);

    /// Number of pairs for a sequence of this many residues.
    pub fn pairs(self, residues: usize) -> usize {
        match self {
            Top::Pairs(pairs) => pairs,
            Top::LengthOver(part) => (residues / part.max(1)).max(1),
        }
    }
}

impl ContactMap {
    /// A map from its rows; None unless they are square.
    pub fn new(residues: usize, values: Vec<f32>) -> Option<Self> {
        let is_square = residues.checked_mul(residues) == Some(values.len());
        is_square.then_some(Self { residues, values })
    }

    /// Number of residues.
    pub fn residues(&self) -> usize {
        self.residues
    }

    /// The `top` pairs with the highest probabilities, the highest first; of equal ones, those nearer
    /// to the start of the sequence. Pairs with `j - i < min_separation` are left out.
    pub fn top_pairs(&self, top: usize, min_separation: usize) -> Vec<Pair> {
        // The lowest of the highest is on top of the heap. Probabilities are at least 0, and then their
        // bits have the order of their values.
        let mut heap = BinaryHeap::new();
        for (i, row) in self.values.chunks(self.residues.max(1)).enumerate() {
            for (j, &value) in row
                .iter()
                .enumerate()
                .skip(i.saturating_add(min_separation.max(1)))
            {
                let key = Reverse((value.max(0.0).to_bits(), Reverse((i, j))));
                if heap.len() < top {
                    heap.push(key);
                } else if heap.peek().is_some_and(|lowest| key < *lowest) {
                    heap.pop();
                    heap.push(key);
                }
            }
        }
        let sorted = heap.into_sorted_vec();
        let pair = |Reverse((_, Reverse((i, j))))| {
            let probability = self.values.get(i * self.residues + j);
            Pair {
                i: i + 1,
                j: j + 1,
                probability: probability.copied().unwrap_or_default(),
            }
        };
        sorted.into_iter().map(pair).collect()
    }

    /// The largest probability in every square of `block` times `block` pairs, row by row. None where
    /// a square has only pairs with `|i - j| < min_separation`.
    pub(super) fn blocks(&self, block: usize, min_separation: usize) -> Vec<Option<f32>> {
        let block = block.max(1);
        let side = self.residues.div_ceil(block);
        let mut largest = vec![None; side * side];
        for (i, row) in self.values.chunks(self.residues.max(1)).enumerate() {
            let start = i / block * side;
            let Some(largest) = largest.get_mut(start..start + side) else {
                continue;
            };
            for (j, &value) in row.iter().enumerate() {
                if i.abs_diff(j) < min_separation {
                    continue;
                }
                if let Some(found) = largest.get_mut(j / block) {
                    *found = Some(found.map_or(value, |found: f32| found.max(value)));
                }
            }
        }
        largest
    }
}

/// Pairs as a table: `i`, `j`, `probability`.
pub fn table(pairs: &[Pair]) -> String {
    let mut table = "i\tj\tprobability\n".to_owned();
    for Pair { i, j, probability } in pairs {
        // Writing into a string cannot fail.
        let _ = writeln!(table, "{i}\t{j}\t{probability}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(residues: usize, of: impl Fn(usize, usize) -> f32) -> ContactMap {
        let pairs = (0..residues * residues).map(|at| (at / residues, at % residues));
        ContactMap::new(residues, pairs.map(|(i, j)| of(i, j)).collect()).unwrap()
    }

    #[test]
    fn the_highest_pairs_come_first() {
        let map = map(5, |i, j| match (i.min(j), i.max(j)) {
            (0, 4) => 0.5,
            (1, 4) => 0.25,
            (0, 3) => 0.25,
            (0, 2) => 0.75,
            (2, 3) => 1.0,
            _ => 0.0,
        });
        assert_eq!(
            table(&map.top_pairs(4, 2)),
            "i\tj\tprobability\n1\t3\t0.75\n1\t5\t0.5\n1\t4\t0.25\n2\t5\t0.25\n"
        );
        assert_eq!(table(&map.top_pairs(1, 0)), "i\tj\tprobability\n3\t4\t1\n");
        assert_eq!(map.top_pairs(9, 4).len(), 1);
        assert_eq!(map.top_pairs(9, 5), []);
        assert_eq!(map.top_pairs(0, 1), []);
    }

    #[test]
    fn the_number_of_pairs_follows_from_the_length() {
        assert_eq!(Top::LENGTH.pairs(50), 50);
        assert_eq!(Top::LengthOver(5).pairs(51), 10);
        assert_eq!(Top::LengthOver(5).pairs(3), 1);
        assert_eq!(Top::LengthOver(0).pairs(3), 3);
        assert_eq!(Top::Pairs(7).pairs(50), 7);
    }

    #[test]
    fn blocks_have_their_largest_value() {
        let map = map(5, |i, j| (10 * i + j) as f32);
        let blocks = map.blocks(2, 2);
        let expected = [
            [None, Some(13.0), Some(14.0)],
            [Some(31.0), None, Some(24.0)],
            [Some(41.0), Some(42.0), None],
        ];
        assert_eq!(blocks, expected.concat());
        assert_eq!(map.blocks(1, 0).len(), 25);
        assert_eq!(ContactMap::new(2, vec![0.0; 3]), None);
        assert_eq!(ContactMap::new(0, vec![]).unwrap().blocks(3, 6), []);
    }

    proptest! {
        #[test]
        fn top_pairs_are_those_of_a_sorted_list(
            residues in 0_usize..12,
            top in 0_usize..40,
            separation in 0_usize..8,
            seed: u32,
        ) {
            let map = map(residues, |i, j| {
                let mixed = (i.min(j) * 31 + i.max(j) * 17) as u32 ^ seed;
                (mixed % 7) as f32 / 7.0
            });
            let mut all: Vec<Pair> = Vec::new();
            for i in 0..residues {
                for j in i + 1..residues {
                    if j - i >= separation {
                        let probability = map.values[i * residues + j];
                        all.push(Pair { i: i + 1, j: j + 1, probability });
                    }
                }
            }
            all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            all.truncate(top);
            prop_assert_eq!(map.top_pairs(top, separation), all);
        }
    }
}
