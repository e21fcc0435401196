//! Into how many passes a batch is cut when a gpu has no memory for it as a whole. Pure.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whose memory a pass may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// That of a lane, beside others.
    Lane,
    /// All that the weights leave.
    WholeGpu,
}

/// Tokens of a pass above which a batch is cut before it is tried. It only ever shrinks.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    /// As yet without a limit.
    pub(super) fn new() -> Budget {
        Budget(AtomicUsize::new(usize::MAX))
    }

    /// From now on every sequence has a pass of its own.
    pub(super) fn one_each(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn tokens(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Works through sequences of so many tokens each, in order. `pass` does those of a range and
    /// says whether there was the memory for it: where there was not, they are cut in two, and later
    /// ones before they are tried. One alone is tried once more with [`Share::WholeGpu`], and what is said
    /// then is final.
    ///
    /// # Errors
    /// The first of `pass`.
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

    /// What a pass was over, whose memory it had, and whether that was enough.
    type Tried = (Range<usize>, Share, bool);

    /// The passes of a gpu whose lanes have memory for so many tokens, and the whole of it for
    /// twice as many.
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
    fn what_fits_is_one_pass() {
        let (all, done) = passes(&Budget::new(), &[10, 20, 30], 60);
        assert_eq!(all, [(0..3, Share::Lane, true)]);
        assert_eq!(done, Ok(()));
        assert_eq!(passes(&Budget::new(), &[], 60), (vec![], Ok(())));
    }

    #[test]
    fn what_does_not_is_cut_and_the_next_batch_before_it_is_tried() {
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
    fn one_that_is_too_large_has_the_card_and_ends_the_run_only_if_that_is_too_small() {
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
    fn each_by_itself_where_batches_are_not_to_be() {
        let budget = Budget::new();
        budget.one_each();
        let (all, _) = passes(&budget, &[10, 20], 100);
        assert_eq!(all, [(0..1, Share::Lane, true), (1..2, Share::Lane, true)]);
    }
}
