//! The work for the distinct sequences of an input: a copy is not computed again.
//!
//! Exact up to [`MOST`] distinct sequences. Beyond that, one in 2, 4, 8 … of them is remembered,
//! chosen by its digest, and represents the others: memory does not grow with the input, and the
//! result is right to about one part in a thousand.

use crate::output::{Key, key};
use crate::pipeline::input::passes::Passes;
use crate::tokenizer::{TokenId, bytes_of};
use std::collections::HashSet;

/// Part of the SHA-256 of the tokens of a sequence.
pub fn digest(tokens: &[TokenId]) -> u64 {
    short(key(&bytes_of(tokens)))
}

/// The same part of the key of a sequence.
pub fn short(key: Key) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Digests that are remembered; they take 9 MiB.
const MOST: usize = 7 << 17;

/// The work for distinct sequences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// Their number.
    pub records: u64,
    /// Their residues.
    pub residues: u64,
    /// Forward passes over one sequence or window.
    pub passes: Passes,
}

impl Work {
    fn add(&mut self, other: &Work) {
        self.records += other.records;
        self.residues += other.residues;
        self.passes.add(&other.passes);
    }

    fn times(mut self, factor: f64) -> Work {
        self.records = (self.records as f64 * factor).round() as u64;
        self.residues = (self.residues as f64 * factor).round() as u64;
        self.passes.scale(factor);
        self
    }
}

/// Records and their residues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Records.
    pub records: u64,
    /// Their residues.
    pub residues: u64,
}

/// The work for sequences, and the part that an interrupted run has done.
#[derive(Clone, Debug, Default)]
struct Cost {
    all: Work,
    restored: Passes,
}

/// Counts distinct sequences.
#[derive(Clone, Debug)]
pub struct Distinct {
    most: usize,
    seen: HashSet<u64>,
    /// Digests that end in fewer zero bits are not remembered.
    level: u32,
    /// The work for sequences by the number of zero bits at the end of their digests.
    of_zeros: Vec<Cost>,
    /// All sequences that an interrupted run has done.
    restored: Amount,
    /// Whether any sequence occurred again.
    repeats: bool,
}

impl Distinct {
    /// No sequences yet.
    pub fn new() -> Distinct {
        Distinct::with(MOST)
    }

    fn with(most: usize) -> Distinct {
        Distinct {
            most,
            seen: HashSet::new(),
            level: 0,
            of_zeros: Vec::new(),
            restored: Amount::default(),
            repeats: false,
        }
    }

    /// Counts a sequence with this digest, these residues, and passes over these numbers of tokens. One
    /// that an interrupted run has done is marked where it first occurs.
    pub fn add(
        &mut self,
        digest: u64,
        residues: u64,
        passes: impl Iterator<Item = usize>,
        is_restored: bool,
    ) {
        if is_restored {
            self.restored.records += 1;
            self.restored.residues += residues;
        }
        let zeros = digest.trailing_zeros();
        if zeros < self.level {
            return;
        }
        if !self.seen.insert(digest) {
            self.repeats = true;
            return;
        }
        let zeros = zeros as usize;
        if self.of_zeros.len() <= zeros {
            self.of_zeros.resize_with(zeros + 1, Cost::default);
        }
        if let Some(Cost { all, restored }) = self.of_zeros.get_mut(zeros) {
            all.records += 1;
            all.residues += residues;
            for tokens in passes {
                all.passes.push(tokens);
                if is_restored {
                    restored.push(tokens);
                }
            }
        }
        while self.seen.len() > self.most && self.level < u64::BITS {
            self.level += 1;
            let level = self.level;
            self.seen.retain(|digest| digest.trailing_zeros() >= level);
        }
    }

    /// The work for all distinct sequences, of an input with these totals.
    pub fn work(&self, records: u64, residues: u64) -> Work {
        let mut work = Work::default();
        let remembered = self.of_zeros.iter().skip(self.level as usize);
        remembered.for_each(|cost| work.add(&cost.all));
        if self.level == 0 || work.records == 0 {
            return work;
        }
        let estimate = work.times(f64::from(self.level).exp2());
        let share = estimate.records as f64 / records.max(1) as f64;
        match !self.repeats && (share - 1.0).abs() < 0.02 {
            // No sequence occurred again.
            true => Work {
                records,
                residues,
                ..estimate.times(1.0 / share)
            },
            false => Work {
                records: estimate.records.min(records),
                residues: estimate.residues.min(residues),
                ..estimate
            },
        }
    }

    /// The part that an interrupted run has done.
    pub fn restored(&self) -> Amount {
        self.restored
    }

