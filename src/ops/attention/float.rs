//! One head of one sequence, everything in f32.

use super::ahead::Ahead;
use super::geometry::{Geometry, KeyBlock};
use super::head::{KEY_BLOCK, KeyRange, Scheme};
use super::query_tile::{QueryTile, load, store};
use crate::ops::math;
use crate::ops::simd::Simd;
use crate::ops::tile::{self, with_rows};

pub(super) struct Float;

impl<S: Simd> Scheme<S> for Float {
    const IN_FIXED_POINT: bool = false;

    #[inline(always)]
    unsafe fn prepare(head: &Geometry<S>) {
        // SAFETY: the caller's.
        unsafe { head.take_keys() }
    }

    #[inline(always)]
    unsafe fn start<const N: usize>(head: &Geometry<S>, tile: &QueryTile) {
        // SAFETY: the caller's.
        unsafe { head.take_queries::<N>(tile) }
    }

    #[inline(always)]
    unsafe fn scores<const N: usize>(
        head: &Geometry<S>,
        tile: &QueryTile,
        keys: KeyBlock,
        ahead: Ahead,
    ) {
        let (width, stride) = (N * S::LANES, head.sizes.stride);
        let queries = tile.memory.queries.wrapping_add(head.offset * width);
        let scores = tile.memory.scores.wrapping_add(keys.first * width);
        let mut next = ahead.share(head.keys_before(keys), head.head_dim * stride);
        let portion = next.portion(keys.count.div_ceil(S::ROWS));
        // SAFETY: the caller's.
        let mut most = unsafe { load::<S, N>(tile.most()) };
        for (key, height) in tile::heights(keys.count, S::ROWS) {
            next.request_rows::<S>(portion);
            let from = keys.at.wrapping_add(key);
            let to = scores.wrapping_add(key * width);
            with_rows!(height, M, {
                // SAFETY: the caller's: `head_dim` steps of M keys and `width` queries.
                unsafe {
                    let mut acc = [[S::splat(0.0); N]; M];
                    let depth = head.head_dim;
                    tile::accumulate::<S, M, N>(depth, from, stride, queries, width, &mut acc);
                    for (i, row) in acc.iter().enumerate() {
                        for (j, v) in row.iter().enumerate() {
                            S::store(to.add(i * width + j * S::LANES), *v);
                            most[j] = S::max(*v, most[j]);
                        }
                    }
                }
            });
        }
        // SAFETY: the caller's.
        unsafe { store::<S, N>(tile.most(), &most) }
    }

    #[inline(always)]
    unsafe fn values<const N: usize>(
        head: &Geometry<S>,
        tile: &QueryTile,
        keys: KeyRange,
        ahead: Ahead,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let scores = tile.memory.scores.add(keys.first * N * S::LANES);
            let most = load::<S, N>(tile.most());
            let part = exp2_columns::<S, N>(scores, keys.count, &most);
            let mut total = load::<S, N>(tile.total());
            for (t, p) in total.iter_mut().zip(&part) {
                *t = S::add(*t, *p);
            }
            store::<S, N>(tile.total(), &total);
            head.put_probabilities::<N>(tile, keys);
            values::<S, N>(head, tile, keys, ahead);
        }
    }
}

/// Adds the values of some keys, weighted by their probabilities, to the output `[feature, query]`;
/// sets it for the first block.
#[inline(always)]
unsafe fn values<S: Simd, const N: usize>(
    head: &Geometry<S>,
    tile: &QueryTile,
    keys: KeyRange,
    ahead: Ahead,
) {
    let width = N * S::LANES;
    let probabilities = tile.memory.scores.wrapping_add(keys.first * width);
    let mut scores = ahead.scores(KEY_BLOCK * width);
    let portion = scores.portion(head.tiles.len());
    for part in head.tiles {
        let to = tile.memory.output.wrapping_add(part.feature * width);
        let a = head.v.at.wrapping_add(part.at + keys.first * S::LANES);
        scores.request_rows::<S>(portion);
        // The parts of a chunk share its next rows by their heights.
        let lane = part.feature % S::LANES;
        let next = a
            .wrapping_add(KEY_BLOCK * (S::LANES + lane))
            .wrapping_sub(lane);
        ahead
            .share(next, KEY_BLOCK * part.height)
            .request_all::<S>();
        with_rows!(part.height, M, {
            // SAFETY: the caller's: `count` steps of M features and `width` queries.
            unsafe {
                let mut acc = [[S::splat(0.0); N]; M];
                let depth = keys.count;
                tile::accumulate::<S, M, N>(depth, a, S::LANES, probabilities, width, &mut acc);
                for (i, row) in acc.iter().enumerate() {
                    for (j, v) in row.iter().enumerate() {
                        let at = to.add(i * width + j * S::LANES);
                        let sum = match keys.block {
                            0 => *v,
                            _ => S::add(S::load(at), *v),
                        };
                        S::store(at, sum);
                    }
                }
            }
        });
    }
}

/// Replaces `keys` rows of scores by 2^(score − column maximum) and returns the column sums.
///
/// # Safety
/// `scores` holds `keys` rows of N vectors, and the processor has the instructions of `S`.
#[inline(always)]
unsafe fn exp2_columns<S: Simd, const N: usize>(
    scores: *mut f32,
    keys: usize,
    most: &[S::V; N],
) -> [S::V; N] {
    // SAFETY: the caller's.
    let mut sums = [unsafe { S::splat(0.0) }; N];
    for key in 0..keys {
        for (j, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's.
            unsafe {
                let at = scores.add((key * N + j) * S::LANES);
                let p = math::exp2_nonpositive::<S>(S::sub(S::load(at), most[j]));
                *sum = S::add(*sum, p);
                S::store(at, p);
            }
        }
    }
    sums
}
