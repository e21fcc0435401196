//! Prefetching: what a product needs soon is requested from memory while a tile is computed.
//!
//! By itself, the processor prefetches within a page at best. Waiting for the weights, sums and
//! rows of the next tile costs up to a tenth of a product. So does requesting them all at once: a
//! burst of requests fills the buffers that the loads of the tile need. Therefore each chunk of a
//! tile's steps requests a little.

use crate::ops::simd::Simd;

/// Rows of a tile's width to request, whose two vectors may be apart.
#[derive(Clone, Copy)]
pub(super) struct Prefetch {
    at: *const u8,
    /// Bytes from one row to the next, and from a row's first vector to its second.
    row: usize,
    vector: usize,
    rows: usize,
}

impl Prefetch {
    /// `rows` rows from `at` on, `row` elements apart, whose vectors are `vector` elements apart.
    /// Nothing is read there.
    pub(super) fn new<T>(at: *const T, row: usize, vector: usize, rows: usize) -> Prefetch {
        Prefetch {
            at: at.cast(),
            row: row * size_of::<T>(),
            vector: vector * size_of::<T>(),
            rows,
        }
    }

    /// Only the element at `at`, which is in the cache: this is cheaper than a branch for every
    /// chunk.
    pub(super) fn nothing<T>(at: *const T) -> Prefetch {
        Prefetch::new(at, 0, 0, 0)
    }

    /// Splits off the first of `parts` parts; `self` keeps the rest.
    pub(super) fn split(&mut self, parts: usize) -> Prefetch {
        let first = Prefetch {
            rows: self.rows.div_ceil(parts.max(1)),
            ..*self
        };
        self.at = self.at.wrapping_add(first.rows * self.row);
        self.rows -= first.rows;
        first
    }

    /// Rows of each request if all rows are to be requested in `times` requests.
    pub(super) fn portion(&self, times: usize) -> usize {
        self.rows.div_ceil(times.max(1))
    }

    /// Requests the next row, into the first level of the cache (`NEAR`) or the second. After the
    /// last row it requests that row again.
    #[inline(always)]
    fn request<S: Simd, const NEAR: bool>(&mut self) {
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

/// Everything that a tile requests.
#[derive(Clone, Copy)]
pub(super) struct TilePrefetch {
    /// The first chunk of the next tile's rows.
    pub(super) rows: *const f32,
    /// Its part of the next block's weights, and how many rows of it each chunk requests.
    pub(super) weights: Prefetch,
    pub(super) portion: usize,
    /// Where its sums go, if that is not in the cache.
    pub(super) sums: Prefetch,
}

impl TilePrefetch {
    /// Makes the requests of one chunk of M rows: `rows` is the tile's own next chunk, if there is
    /// one.
    #[inline(always)]
    pub(super) fn request<S: Simd, const M: usize>(&mut self, rows: Option<*const f32>) {
        let rows = rows.unwrap_or(self.rows);
        for i in 0..M {
            S::prefetch_near(rows.wrapping_add(i * S::LANES).cast());
        }
        self.weights.request::<S, false>();
        for _ in 1..self.portion {
            self.weights.request::<S, false>();
        }
        self.sums.request::<S, true>();
    }
}

#[cfg(test)]
mod tests {
    use super::Prefetch;

    #[test]
    fn parts_cover_every_row_once() {
        for rows in [0, 1, 16, 255, 256] {
            for parts in [1, 2, 18, 36, 300] {
                let mut all = Prefetch::new::<f32>(std::ptr::null(), 32, 16, rows);
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
