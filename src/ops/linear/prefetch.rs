//! What a tile of a product requests from memory while it is computed.
//!
//! Waiting for the weights, sums and rows of the next tile costs up to a tenth of a product. So does
//! requesting them all at once. Therefore each chunk of a tile's steps requests a little.

use crate::ops::prefetch::Prefetch;
use crate::ops::simd::Simd;

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
