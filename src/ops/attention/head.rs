//! One head of one sequence.
//!
//! It is computed in blocks of queries, one tile width each, with one query per lane from the
//! scores to the output: softmax runs down the columns and no reduction crosses lanes. The scores
//! of a block are `[keys, queries]`; memory is linear in the length of the sequence.

use super::probabilities::MapRows;
use super::rotary::{RotaryTable, score_scale};
use crate::ops::math;
use crate::ops::matrix::{Chunked, ChunkedMut, Chunks, Extent};
use crate::ops::simd::{Kernel, Simd};
use crate::ops::tile::{self, MAX_WIDTH, with_rows};

/// Keys whose probabilities are computed and used together: their scores stay in the first-level
/// cache. Summing block by block bounds the rounding error of long sequences.
pub(super) const KEY_BLOCK: usize = 256;

/// Floats of working memory that one head of one sequence needs.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Elements between features of the keys: an odd number of vectors, so that features do not
    /// share the same sets of a cache.
    stride: usize,
    /// Keys, `[features, stride]`.
    keys: usize,
    /// One block of queries, `[features, width]`, and of outputs.
    block: usize,
    /// Scores, `[len, width]`.
    scores: usize,
    /// LANES × LANES, for heads that do not fill chunks.
    square: usize,
    /// Features with their padding.
    features: usize,
    /// In fixed point: scales of the keys, `[stride]`; values, `[len / 2, features]`, and their
    /// scales, `[blocks of keys, features]`.
    fixed: [usize; 3],
}

impl Sizes {
    pub(super) fn new(head_dim: usize, len: usize, lanes: usize, fixed: bool) -> Sizes {
        // A head that does not start at a chunk reaches into one more.
        let features = head_dim.next_multiple_of(lanes) + lanes;
        let stride = (len.div_ceil(lanes) | 1) * lanes;
        Sizes {
            stride,
            keys: features * stride,
            block: features * MAX_WIDTH,
            scores: len * MAX_WIDTH,
            square: lanes * lanes,
            features,
            fixed: match fixed {
                true => [
                    stride,
                    len.div_ceil(2) * features,
                    len.div_ceil(KEY_BLOCK) * features,
                ],
                false => [0; 3],
            },
        }
    }

    pub(super) fn total(&self) -> usize {
        let fixed: usize = self.fixed.iter().sum();
        self.keys + 2 * self.block + self.scores + self.square + fixed
    }
}

/// Some queries of one head of one sequence.
pub(super) struct Head<'a> {
    /// From the sequence's first token on; the result replaces the queries.
    pub(super) q: ChunkedMut<'a>,
    pub(super) k: Chunked<'a>,
    pub(super) v: Chunked<'a>,
    pub(super) len: usize,
    /// First feature of this head.
    pub(super) column: usize,
    pub(super) head_dim: usize,
    pub(super) rotary: Option<&'a RotaryTable>,
    pub(super) queries: std::ops::Range<usize>,
    /// Where their probabilities go, `[queries, len]`; None if they are not wanted.
    pub(super) map: Option<&'a mut [f32]>,
    /// See [`Sizes::total`].
    pub(super) buffer: &'a mut [f32],
}

/// How the blocks of a head are computed.
pub(super) trait Scheme<S: Simd> {
    /// Whether it needs memory for integers.
    const IN_FIXED_POINT: bool;

    /// Prepares keys and values.
    ///
    /// # Safety
    /// As for [`Geometry`]'s methods.
    unsafe fn prepare(head: &Geometry<S>);

    /// Scores, softmax and output of `count` queries from `first` on, N vectors of them.
    ///
    /// # Safety
    /// As above.
    unsafe fn block<const N: usize>(head: &Geometry<S>, first: usize, count: usize);
}

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's.
        unsafe { self.work::<S, Float>() }
    }
}

