//! The probabilities of a head, written as the rows of its map `[query, key]`.

use super::geometry::Geometry;
use super::head::KeyRange;
use super::query_tile::QueryTile;
use crate::ops::simd::Simd;

/// Some rows of the map of a head, one for each query.
#[derive(Clone, Copy)]
pub(super) struct MapRows {
    /// The first of them; each has one number for each key.
    pub(super) at: *mut f32,
    /// Its query.
    pub(super) first: usize,
}

/// All methods: as for those of [`Geometry`], and the map has a row for each query of the tile.
impl<S: Simd> Geometry<'_, S> {
    /// Copies the probabilities `[key, query]` of some keys, which are not yet divided by their sums,
    /// to the rows of a tile's queries. Does nothing without a map.
    #[inline(always)]
    pub(super) unsafe fn put_probabilities<const N: usize>(
        &self,
        tile: &QueryTile,
        keys: KeyRange,
    ) {
        let Some(map) = self.map else { return };
        let QueryTile { first, count, .. } = *tile;
        let (width, stride) = (N * S::LANES, self.len);
        // SAFETY: the caller's; a vector is written only where it fits the rows.
        unsafe {
            let probabilities = tile.memory.scores.add(keys.first * width);
            let rows = map.at.add((first - map.first) * stride + keys.first);
            for t in (0..count).step_by(S::LANES) {
                let queries = S::LANES.min(count - t);
                for key in (0..keys.count).step_by(S::LANES) {
                    let some = S::LANES.min(keys.count - key);
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

    /// Divides the rows of a tile's queries by the sums of their probabilities.
    #[inline(always)]
    pub(super) unsafe fn divide_probabilities(&self, tile: &QueryTile) {
        let Some(map) = self.map else { return };
        let stride = self.len;
        // SAFETY: the caller's.
        unsafe {
            for i in 0..tile.count {
                let row = map.at.add((tile.first + i - map.first) * stride);
                let total = *tile.total().add(i);
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
