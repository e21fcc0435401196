//! Which sequences belong to which shard. Pure: the same costs give the same shards everywhere.
//!
//! Sequences are given out from the most expensive to the cheapest, each to the shard with the least
//! work so far. Of the sequences with one cost, shard 1 gets the first ones of the input, shard 2 the
//! next and so on, so that the records of a shard are near each other in the file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What the passes of a sequence cost, in tokens of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostModel {
    /// Width of the model.
    dim: u64,
}

impl CostModel {
    /// For a model of this width.
    pub fn new(dim: usize) -> CostModel {
        CostModel {
            dim: (dim as u64).max(1),
        }
    }

    /// The cost of a pass over one sequence or window.
    ///
    /// For each token, the matrices of a block take 12·D² multiplications (Q, K, V and the output: 4·D²;
    /// the feed-forward network: 8·D²), and attention over L tokens takes 2·L·D: so a pass costs
    /// L·(1 + L / (6·D)).
    pub fn pass(&self, tokens: usize) -> u64 {
        let tokens = tokens as u64;
        tokens + tokens * tokens / (6 * self.dim)
    }
}

/// Gives out sequences in the order of their costs, most expensive first.
#[derive(Debug)]
pub struct Assignment {
    /// The least loaded shard comes first, of equals the one with the lowest number.
    loads: BinaryHeap<Reverse<(u64, u32)>>,
    /// How many sequences of the present cost each shard gets, and the shards that get any.
    share: Vec<u64>,
    shards: Vec<u32>,
}

impl Assignment {
    /// Shards, from 0, without sequences.
    pub fn new(shards: u32) -> Assignment {
        Assignment {
            loads: (0..shards).map(|shard| Reverse((0, shard))).collect(),
            share: vec![0; shards as usize],
            shards: Vec::new(),
        }
    }

    /// The shards of the next `count` sequences of the input with this cost: each shard, in ascending
    /// order, and how many it gets.
    pub fn give_out(&mut self, cost: u64, count: u64) -> Vec<(u32, u64)> {
        for _ in 0..count {
            let Some(mut least) = self.loads.peek_mut() else {
                return Vec::new();
            };
            let Reverse((load, shard)) = &mut *least;
            *load = load.saturating_add(cost);
            if let Some(share) = self.share.get_mut(*shard as usize) {
                if *share == 0 {
                    self.shards.push(*shard);
                }
                *share += 1;
            }
        }
        self.shards.sort_unstable();
        let share = &mut self.share;
        let take = |shard: u32| {
            let own = share.get_mut(shard as usize).map(std::mem::take);
            (shard, own.unwrap_or(0))
        };
        self.shards.drain(..).map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attention_makes_long_sequences_more_expensive() {
        let cost = CostModel::new(1280);
        assert_eq!(cost.pass(2), 2);
        // 1,024 · (1 + 1,024 / 7,680), and where attention costs as much as the rest.
        assert_eq!(cost.pass(1024), 1024 + 136);
        assert_eq!(cost.pass(7680), 2 * 7680);
        assert!(CostModel::new(320).pass(1024) > cost.pass(1024));
        assert_eq!(CostModel::new(0).pass(6), 12);
    }

    /// The shard of each sequence.
    fn shards(costs: &[u64], of: u32) -> Vec<u32> {
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by_key(|&i| (Reverse(costs[i]), i));
        let mut assignment = Assignment::new(of);
        let mut shards = vec![u32::MAX; costs.len()];
        for class in order.chunk_by(|&a, &b| costs[a] == costs[b]) {
            let shares = assignment.give_out(costs[class[0]], class.len() as u64);
            let own = shares
                .iter()
                .flat_map(|&(shard, count)| vec![shard; count as usize]);
            class
                .iter()
                .zip(own)
                .for_each(|(&i, shard)| shards[i] = shard);
        }
        shards
    }

    #[test]
    fn the_most_expensive_first_to_the_least_loaded() {
        // 12 → 0, 9 → 1, 9 → 2, 5 → 1, 5 → 2, 3 → 0.
        assert_eq!(shards(&[5, 9, 3, 12, 9, 5], 3), [1, 1, 0, 0, 2, 2]);
        // Equal costs: neighbours in the input are neighbours in a shard.
        assert_eq!(shards(&[4; 6], 2), [0, 0, 0, 1, 1, 1]);
        assert_eq!(shards(&[7, 8], 4), [1, 0]);
    }

    proptest! {
        #[test]
        fn every_sequence_has_one_shard_and_the_loads_are_even(
            costs in proptest::collection::vec(1_u64..40, 0..200),
            of in 1_u32..9,
        ) {
            let shards = shards(&costs, of);
            prop_assert!(shards.iter().all(|&shard| shard < of));
            let mut loads = vec![0; of as usize];
            for (&shard, cost) in shards.iter().zip(&costs) {
                loads[shard as usize] += cost;
            }
            let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
            let fullest = loads.iter().position(|load| load == most).unwrap() as u32;
            let last = shards.iter().zip(&costs).filter(|&(&shard, _)| shard == fullest);
            // Whoever took the last sequence was the least loaded then.
            prop_assert!(most - least <= last.map(|(_, &cost)| cost).min().unwrap_or(0));
        }
    }
}