impl Head<'_> {
    /// # Safety
    /// The processor has the instructions of `S` and of the scheme.
    ///
    /// # Panics
    /// The matrices, the rotary table or the working memory are too small.
    #[inline(always)]
    pub(super) unsafe fn work<S: Simd, A: Scheme<S>>(mut self) {
        let (len, head_dim) = (self.len, self.head_dim);
        let features = self.column + head_dim;
        // Tokens are read in whole vectors.
        let rows = len + S::LANES;
        let fits = |e: Extent| e.lanes == S::LANES && e.rows >= rows && e.features() >= features;
        assert!(fits(self.q.extent()) && fits(self.k.extent()) && fits(self.v.extent()));
        assert!(self.queries.end <= len);
        if let Some(table) = self.rotary {
            assert!(table.head_dim() == head_dim && table.positions() >= len);
        }
        let first = self.queries.start;
        let map = self.map.map(|map| {
            assert!(map.len() == self.queries.len() * len);
            let at = map.as_mut_ptr();
            MapRows { at, first }
        });
        let sizes = Sizes::new(head_dim, len, S::LANES, A::IN_FIXED_POINT);
        let (keys, rest) = self.buffer.split_at_mut(sizes.keys);
        let (queries, rest) = rest.split_at_mut(sizes.block);
        let (output, rest) = rest.split_at_mut(sizes.block);
        let (scores, rest) = rest.split_at_mut(sizes.scores);
        let (square, rest) = rest.split_at_mut(sizes.square);
        let (key_scales, rest) = rest.split_at_mut(sizes.fixed[0]);
        let (values, rest) = rest.split_at_mut(sizes.fixed[1]);
        let value_scales = &mut rest[..sizes.fixed[2]];
        let (q, k, v) = (self.q.chunks(), self.k.chunks(), self.v.chunks());
        let memory = Memory {
            keys: keys.as_mut_ptr(),
            queries: queries.as_mut_ptr(),
            output: output.as_mut_ptr(),
            scores: scores.as_mut_ptr(),
            square: square.as_mut_ptr(),
            key_scales: key_scales.as_mut_ptr(),
            values: values.as_mut_ptr(),
            value_scales: value_scales.as_mut_ptr(),
        };
        let (chunk, offset) = (self.column / S::LANES, self.column % S::LANES);
        let end = offset + head_dim;
        let mut tiles = Vec::new();
        for c in 0..end.div_ceil(S::LANES) {
            let start = (c * S::LANES).max(offset);
            let features = end.min((c + 1) * S::LANES) - start;
            for (f, height) in tile::heights(features, S::ROWS) {
                let feature = start + f;
                let at = (chunk + c) * v.stride * S::LANES + feature % S::LANES;
                tiles.push(FeatureTile {
                    feature,
                    height,
                    at,
                });
            }
        }
        let head = Geometry::<S> {
            q,
            k,
            v,
            len,
            chunk,
            offset,
            head_dim,
            key_stride: sizes.stride,
            features: sizes.features,
            rotary: self.rotary,
            map,
            memory,
            tiles: &tiles,
            lanes: std::marker::PhantomData,
        };
        let width = tile::width::<S>();
        // SAFETY: the caller's; sizes were checked, and the buffers are as `Sizes` says.
        unsafe {
            A::prepare(&head);
            for first in self.queries.clone().step_by(width) {
                let count = width.min(self.queries.end - first);
                // A short last block has one vector a row.
                if count <= S::LANES {
                    A::block::<1>(&head, first, count);
                } else {
                    A::block::<2>(&head, first, count);
                }
            }
        }
    }
}

/// Working memory, see [`Sizes`].
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) keys: *mut f32,
    pub(super) queries: *mut f32,
    pub(super) output: *mut f32,
    pub(super) scores: *mut f32,
    pub(super) square: *mut f32,
    pub(super) key_scales: *mut f32,
    pub(super) values: *mut f32,
    pub(super) value_scales: *mut f32,
}

/// One head of one sequence in vectors of `S`.
///
/// Its features are in the chunks from `chunk` on, the first of them at lane `offset`; working
/// memory holds those chunks entirely.
pub(super) struct Geometry<'a, S: Simd> {
    q: Chunks,
    k: Chunks,
    pub(super) v: Chunks,
    pub(super) len: usize,
    chunk: usize,
    pub(super) offset: usize,
    pub(super) head_dim: usize,
    pub(super) key_stride: usize,
    /// Elements of a row of features in fixed point.
    pub(super) features: usize,
    rotary: Option<&'a RotaryTable>,
    /// Where the probabilities go; None if they are not wanted.
    pub(super) map: Option<MapRows>,
    pub(super) memory: Memory,
    pub(super) tiles: &'a [FeatureTile],
    lanes: std::marker::PhantomData<S>,
}

/// Features of a head that are computed together; all are in one chunk.
pub(super) struct FeatureTile {
    /// Counted from the start of the head's first chunk.
    pub(super) feature: usize,
    pub(super) height: usize,
    /// Offset of the first of them for token 0, in elements.
    at: usize,
}

