//! One head of one sequence in fixed point.
//!
//! Queries, keys, probabilities and values are rounded to 16-bit integers and multiplied as in
//! linear layers. There is one scale for each query and each key and, in every block of keys, one
//! for the probabilities of each query and one for the values of each feature. Softmax is in f32.

use super::head::{Geometry, Head, KEY_BLOCK, Scheme, blocks};
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
        let memory = head.memory;
        // SAFETY: the caller's.
        unsafe {
            head.take_keys();
            let keys = memory.keys.add(head.offset * head.key_stride);
            for t in (0..head.len).step_by(S::LANES) {
                let at = keys.add(t);
                let scale = round::<S>(at, head.key_stride, head.head_dim, at, head.key_stride);
                S::store(memory.key_scales.add(t), scale);
            }
            for (block, (k, count)) in blocks(head.len, KEY_BLOCK).enumerate() {
                for c in 0..head.chunks() {
                    let to = memory.values.add(k / 2 * head.features + c * S::LANES);
                    let from = head.at(head.v, c, k);
                    let scale = round::<S>(from, S::LANES, count, to, head.features);
                    let at = block * head.features + c * S::LANES;
                    S::store(memory.value_scales.add(at), scale);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn block<const N: usize>(head: &Geometry<S>, first: usize, count: usize) {
        let width = N * S::LANES;
        let memory = head.memory;
        // SAFETY: the caller's.
        unsafe {
            head.take_queries::<N>(first, count);
            let queries = memory.queries.add(head.offset * width);
            let mut scales = [S::splat(0.0); N];
            for (j, scale) in scales.iter_mut().enumerate() {
                let at = queries.add(j * S::LANES);
                *scale = round::<S>(at, width, head.head_dim, at, width);
            }
            // Scores without the queries' scales, which do not change which score is the largest.
            let mut most = scores::<S, N>(head);
            for (most, scale) in most.iter_mut().zip(&scales) {
                let rounded = S::mul(*most, *scale);
                // One unit in the last place more, so that no score is above it.
                *most = S::fma(S::abs(rounded), S::splat(f32::EPSILON), rounded);
            }
            let mut total = [S::splat(0.0); N];
            for (block, (k, keys)) in blocks(head.len, KEY_BLOCK).enumerate() {
                let scores = memory.scores.add(k * width);
                let sums = exp2_columns::<S, N>(scores, keys, &scales, &most);
                head.put_probabilities::<N>(k, keys, scores, first, count);
                let mut back = [S::splat(0.0); N];
                for j in 0..N {
                    total[j] = S::add(total[j], sums.total[j]);
                    // Probabilities are at most 1.
                    let length = S::sqrt(sums.squares[j]);
                    let scale = S::div(S::splat(LENGTH), length);
                    let scale = S::min(S::splat(LARGEST), scale);
                    let at = scores.add(j * S::LANES);
                    pairs::<S>(at, width, keys, scale, at, width);
                    back[j] = S::div(S::splat(1.0), scale);
                }
                values::<S, N>(head, block, keys, scores, &back);
            }
            head.divide_probabilities::<N>(&total, first, count);
            head.finish::<N>(&total, first, count);
        }
    }
}

/// All scores of the block without the queries' scales, `[key, query]`, and the largest of each
/// query.
#[inline(always)]
unsafe fn scores<S: Simd, const N: usize>(head: &Geometry<S>) -> [S::V; N] {
    let width = N * S::LANES;
    let memory = head.memory;
    let keys = memory.keys.wrapping_add(head.offset * head.key_stride);
    let queries = memory.queries.wrapping_add(head.offset * width);
    let steps = head.head_dim.div_ceil(2);
    // SAFETY: the caller's.
    let mut most = [unsafe { S::splat(f32::NEG_INFINITY) }; N];
    for (key, height) in tile::heights(head.len, S::FIXED_ROWS) {
        let to = memory.scores.wrapping_add(key * width);
        let scales = memory.key_scales.wrapping_add(key);
        with_rows!(height, M, {
            // SAFETY: the caller's: `steps` steps of M keys and `width` queries.
            unsafe {
                let acc = sums::<S, M, N>(steps, keys.add(key), head.key_stride, queries, width);
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
    most
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

/// Adds the values of a block of keys, weighted by their probabilities, to the output
/// `[feature, query]`; sets it for the first.
#[inline(always)]
unsafe fn values<S: Simd, const N: usize>(
    head: &Geometry<S>,
    block: usize,
    keys: usize,
    probabilities: *const f32,
    back: &[S::V; N],
) {
    let (width, features) = (N * S::LANES, head.features);
    let memory = head.memory;
    let values = memory.values.wrapping_add(block * KEY_BLOCK / 2 * features);
    let scales = memory.value_scales.wrapping_add(block * features);
    for tile in head.tiles {
        let to = memory.output.wrapping_add(tile.feature * width);
        let a = values.wrapping_add(tile.feature);
        let scales = scales.wrapping_add(tile.feature);
        with_rows!(tile.height, M, {
            // SAFETY: the caller's: pairs of `keys` keys of M features and `width` queries.
            unsafe {
                let acc = sums::<S, M, N>(keys.div_ceil(2), a, features, probabilities, width);
                for (i, row) in acc.iter().enumerate() {
                    let scale = S::splat(*scales.add(i));
                    for (j, sum) in row.iter().enumerate() {
                        let at = to.add(i * width + j * S::LANES);
                        let v = S::mul(S::sums_to_f32(*sum), scale);
                        let v = S::mul(v, back[j]);
                        let sum = match block {
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
