//! The number of forward passes of each length. Memory is bounded: long passes share a class with
//! others of nearly the same length.

use std::collections::BTreeMap;

/// Each length up to this one has a class.
const EXACT: usize = 4096;
/// Leading bits that longer lengths of a class share, so that they differ by at most 1.6 %.
const BITS: u32 = 7;

/// Passes by their length in tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passes(BTreeMap<usize, Class>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Class {
    count: f64,
    tokens: f64,
}

impl Passes {
    /// One more pass over this number of tokens.
    pub fn push(&mut self, tokens: usize) {
        let class = self.0.entry(class(tokens)).or_default();
        class.count += 1.0;
        class.tokens += tokens as f64;
    }

    /// Adds the passes of `other`.
    pub fn add(&mut self, other: &Passes) {
        for (&length, more) in &other.0 {
            let class = self.0.entry(length).or_default();
            class.count += more.count;
            class.tokens += more.tokens;
        }
    }

    /// Multiplies the number of passes of each length.
    pub fn scale(&mut self, factor: f64) {
        for class in self.0.values_mut() {
            class.count *= factor;
            class.tokens *= factor;
        }
    }

    /// Removes the passes of `other`, as far as there are any.
    pub fn subtract(&mut self, other: &Passes) {
        for (length, less) in &other.0 {
            if let Some(class) = self.0.get_mut(length) {
                class.count = (class.count - less.count).max(0.0);
                class.tokens = (class.tokens - less.tokens).max(0.0);
            }
        }
        // Rounding may leave a fraction of a pass.
        self.0
            .retain(|_, class| class.count > 1e-6 && class.tokens > 0.0);
    }

    /// Their number.
    pub fn count(&self) -> u64 {
        self.0
            .values()
            .map(|class| class.count)
            .sum::<f64>()
            .round() as u64
    }

    /// Tokens of all of them.
    pub fn tokens(&self) -> u64 {
        self.0
            .values()
            .map(|class| class.tokens)
            .sum::<f64>()
            .round() as u64
    }

    /// (Tokens of one, number of passes like it), shortest first.
    pub fn lengths(&self) -> impl DoubleEndedIterator<Item = (f64, f64)> {
        let classes = self.0.values().filter(|class| class.count > 0.0);
        classes.map(|class| (class.tokens / class.count, class.count))
    }
}

fn class(tokens: usize) -> usize {
    if tokens <= EXACT {
        return tokens;
    }
    let shift = (usize::BITS - tokens.leading_zeros()).saturating_sub(BITS);
    tokens >> shift << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_kept_and_long_ones_share_a_class() {
        let mut passes = Passes::default();
        for tokens in [12, 7, 12, 4096, 168_002, 168_004] {
            passes.push(tokens);
        }
        assert_eq!((passes.count(), passes.tokens()), (6, 340_133));
        let lengths: Vec<_> = passes.lengths().collect();
        assert_eq!(
            lengths,
            [(7.0, 1.0), (12.0, 2.0), (4096.0, 1.0), (168_003.0, 2.0)]
        );
        let mut twice = passes.clone();
        twice.add(&passes);
        let once = passes.clone();
        passes.scale(2.0);
        assert_eq!(twice, passes);
        passes.subtract(&once);
        assert_eq!(passes, once);
        passes.subtract(&twice);
        assert_eq!((passes.count(), passes.lengths().count()), (0, 0));
    }

    #[test]
    fn any_number_of_lengths_takes_little_memory() {
        let mut passes = Passes::default();
        (1..2_000_000).step_by(3).for_each(|n| passes.push(n));
        assert!(passes.0.len() < EXACT + 64 * 10, "{}", passes.0.len());
        for n in [4097_usize, 5000, 168_000, usize::MAX] {
            assert!(class(n) <= n && n - class(n) <= n / 63, "{n}");
        }
    }
}
