//! Which records of the input belong to which shard. Pure, and independent of the model: the same
//! input and options give every node the same answer.
//!
//! Sequences are given out longest first, each to the shard that has the fewest tokens so far.
//! That takes only the number of sequences of each length, so memory does not grow with the number
//! of records.

pub use crate::run_record::Shard;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

/// The number of records for each number of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey(BTreeMap<u64, u64>);

impl Survey {
    /// Counts a record.
    pub fn add(&mut self, tokens: u64) {
        *self.0.entry(tokens).or_default() += 1;
    }

    /// Records in all.
    pub fn records(&self) -> u64 {
        self.0.values().sum()
    }

    /// The records of one shard.
    pub fn share(&self, shard: Shard) -> Share {
        // The least loaded shard comes first, of equals the one with the lowest number.
        let mut loads: BinaryHeap<_> = (1..=shard.of).map(|n| Reverse((0, n))).collect();
        let mut of_length = BTreeMap::new();
        for (&tokens, &count) in self.0.iter().rev() {
            // Among records with the same number of tokens, shard 1 has the first ones of the input.
            let (mut before, mut own) = (0, 0);
            for _ in 0..count {
                if let Some(mut least) = loads.peek_mut() {
                    let Reverse((load, number)) = &mut *least;
                    *load += tokens;
                    before += u64::from(*number < shard.number);
                    own += u64::from(*number == shard.number);
                }
            }
            if own > 0 {
                of_length.insert(tokens, (before..before + own, 0));
            }
        }
        Share { of_length }
    }
}

/// Tells which records belong to a shard, in the order of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// For each number of tokens: which of its records, and how many came so far.
    of_length: BTreeMap<u64, (Range<u64>, u64)>,
}

impl Share {
    /// Whether the next record of the input, which takes this number of tokens, belongs to the shard.
    pub fn takes(&mut self, tokens: u64) -> bool {
        match self.of_length.get_mut(&tokens) {
            None => false,
            Some((own, met)) => {
                *met += 1;
                own.contains(&(*met - 1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers of the records of each shard.
    fn shares(costs: &[u64], of: u64) -> Vec<Vec<usize>> {
        let mut survey = Survey::default();
        costs.iter().for_each(|&tokens| survey.add(tokens));
        assert_eq!(survey.records(), costs.len() as u64);
        (1..=of)
            .map(|number| {
                let mut share = survey.share(Shard { number, of });
                let own = |&i: &usize| share.takes(costs[i]);
                (0..costs.len()).filter(own).collect()
            })
            .collect()
    }

    #[test]
    fn the_longest_first_to_the_least_loaded() {
        // 12 → 1, 9 → 2, 9 → 3, 5 → 2, 5 → 3, 3 → 1.
        assert_eq!(
            shares(&[5, 9, 3, 12, 9, 5], 3),
            [vec![2, 3], vec![0, 1], vec![4, 5]]
        );
        assert_eq!(shares(&[4, 4, 4], 1), [vec![0, 1, 2]]);
    }

    #[test]
    fn shards_without_records() {
        assert_eq!(shares(&[7, 8], 4), [vec![1], vec![0], vec![], vec![]]);
        assert_eq!(shares(&[], 2), [vec![], Vec::<usize>::new()]);
    }

    proptest! {
        #[test]
        fn every_record_has_one_shard_and_the_loads_are_even(
            costs in proptest::collection::vec(2u64..40, 0..200),
            of in 1u64..9,
        ) {
            let shares = shares(&costs, of);
            let mut all: Vec<usize> = shares.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..costs.len()).collect::<Vec<_>>());
            let load = |share: &Vec<usize>| share.iter().map(|&i| costs[i]).sum::<u64>();
            let loads: Vec<u64> = shares.iter().map(load).collect();
            let most = shares
                .iter()
                .max_by_key(|share| load(share))
                .and_then(|share| share.iter().map(|&i| costs[i]).min())
                .unwrap_or(0);
            // Whoever took the last record was the least loaded then.
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= most);
        }
    }
}
