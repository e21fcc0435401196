//! One head of one sequence in fixed point.
//!
//! Queries, keys, probabilities and values are rounded to 16-bit integers and multiplied as in
//! linear layers. There is one scale for each query and each key and, in every block of keys, one
//! for the probabilities of each query and one for the values of each feature. Softmax is in f32.

use super::ahead::Ahead;
use super::geometry::{Geometry, KeyBlock};
use super::head::{Head, KEY_BLOCK, KeyRange, Scheme, blocks};
use super::query_tile::{QueryTile, load, store};
use crate::ops::fixed_point::{LARGEST, LENGTH, SMALLEST};
use crate::ops::math;
use crate::ops::simd::{Kernel, Simd};
use crate::ops::tile::{self, with_rows};

/// A head whose products are in fixed point.
pub(super) struct FixedHead<'a>(pub(super) Head<'a>);

impl Kernel for FixedHead<'_> {
    type Output = ();
    const IN_FIXED_POINT: bool = true;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's.
        unsafe { self.0.work::<S, Fixed>() }
    }
}

struct Fixed;

impl<S: Simd> Scheme<S> for Fixed {
    const IN_FIXED_POINT: bool = true;

    #[inline(always)]
    unsafe fn prepare(head: &Geometry<S>) {
        let (memory, stride, features) = (head.memory, head.sizes.stride, head.sizes.features);
        // SAFETY: the caller's.
        unsafe {
            head.take_keys();
            for keys in head.key_blocks() {
                for t in (0..keys.count).step_by(S::LANES) {
                    let at = keys.at.add(t);
                    let scale = round::<S>(at, stride, head.head_dim, at, stride);
                    S::store(memory.key_scales.add(keys.first + t), scale);
                }
            }
            for (block, (k, count)) in blocks(head.len, KEY_BLOCK).enumerate() {
                for c in 0..head.chunks() {
                    let to = memory.values.add(k / 2 * features + c * S::LANES);
                    let from = head.at(head.v, c, k);
                    let scale = round::<S>(from, S::LANES, count, to, features);
                    let at = block * features + c * S::LANES;
                    S::store(memory.value_scales.add(at), scale);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn start<const N: usize>(head: &Geometry<S>, tile: &QueryTile) {
        let width = N * S::LANES;
        // SAFETY: the caller's.
        unsafe {
            head.take_queries::<N>(tile);
            let queries = tile.memory.queries.add(head.offset * width);
            for j in 0..N {
                let at = queries.add(j * S::LANES);
                let scale = round::<S>(at, width, head.head_dim, at, width);
                S::store(tile.scale().add(j * S::LANES), scale);
            }
        }
    }

    /// Without the queries' scales, which do not change which score is the largest.
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
        let key_scales = head.memory.key_scales.wrapping_add(keys.first);
        let steps = head.head_dim.div_ceil(2);
        let mut next = ahead.share(head.keys_before(keys), steps * stride);
        let portion = next.portion(keys.count.div_ceil(S::FIXED_ROWS));
        // SAFETY: the caller's.
        let mut most = unsafe { load::<S, N>(tile.most()) };
        for (key, height) in tile::heights(keys.count, S::FIXED_ROWS) {
            next.request_rows::<S>(portion);
            let from = keys.at.wrapping_add(key);
            let to = scores.wrapping_add(key * width);
            let scales = key_scales.wrapping_add(key);
            with_rows!(height, M, {
                // SAFETY: the caller's: `steps` steps of M keys and `width` queries.
                unsafe {
                    let acc = sums::<S, M, N>(steps, from, stride, queries, width);
                    for (i, row) in acc.iter().enumerate() {
                        let scale = S::splat(*scales.add(i));
                        for (j, sum) in row.iter().enumerate() {
                            let v = S::mul(S::sums_to_f32(*sum), scale);
                            S::store(to.add(i * width + j * S::LANES), v);
                            most[j] = S::max(v, most[j]);
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
        let width = N * S::LANES;
        // SAFETY: the caller's.
        unsafe {
            let scores = tile.memory.scores.add(keys.first * width);
            let scales = load::<S, N>(tile.scale());
            let mut most = load::<S, N>(tile.most());
            for (most, scale) in most.iter_mut().zip(&scales) {
                let rounded = S::mul(*most, *scale);
                // One unit in the last place more, so that no score is above it.
                *most = S::fma(S::abs(rounded), S::splat(f32::EPSILON), rounded);
            }
            let sums = exp2_columns::<S, N>(scores, keys.count, &scales, &most);
            head.put_probabilities::<N>(tile, keys);
            let mut total = load::<S, N>(tile.total());
            let mut back = [S::splat(0.0); N];
            for j in 0..N {
                total[j] = S::add(total[j], sums.total[j]);
                // Probabilities are at most 1.
                let length = S::sqrt(sums.squares[j]);
                let scale = S::div(S::splat(LENGTH), length);
                let scale = S::min(S::splat(LARGEST), scale);
                let at = scores.add(j * S::LANES);
                pairs::<S>(at, width, keys.count, scale, at, width);
                back[j] = S::div(S::splat(1.0), scale);
            }
            store::<S, N>(tile.total(), &total);
            values::<S, N>(head, tile, keys, ahead, &back);
        }
    }
}

/// Sums of the probabilities of a block of keys, and of their squares.
struct Sums<S: Simd, const N: usize> {
    total: [S::V; N],
    squares: [S::V; N],
}

/// Replaces `keys` rows of scores by 2^(score · scale − most).
#[inline(always)]
unsafe fn exp2_columns<S: Simd, const N: usize>(
    scores: *mut f32,
    keys: usize,
    scales: &[S::V; N],
    most: &[S::V; N],
) -> Sums<S, N> {
    // SAFETY: the caller's.
    unsafe {
        let mut total = [S::splat(0.0); N];
        let mut squares = [S::splat(0.0); N];
        let mut least = [S::splat(0.0); N];
        for (least, most) in least.iter_mut().zip(most) {
            *least = S::sub(*least, *most);
        }
        for key in 0..keys {
            for j in 0..N {
                let at = scores.add((key * N + j) * S::LANES);
                let score = S::fma(S::load(at), scales[j], least[j]);
                let p = math::exp2_nonpositive::<S>(score);
                total[j] = S::add(total[j], p);
                squares[j] = S::fma(p, p, squares[j]);
                S::store(at, p);
            }
        }
        Sums { total, squares }
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
    back: &[S::V; N],
) {
    let (width, features) = (N * S::LANES, head.sizes.features);
    let memory = head.memory;
    let probabilities = tile.memory.scores.wrapping_add(keys.first * width);
    let values = memory.values.wrapping_add(keys.first / 2 * features);
    let scales = memory.value_scales.wrapping_add(keys.block * features);
    let block = KEY_BLOCK / 2 * features;
    let parts = head.tiles.len();
    let mut next = [
        ahead.scores(KEY_BLOCK * width),
        ahead.share(values.wrapping_add(block), block),
    ];
    let portions = [next[0].portion(parts), next[1].portion(parts)];
    for part in head.tiles {
        for (next, portion) in next.iter_mut().zip(portions) {
            next.request_rows::<S>(portion);
        }
        let to = tile.memory.output.wrapping_add(part.feature * width);
        let a = values.wrapping_add(part.feature);
        let scales = scales.wrapping_add(part.feature);
        with_rows!(part.height, M, {
            // SAFETY: the caller's: pairs of `count` keys of M features and `width` queries.
            unsafe {
                let steps = keys.count.div_ceil(2);
                let acc = sums::<S, M, N>(steps, a, features, probabilities, width);
                for (i, row) in acc.iter().enumerate() {
                    let scale = S::splat(*scales.add(i));
                    for (j, sum) in row.iter().enumerate() {
                        let at = to.add(i * width + j * S::LANES);
                        let v = S::mul(S::sums_to_f32(*sum), scale);
                        let v = S::mul(v, back[j]);
                        let sum = match keys.block {
                            0 => v,
                            _ => S::add(S::load(at), v),
                        };
                        S::store(at, sum);
                    }
                }
            }
        });
    }
}

/// `acc[i][j] = Σ a[step][i] · b[step][j]` over steps of two integers each.
#[inline(always)]
unsafe fn sums<S: Simd, const M: usize, const N: usize>(
    steps: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
) -> [[S::Sums; N]; M] {
    let (mut a, mut b) = (a, b);
    // SAFETY: the caller's: M elements of `a` and N vectors of `b` at every step.
    unsafe {
        let mut acc = [[S::no_sums(); N]; M];
        for _ in 0..steps {
            let mut columns = [S::load_pairs(b); N];
            for (j, column) in columns.iter_mut().enumerate().skip(1) {
                *column = S::load_pairs(b.add(j * S::LANES));
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let x = S::splat_pair(a.add(i));
                for (sum, column) in row.iter_mut().zip(&columns) {
                    *sum = S::add_products(*sum, x, *column);
                }
            }
            a = a.wrapping_add(a_stride);
            b = b.wrapping_add(b_stride);
        }
        acc
    }
}

/// Rounds the columns of a vector of `count` rows, two rows to a step, and returns the factors of
/// their sums: NaN if a value of the column is not finite. `from` and `to` may be the same memory.
#[inline(always)]
unsafe fn round<S: Simd>(
    from: *const f32,
    from_stride: usize,
    count: usize,
    to: *mut f32,
    to_stride: usize,
) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let mut most = S::splat(0.0);
        for i in 0..count {
            most = S::max(S::abs(S::load(from.add(i * from_stride))), most);
        }
        let unit = S::div(S::splat(1.0), most);
        let unit = S::select_lt(most, S::splat(SMALLEST), S::splat(0.0), unit);
        let mut squares = S::splat(0.0);
        for i in 0..count {
            let v = S::mul(S::load(from.add(i * from_stride)), unit);
            squares = S::fma(v, v, squares);
        }
        // The operand order keeps NaN. Division by zero gives +∞, and the unit is then 0.
        let scale = S::div(S::splat(LENGTH), S::sqrt(squares));
        let scale = S::mul(S::min(S::splat(LARGEST), scale), unit);
        pairs::<S>(from, from_stride, count, scale, to, to_stride);
        let back = S::div(S::splat(1.0), scale);
        // Only a scale of zero is so small. NaN is not.
        S::select_lt(scale, S::splat(f32::MIN_POSITIVE), S::splat(0.0), back)
    }
}

/// Scaled columns as integers, rows 2i and 2i + 1 in step i.
#[inline(always)]
unsafe fn pairs<S: Simd>(
    from: *const f32,
    from_stride: usize,
    count: usize,
    scale: S::V,
    to: *mut f32,
    to_stride: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        for i in 0..count / 2 {
            let first = S::mul(S::load(from.add(2 * i * from_stride)), scale);
            let second = S::mul(S::load(from.add((2 * i + 1) * from_stride)), scale);
            S::store_pairs(to.add(i * to_stride), first, second);
        }
        if count % 2 == 1 {
            let last = S::mul(S::load(from.add((count - 1) * from_stride)), scale);
            S::store_pairs(to.add(count / 2 * to_stride), last, S::splat(0.0));
        }
    }
}
