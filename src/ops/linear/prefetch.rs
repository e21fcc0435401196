//! What a product will need soon, asked of memory while a tile is computed.
//!
//! By itself the processor fetches ahead within a page at best. Waiting for the weights, sums and
//! rows of the next tile costs up to a tenth of a product, and so does asking for all of them at
//! once: a burst of requests fills the buffers that the tile's own loads need. So each chunk of a
//! tile's steps asks for a little.

use crate::ops::simd::Simd;

/// Rows of a tile's width, whose two vectors may lie apart.
#[derive(Clone, Copy)]
pub(super) struct Coming {
    at: *const u8,
    /// Bytes from one row to the next, and from a row's first vector to its second.
    row: usize,
    vector: usize,
    rows: usize,
}

impl Coming {
    /// `rows` rows from `at` on, `row` elements apart, whose vectors are `vector` elements apart.
    /// Nothing is read there.
    pub(super) fn new<T>(at: *const T, row: usize, vector: usize, rows: usize) -> Coming {
        Coming {
            at: at.cast(),
            row: row * size_of::<T>(),
            vector: vector * size_of::<T>(),
            rows,
        }
    }

    /// Only what stands at `at`, which is at hand: cheaper than to choose, for every chunk,
    /// whether to ask.
    pub(super) fn nothing<T>(at: *const T) -> Coming {
        Coming::new(at, 0, 0, 0)
    }

    /// The first of so many parts; what is left is for the others.
    pub(super) fn split(&mut self, parts: usize) -> Coming {
        let first = Coming {
            rows: self.rows.div_ceil(parts.max(1)),
            ..*self
        };
        self.at = self.at.wrapping_add(first.rows * self.row);
        self.rows -= first.rows;
        first
    }

    /// Rows to ask for at a time, that so many times suffice.
    pub(super) fn portion(&self, times: usize) -> usize {
        self.rows.div_ceil(times.max(1))
    }

    /// Asks for the next row, into the first level of the cache if it is needed at once (`NEAR`)
    /// or into the second. When all are asked for, the last one is, again.
    #[inline(always)]
    fn ask<S: Simd, const NEAR: bool>(&mut self) {
        for at in [self.at, self.at.wrapping_add(self.vector)] {
            match NEAR {
                true => S::prefetch_near(at),
                false => S::prefetch(at),
            }
        }
        let more = self.rows > 1;
        self.at = self.at.wrapping_add(if more { self.row } else { 0 });
        self.rows -= usize::from(more);
    }
}

/// All that a tile asks for.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// The first chunk of the next tile's rows.
    pub(super) rows: *const f32,
    /// Its part of the next block's weights, and how many rows of it each chunk asks for.
    pub(super) weights: Coming,
    pub(super) portion: usize,
    /// Where its sums go, if that is not at hand.
    pub(super) sums: Coming,
}

impl Ahead {
    /// Asks for what comes with one chunk of M rows: `rows` is the next chunk of the tile's own,
    /// if there is one.
    #[inline(always)]
    pub(super) fn ask<S: Simd, const M: usize>(&mut self, rows: Option<*const f32>) {
        let rows = rows.unwrap_or(self.rows);
        for i in 0..M {
            S::prefetch_near(rows.wrapping_add(i * S::LANES).cast());
        }
        self.weights.ask::<S, false>();
        for _ in 1..self.portion {
            self.weights.ask::<S, false>();
        }
        self.sums.ask::<S, true>();
    }
}

#[cfg(test)]
mod tests {
    use super::Coming;

    #[test]
    fn parts_are_all_the_rows_once() {
        for rows in [0, 1, 16, 255, 256] {
            for parts in [1, 2, 18, 36, 300] {
                let mut all = Coming::new::<f32>(std::ptr::null(), 32, 16, rows);
                let (mut next, mut at) = (0, 0);
                for left in (1..=parts).rev() {
                    let part = all.split(left);
                    assert_eq!(part.at as usize, at);
                    assert!(part.portion(16) * 16 >= part.rows);
                    next += part.rows;
                    at += part.rows * 128;
                }
                assert_eq!((next, all.rows), (rows, 0));
            }
        }
    }
}
