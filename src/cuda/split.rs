//! How a batch is cut into passes when the GPU has no memory for all of it. Pure.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory that a pass may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// A lane's share, while other lanes work.
    Lane,
    /// All that the weights leave free.
    WholeGpu,
}

/// Tokens of a pass above which a batch is cut before it is tried. It only ever shrinks.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    /// Without a limit.
    pub(super) fn new() -> Budget {
        Budget(AtomicUsize::new(usize::MAX))
    }

    /// From now on every sequence has its own pass.
    pub(super) fn one_each(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn tokens(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Works through sequences of these lengths in tokens, in order. `pass` computes a range of them and
    /// returns whether there was memory for it. A range without memory is cut in two, and later ranges
    /// are cut before they are tried. A single sequence is tried again with [`Share::WholeGpu`]; that
    /// outcome is final.
    ///
    /// # Errors
    /// The first error of `pass`.
    pub(super) fn each_pass<E>(
        &self,
        lengths: &[usize],
        pass: &mut impl FnMut(Range<usize>, Share) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.cut(lengths, 0..lengths.len(), pass)
    }

    fn cut<E>(
        &self,
        lengths: &[usize],
        range: Range<usize>,
        pass: &mut impl FnMut(Range<usize>, Share) -> Result<bool, E>,
    ) -> Result<(), E> {
        if range.is_empty() {
            return Ok(());
        }
        let tokens: usize = lengths.get(range.clone()).unwrap_or_default().iter().sum();
        let is_one = range.len() == 1;
        if is_one || tokens <= self.tokens() {
            if pass(range.clone(), Share::Lane)? {
                return Ok(());
            }
            if is_one {
                return pass(range, Share::WholeGpu).map(|_| ());
            }
            self.0.fetch_min(tokens.div_ceil(2), Ordering::Relaxed);
        }
        let middle = range.start + range.len() / 2;
        self.cut(lengths, range.start..middle, pass)?;
        self.cut(lengths, middle..range.end, pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sequences of a pass, its share of the memory, and whether that was enough.
    type Tried = (Range<usize>, Share, bool);

    /// The passes of a GPU whose lanes have memory for `most` tokens each, and all of whose memory is
    /// enough for twice as many.
    fn passes(budget: &Budget, lengths: &[usize], most: usize) -> (Vec<Tried>, Result<(), usize>) {
        let mut all = Vec::new();
        let done = budget.each_pass(lengths, &mut |range, room| {
            let tokens: usize = lengths[range.clone()].iter().sum();
            let fits = match room {
                Share::Lane => tokens <= most,
                Share::WholeGpu => tokens <= 2 * most,
            };
            all.push((range.clone(), room, fits));
            match (room, fits) {
                (Share::WholeGpu, false) => Err(range.start),
                _ => Ok(fits),
            }
        });
        (all, done)
    }

    #[test]
    fn a_batch_that_fits_is_one_pass() {
        let (all, done) = passes(&Budget::new(), &[10, 20, 30], 60);
        assert_eq!(all, [(0..3, Share::Lane, true)]);
        assert_eq!(done, Ok(()));
        assert_eq!(passes(&Budget::new(), &[], 60), (vec![], Ok(())));
    }

    #[test]
    fn a_batch_that_does_not_fit_is_cut_and_the_next_one_before_it_is_tried() {
        let budget = Budget::new();
        let (all, done) = passes(&budget, &[10; 8], 25);
        let lane = |range, fits| (range, Share::Lane, fits);
        assert_eq!(
            all,
            [
                lane(0..8, false),
                lane(0..4, false),
                lane(0..2, true),
                lane(2..4, true),
                lane(4..6, true),
                lane(6..8, true),
            ]
        );
        assert_eq!((done, budget.tokens()), (Ok(()), 20));
        let (all, _) = passes(&budget, &[10; 4], 25);
        assert_eq!(all, [lane(0..2, true), lane(2..4, true)]);
    }

    #[test]
    fn a_sequence_too_large_for_a_lane_gets_the_whole_gpu() {
        let budget = Budget::new();
        let (all, done) = passes(&budget, &[10, 50, 10], 30);
        assert_eq!(
            all,
            [
                (0..3, Share::Lane, false),
                (0..1, Share::Lane, true),
                (1..2, Share::Lane, false),
                (1..2, Share::WholeGpu, true),
                (2..3, Share::Lane, true),
            ]
        );
        assert_eq!(done, Ok(()));
        let (all, done) = passes(&Budget::new(), &[10, 61, 10], 30);
        assert_eq!(all.last(), Some(&(1..2, Share::WholeGpu, false)));
        assert_eq!(done, Err(1));
    }

    #[test]
    fn without_shared_passes_every_sequence_has_its_own() {
        let budget = Budget::new();
        budget.one_each();
        let (all, _) = passes(&budget, &[10, 20], 100);
        assert_eq!(all, [(0..1, Share::Lane, true), (1..2, Share::Lane, true)]);
    }
}