/// All methods: the processor has the instructions of `S`, the tensors hold `len` rows and one
/// vector's worth more, and working memory has the sizes of [`Sizes`].
impl<S: Simd> Geometry<'_, S> {
    /// Chunks that the head has features in.
    #[inline(always)]
    pub(super) fn chunks(&self) -> usize {
        (self.offset + self.head_dim).div_ceil(S::LANES)
    }

    /// Token t of chunk c, counted from the head's first.
    #[inline(always)]
    pub(super) fn at(&self, x: Chunks, c: usize, t: usize) -> *mut f32 {
        x.at.wrapping_add(((self.chunk + c) * x.stride + t) * S::LANES)
    }

    /// Keys as `[feature, key]`, rotated.
    #[inline(always)]
    pub(super) unsafe fn take_keys(&self) {
        let (to, stride) = (self.memory.keys, self.key_stride);
        // SAFETY: the caller's.
        unsafe {
            for c in 0..self.chunks() {
                for t in (0..self.len).step_by(S::LANES) {
                    let to = to.add(c * S::LANES * stride + t);
                    S::transpose(self.at(self.k, c, t), S::LANES, to, stride);
                }
            }
            self.rotate(to, stride, 0, self.len, 1.0);
        }
    }

    /// `count` queries from `first` on as `[feature, query]`, rotated, for scores in units of
    /// ln 2: softmax then takes powers of two.
    #[inline(always)]
    pub(super) unsafe fn take_queries<const N: usize>(&self, first: usize, count: usize) {
        let scale = score_scale(self.head_dim) * std::f32::consts::LOG2_E;
        let (to, stride) = (self.memory.queries, N * S::LANES);
        let end = self.offset + self.head_dim;
        for c in 0..self.chunks() {
            let start = (c * S::LANES).max(self.offset);
            let features = end.min((c + 1) * S::LANES) - start;
            for t in (0..count).step_by(S::LANES) {
                let tokens = S::LANES.min(count - t);
                let from = self.at(self.q, c, first + t);
                // SAFETY: the caller's; only this head's lanes of this block's tokens are read,
                // because other threads may write the others.
                unsafe {
                    let to = to.add(c * S::LANES * stride + t);
                    if tokens == S::LANES && features == S::LANES {
                        S::transpose(from, S::LANES, to, stride);
                        continue;
                    }
                    let square = self.memory.square;
                    for i in 0..tokens {
                        let at = i * S::LANES + start % S::LANES;
                        copy_features(from.add(at), square.add(at), features);
                    }
                    S::transpose(square, S::LANES, to, stride);
                }
            }
        }
        // SAFETY: the caller's.
        unsafe { self.rotate(to, stride, first, count, scale) }
    }

    /// Scales and rotates `count` tokens `[feature, token]` in place, in whole vectors. The first
    /// is at position `first`.
    #[inline(always)]
    unsafe fn rotate(&self, to: *mut f32, stride: usize, first: usize, count: usize, scale: f32) {
        // SAFETY: the caller's.
        unsafe {
            let to = to.add(self.offset * stride);
            match self.rotary {
                Some(table) => table.rotate::<S>(to, stride, count, first, scale),
                None if scale != 1.0 => {
                    for f in 0..self.head_dim {
                        for t in (0..count).step_by(S::LANES) {
                            let at = to.add(f * stride + t);
                            S::store(at, S::mul(S::load(at), S::splat(scale)));
                        }
                    }
                }
                None => {}
            }
        }
    }

    /// Divides the block's output by the sums of the probabilities and replaces its queries with
    /// it.
    #[inline(always)]
    pub(super) unsafe fn finish<const N: usize>(
        &self,
        total: &[S::V; N],
        first: usize,
        count: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            for f in self.offset..self.offset + self.head_dim {
                for (j, t) in total.iter().enumerate() {
                    let at = self.memory.output.add((f * N + j) * S::LANES);
                    S::store(at, S::div(S::load(at), *t));
                }
            }
            self.write_output::<N>(first, count);
        }
    }

    /// All scores of the block, `[key, query]`, and the largest of each query.
    #[inline(always)]
    unsafe fn scores<const N: usize>(&self) -> [S::V; N] {
        let width = N * S::LANES;
        let keys = self.memory.keys.wrapping_add(self.offset * self.key_stride);
        let queries = self.memory.queries.wrapping_add(self.offset * width);
        // SAFETY: the caller's.
        let mut most = [unsafe { S::splat(f32::NEG_INFINITY) }; N];
        for (key, height) in tile::heights(self.len, S::ROWS) {
            let to = self.memory.scores.wrapping_add(key * width);
            with_rows!(height, M, {
                // SAFETY: the caller's: `head_dim` steps of M keys and `width` queries.
                unsafe {
                    let mut acc = [[S::splat(0.0); N]; M];
                    tile::accumulate::<S, M, N>(
                        self.head_dim,
                        keys.add(key),
                        self.key_stride,
                        queries,
                        width,
                        &mut acc,
                    );
                    for (i, row) in acc.iter().enumerate() {
                        for (j, v) in row.iter().enumerate() {
                            S::store(to.add(i * width + j * S::LANES), *v);
                            most[j] = S::max(*v, most[j]);
                        }
                    }
                }
            });
        }
        most
    }

    /// Adds the values of `keys` keys from k on, weighted by their probabilities, to the
    /// output `[feature, query]`; sets it for the first.
    #[inline(always)]
    unsafe fn values<const N: usize>(&self, k: usize, keys: usize, scores: *const f32) {
        let width = N * S::LANES;
        for tile in self.tiles {
            let to = self.memory.output.wrapping_add(tile.feature * width);
            let a = self.v.at.wrapping_add(tile.at + k * S::LANES);
            with_rows!(tile.height, M, {
                // SAFETY: the caller's: `keys` steps of M features and `width` queries.
                unsafe {
                    let mut acc = [[S::splat(0.0); N]; M];
                    tile::accumulate::<S, M, N>(keys, a, S::LANES, scores, width, &mut acc);
                    for (i, row) in acc.iter().enumerate() {
                        for (j, v) in row.iter().enumerate() {
                            let at = to.add(i * width + j * S::LANES);
                            let sum = match k {
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

    /// Replaces the block's queries with its output.
    #[inline(always)]
    unsafe fn write_output<const N: usize>(&self, first: usize, count: usize) {
        let width = N * S::LANES;
        let end = self.offset + self.head_dim;
        for c in 0..self.chunks() {
            let start = (c * S::LANES).max(self.offset);
            let features = end.min((c + 1) * S::LANES) - start;
            for t in (0..count).step_by(S::LANES) {
                let tokens = S::LANES.min(count - t);
                let to = self.at(self.q, c, first + t);
                // SAFETY: the caller's; only this head's lanes of this block's tokens are
                // written in the tensor.
                unsafe {
                    let from = self.memory.output.add(c * S::LANES * width + t);
                    if tokens == S::LANES && features == S::LANES {
                        S::transpose(from, width, to, S::LANES);
                        continue;
                    }
                    let square = self.memory.square;
                    S::transpose(from, width, square, S::LANES);
                    for i in 0..tokens {
                        let at = i * S::LANES + start % S::LANES;
                        copy_features(square.add(at), to.add(at), features);
                    }
                }
            }
        }
    }
}

/// Everything in f32.
struct Float;

impl<S: Simd> Scheme<S> for Float {
    const IN_FIXED_POINT: bool = false;

    #[inline(always)]
    unsafe fn prepare(head: &Geometry<S>) {
        // SAFETY: the caller's.
        unsafe { head.take_keys() }
    }

    #[inline(always)]
    unsafe fn block<const N: usize>(head: &Geometry<S>, first: usize, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            head.take_queries::<N>(first, count);
            let most = head.scores::<N>();
            let mut total = [S::splat(0.0); N];
            for (k, keys) in blocks(head.len, KEY_BLOCK) {
                let scores = head.memory.scores.add(k * N * S::LANES);
                let part = exp2_columns::<S, N>(scores, keys, &most);
                for (t, p) in total.iter_mut().zip(&part) {
                    *t = S::add(*t, *p);
                }
                head.put_probabilities::<N>(k, keys, scores, first, count);
                head.values::<N>(k, keys, scores);
            }
            head.divide_probabilities::<N>(&total, first, count);
            head.finish::<N>(&total, first, count);
        }
    }
}

/// Copies `count` features. Most heads have a multiple of eight, for which no function is called.
///
/// # Safety
/// `from` is readable and `to` writable for `count` numbers, and they do not overlap.
#[inline(always)]
unsafe fn copy_features(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's.
    unsafe {
        if count.is_multiple_of(8) {
            for f in (0..count).step_by(8) {
                std::ptr::copy_nonoverlapping(from.add(f), to.add(f), 8);
            }
        } else {
            std::ptr::copy_nonoverlapping(from, to, count);
        }
    }
}

/// `len` in blocks of `size`, the last one shorter: (start, length).
#[inline(always)]
pub(super) fn blocks(len: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len)
        .step_by(size)
        .map(move |start| (start, size.min(len - start)))
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
