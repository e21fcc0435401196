//! What a product will need soon, asked of memory while a tile is computed.
//!
//! By itself the processor fetches ahead within a page at best. Waiting for the weights, sums and
//! rows of the next tile costs up to a tenth of a product, and so does asking for all of them at
//! once: a burst of requests fills the buffers that the tile's own loads need. So each chunk of a
//! tile's steps asks for a little.

use super::simd::Simd;

/// Rows of a tile's width, whose two vectors may lie apart.
#[derive(Clone, Copy)]
pub(super) struct Coming {
    at: *const u8,
    /// Bytes from one row to the next, and from a row's first vector to its second.
    row: usize,
    vector: usize,
    rows: usize,
    /// Rows that are asked for at a time.
    each: usize,
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
            each: rows,
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

    /// To be asked for in so many portions.
    pub(super) fn over(self, portions: usize) -> Coming {
        Coming {
            each: self.rows.div_ceil(portions.max(1)),
            ..self
        }
    }

    /// Asks for the next portion, into the first level of the cache if it is needed at once
    /// (`NEAR`) or into the second. When all is asked for, the last row is, again.
    #[inline(always)]
    pub(super) fn ask<S: Simd, const NEAR: bool>(&mut self) {
        self.ask_row::<S, NEAR>();
        for _ in 1..self.each {
            self.ask_row::<S, NEAR>();
        }
    }

    #[inline(always)]
    fn ask_row<S: Simd, const NEAR: bool>(&mut self) {
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
    /// Its part of the next block's weights.
    pub(super) weights: Coming,
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
        self.sums.ask_row::<S, true>();
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
                    let part = all.split(left).over(16);
                    assert_eq!(part.at as usize, at);
                    assert!(part.each * 16 >= part.rows);
                    next += part.rows;
                    at += part.rows * 128;
                }
                assert_eq!((next, all.rows), (rows, 0));
            }
        }
    }
}
