//! The probabilities of a head, written as the rows of its map `[query, key]`.

use super::head::Geometry;
use crate::ops::simd::Simd;

/// Some rows of the map of a head, one for each query.
#[derive(Clone, Copy)]
pub(super) struct MapRows {
    /// The first of them; each has one number for each key.
    pub(super) at: *mut f32,
    /// Its query.
    pub(super) first: usize,
}

/// All methods: as for those of [`Geometry`], and the map has a row for each query of the block.
impl<S: Simd> Geometry<'_, S> {
    /// Copies the probabilities `[key, query]` of `keys` keys from `k` on, which are not yet divided
    /// by their sums, to the rows of `count` queries from `first` on. Does nothing without a map.
    #[inline(always)]
    pub(super) unsafe fn put_probabilities<const N: usize>(
        &self,
        k: usize,
        keys: usize,
        probabilities: *const f32,
        first: usize,
        count: usize,
    ) {
        let Some(map) = self.map else { return };
        let (width, stride) = (N * S::LANES, self.len);
        // SAFETY: the caller's; a vector is written only where it fits the rows.
        unsafe {
            let rows = map.at.add((first - map.first) * stride + k);
            for t in (0..count).step_by(S::LANES) {
                let queries = S::LANES.min(count - t);
                for key in (0..keys).step_by(S::LANES) {
                    let some = S::LANES.min(keys - key);
                    let from = probabilities.add(key * width + t);
                    let to = rows.add(t * stride + key);
                    if queries == S::LANES && some == S::LANES {
                        S::transpose(from, width, to, stride);
                        continue;
                    }
                    for i in 0..queries {
                        for j in 0..some {
                            *to.add(i * stride + j) = *from.add(j * width + i);
                        }
                    }
                }
            }
        }
    }

    /// Divides the rows of `count` queries from `first` on by the sums of their probabilities.
    #[inline(always)]
    pub(super) unsafe fn divide_probabilities<const N: usize>(
        &self,
        total: &[S::V; N],
        first: usize,
        count: usize,
    ) {
        let Some(map) = self.map else { return };
        let stride = self.len;
        // SAFETY: the caller's.
        unsafe {
            let totals = self.memory.square;
            for (j, total) in total.iter().enumerate() {
                S::store(totals.add(j * S::LANES), *total);
            }
            for i in 0..count {
                let row = map.at.add((first + i - map.first) * stride);
                let total = *totals.add(i);
                let whole = stride - stride % S::LANES;
                for key in (0..whole).step_by(S::LANES) {
                    let at = row.add(key);
                    S::store(at, S::div(S::load(at), S::splat(total)));
                }
                for key in whole..stride {
                    *row.add(key) /= total;
                }
            }
        }
    }
}