    /// The part that is left of `work`, which is that of all distinct sequences.
    pub fn left(&self, work: &Work) -> Work {
        let mut restored = Passes::default();
        let remembered = self.of_zeros.iter().skip(self.level as usize);
        remembered.for_each(|cost| restored.add(&cost.restored));
        let mut passes = work.passes.clone();
        restored.scale(f64::from(self.level).exp2());
        passes.subtract(&restored);
        Work {
            records: work.records.saturating_sub(self.restored.records),
            residues: work.residues.saturating_sub(self.restored.residues),
            passes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(most: usize, sequences: impl Iterator<Item = u64>) -> (Distinct, u64, u64) {
        resumed(most, sequences, 0)
    }

    /// After a run that has done the first `restored`.
    fn resumed(
        most: usize,
        sequences: impl Iterator<Item = u64>,
        restored: u64,
    ) -> (Distinct, u64, u64) {
        let mut distinct = Distinct::with(most);
        let (mut records, mut residues) = (0, 0);
        for sequence in sequences {
            let length = 10 + sequence % 7;
            let passes = [length as usize + 2].into_iter();
            // A copy has no place in a journal.
            let is_restored = sequence < restored && records < restored;
            let tokens = sequence.to_le_bytes().map(TokenId::from);
            distinct.add(digest(&tokens), length, passes, is_restored);
            records += 1;
            residues += length;
        }
        (distinct, records, residues)
    }

    #[test]
    fn copies_take_no_work() {
        let (distinct, records, residues) = counted(1000, (0..20).flat_map(|_| 0..300));
        assert_eq!((records, residues), (6000, 20 * 3897));
        let work = distinct.work(records, residues);
        assert_eq!((work.records, work.residues), (300, 3897));
        assert_eq!((work.passes.count(), work.passes.tokens()), (300, 4497));
    }

    #[test]
    fn finished_work_is_not_left() {
        let (distinct, records, residues) = resumed(1000, (0..20).flat_map(|_| 0..300), 140);
        let work = distinct.work(records, residues);
        let left = distinct.left(&work);
        let restored = distinct.restored();
        assert_eq!((work.records, work.residues), (300, 3897));
        // 140 is 20 · 7: lengths of 10 to 16.
        assert_eq!((restored.records, restored.residues), (140, 1820));
        assert_eq!((left.records, left.residues), (160, 2077));
        assert_eq!((left.passes.count(), left.passes.tokens()), (160, 2397));

        let (distinct, records, residues) = resumed(1000, 0..300, 0);
        let work = distinct.work(records, residues);
        assert_eq!(distinct.left(&work), work);
        let (distinct, records, residues) = resumed(1000, 0..300, 300);
        let left = distinct.left(&distinct.work(records, residues));
        assert_eq!((left.records, left.passes.count()), (0, 0));
        assert_eq!(left.passes.lengths().count(), 0);
    }

    #[test]
    fn work_left_of_many_sequences_is_estimated() {
        let (distinct, records, residues) = resumed(4096, 0..40_000, 14_000);
        let left = distinct.left(&distinct.work(records, residues));
        assert_eq!((left.records, left.residues), (26_000, residues - 182_000));
        let off = left.passes.count() as f64 / 26_000.0 - 1.0;
        assert!(off.abs() < 0.05, "{}", left.passes.count());
    }

    #[test]
    fn many_sequences_are_estimated_in_bounded_memory() {
        let (distinct, records, residues) = counted(4096, (0..3).flat_map(|_| 0..40_000));
        assert!(distinct.seen.len() <= 4096);
        let work = distinct.work(records, residues);
        for (found, expected) in [
            (work.records, 40_000.0),
            (work.residues, 520_000.0),
            (work.passes.count(), 40_000.0),
            (work.passes.tokens(), 600_000.0),
        ] {
            let off = found as f64 / expected - 1.0;
            assert!(off.abs() < 0.05, "{found} for {expected}");
        }
    }

    #[test]
    fn many_sequences_without_a_copy_are_counted_exactly() {
        let (distinct, records, residues) = counted(4096, 0..40_000);
        let work = distinct.work(records, residues);
        assert_eq!((work.records, work.residues), (records, residues));
        // One record in two is a copy of another one, and few of those are seen.
        let (distinct, records, residues) = counted(4096, (0..40_000).map(|i| i / 2 * (i % 2)));
        let work = distinct.work(records, residues);
        let off = work.records as f64 / 20_000.0 - 1.0;
        assert!(off.abs() < 0.05, "{}", work.records);
    }
}
