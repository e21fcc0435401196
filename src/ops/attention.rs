//! Self-attention of packed sequences: `softmax(q·kᵀ)·v`, each sequence over its own tokens.
//!
//! A head of a sequence is worked through in blocks of queries, one tile width each, with one
//! query a lane from the scores to the output: softmax runs down the columns and no reduction
//! crosses lanes. The scores of a block are `[keys, queries]`; memory is linear in the length of
//! the longest sequence. Everything depends on the sequence alone, so its bits do not depend on
//! its neighbours.

use super::buffer::scratch;
use super::math;
use super::rotary::RotaryTable;
use super::rows::{Chunked, lanes, padded};
use super::simd::{CpuPath, Kernel, Simd};
use super::team::Team;
use super::tile::{self, MAX_WIDTH, with_rows};
use candle_core::{CpuStorage, InplaceOp1, Layout};

/// Keys whose probabilities are made and used together: their scores stay in the first-level
/// cache. Sums are formed block by block, which bounds the rounding error of long sequences.
const KEY_BLOCK: usize = 256;

/// Queries of one part of the work when a team shares a long sequence.
const QUERY_SPAN: usize = 512;

/// Attention in place over q, k and v, `[3, features / lanes, rows, lanes]`: the result takes
/// the place of q.
pub struct Attention<'a> {
    /// Instructions to run with.
    pub path: CpuPath,
    /// Where sequences start, and the total at the end: `[sequences + 1]`, ascending from 0.
    pub cu_seqlens: &'a [usize],
    /// Number of heads.
    pub heads: usize,
    /// Features of one head.
    pub head_dim: usize,
    /// Rotates q and k; None for models with learned positions.
    pub rotary: Option<&'a RotaryTable>,
    /// Who works.
    pub team: Team<'a>,
}

/// Rows of a q, k and v tensor for `tokens` tokens: vectors are read whole at its end too.
pub(super) fn rows(tokens: usize, path: CpuPath) -> usize {
    tokens + lanes(path)
}

/// Floats of working memory for a head of a sequence of `len` tokens.
pub(super) fn floats(head_dim: usize, len: usize, path: CpuPath) -> usize {
    Sizes::new(head_dim, len, lanes(path)).total()
}

impl InplaceOp1 for Attention<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, s: &mut CpuStorage, l: &Layout) -> candle_core::Result<()> {
        let qkv = super::contiguous_mut(s, l)?;
        let lanes = lanes(self.path);
        let chunks = padded(self.heads * self.head_dim, self.path) / lanes;
        let tokens = self.cu_seqlens.last().copied().unwrap_or(usize::MAX);
        let (parts, width, stride, last) = l.shape().dims4()?;
        let covered = self.cu_seqlens.first() == Some(&0) && self.cu_seqlens.is_sorted();
        if (parts, width, last) != (3, chunks, lanes)
            || !covered
            || stride < rows(tokens, self.path)
        {
            candle_core::bail!(
                "attention of {} heads of {} was given {:?} and {} sequence bounds",
                self.heads,
                self.head_dim,
                l.dims(),
                self.cu_seqlens.len()
            );
        }
        let longest = self.cu_seqlens.windows(2).map(|w| w[1] - w[0]).max();
        if let Some(table) = self.rotary
            && (table.head_dim() != self.head_dim
                || table.positions() < longest.unwrap_or_default())
        {
            candle_core::bail!(
                "rotary table of {} positions of {} features for {longest:?} tokens of {}",
                table.positions(),
                table.head_dim(),
                self.head_dim
            );
        }
        let part = chunks * stride * lanes;
        let at = qkv.as_mut_ptr();
        let [q, k, v] = [0, 1, 2].map(|i| Chunked {
            at: at.wrapping_add(i * part),
            stride,
        });
        let span = match self.team {
            Team::One => usize::MAX,
            Team::Pool(_) => QUERY_SPAN,
        };
        let mut work = Vec::new();
        for bounds in self.cu_seqlens.windows(2) {
            let (start, len) = (bounds[0], bounds[1] - bounds[0]);
            for head in 0..self.heads {
                for first in (0..len).step_by(span.min(len.max(1))) {
                    work.push((start, len, head, first..len.min(first.saturating_add(span))));
                }
            }
        }
        self.team.each(work.len(), |i| {
            let (start, len, head, queries) = work[i].clone();
            let sizes = Sizes::new(self.head_dim, len, lanes);
            scratch(sizes.total(), |buffer| {
                self.path.dispatch(Head {
                    q: q.skip(start, lanes),
                    k: k.skip(start, lanes),
                    v: v.skip(start, lanes),
                    len,
                    column: head * self.head_dim,
                    head_dim: self.head_dim,
                    rotary: self.rotary,
                    queries,
                    sizes,
                    buffer,
                });
            });
        });
        Ok(())
    }
}

/// Floats of working memory that one head of one sequence needs.
#[derive(Clone, Copy)]
struct Sizes {
    /// Elements between features of the keys: an odd number of vectors, so that features do not
    /// fall into the same sets of a cache.
    stride: usize,
    /// Keys, `[features, stride]`.
    keys: usize,
    /// One block of queries, `[features, width]`, and of outputs.
    block: usize,
    /// Scores, `[len, width]`.
    scores: usize,
    /// A vector's square, for heads that do not fill chunks.
    square: usize,
}

impl Sizes {
    fn new(head_dim: usize, len: usize, lanes: usize) -> Sizes {
        // A head that does not start with a chunk reaches into one more.
        let features = head_dim.next_multiple_of(lanes) + lanes;
        let stride = (len.div_ceil(lanes) | 1) * lanes;
        Sizes {
            stride,
            keys: features * stride,
            block: features * MAX_WIDTH,
            scores: len * MAX_WIDTH,
            square: lanes * lanes,
        }
    }

    fn total(&self) -> usize {
        self.keys + 2 * self.block + self.scores + self.square
    }
}

/// Some queries of one head of one sequence.
struct Head<'a> {
    /// From the sequence's first token on; the result goes where the queries were.
    q: Chunked,
    k: Chunked,
    v: Chunked,
    len: usize,
    /// First feature of this head.
    column: usize,
    head_dim: usize,
    rotary: Option<&'a RotaryTable>,
    queries: std::ops::Range<usize>,
    sizes: Sizes,
    buffer: &'a mut [f32],
}

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (keys, rest) = self.buffer.split_at_mut(self.sizes.keys);
        let (queries, rest) = rest.split_at_mut(self.sizes.block);
        let (output, rest) = rest.split_at_mut(self.sizes.block);
        let (scores, square) = rest.split_at_mut(self.sizes.scores);
        let memory = Memory {
            keys: keys.as_mut_ptr(),
            queries: queries.as_mut_ptr(),
            output: output.as_mut_ptr(),
            scores: scores.as_mut_ptr(),
            square: square.as_mut_ptr(),
        };
        let (chunk, offset) = (self.column / S::LANES, self.column % S::LANES);
        let end = offset + self.head_dim;
        let mut tiles = Vec::new();
        for c in 0..end.div_ceil(S::LANES) {
            let start = (c * S::LANES).max(offset);
            let features = end.min((c + 1) * S::LANES) - start;
            for (f, height) in tile::heights(features, S::ROWS) {
                let feature = start + f;
                let at = (chunk + c) * self.v.stride * S::LANES + feature % S::LANES;
                tiles.push(FeatureTile {
                    feature,
                    height,
                    at,
                });
            }
        }
        let head = Geometry::<S> {
            q: self.q,
            k: self.k,
            v: self.v,
            len: self.len,
            chunk,
            offset,
            head_dim: self.head_dim,
            key_stride: self.sizes.stride,
            rotary: self.rotary,
            memory,
            tiles: &tiles,
            lanes: std::marker::PhantomData,
        };
        let width = tile::width::<S>();
        // SAFETY: the buffers have the sizes that `Sizes` gives, the tensors the rows that the
        // operation has checked, and no other part of the work writes these queries' rows.
        unsafe {
            head.take_keys();
            for first in self.queries.clone().step_by(width) {
                let count = width.min(self.queries.end - first);
                // A short last block is worked with one vector a row.
                if count <= S::LANES {
                    head.block::<1>(first, count);
                } else {
                    head.block::<2>(first, count);
                }
            }
        }
    }
}

/// Working memory, see [`Sizes`].
#[derive(Clone, Copy)]
struct Memory {
    keys: *mut f32,
    queries: *mut f32,
    output: *mut f32,
    scores: *mut f32,
    square: *mut f32,
}

/// One head of one sequence in vectors of `S`.
///
/// Its features lie in the chunks from `chunk` on, the first of them at lane `offset`; working
/// memory holds those chunks whole.
struct Geometry<'a, S: Simd> {
    q: Chunked,
    k: Chunked,
    v: Chunked,
    len: usize,
    chunk: usize,
    offset: usize,
    head_dim: usize,
    key_stride: usize,
    rotary: Option<&'a RotaryTable>,
    memory: Memory,
    tiles: &'a [FeatureTile],
    lanes: std::marker::PhantomData<S>,
}

/// Features of a head that are worked together; all lie in one chunk.
struct FeatureTile {
    /// Counted from the start of the head's first chunk.
    feature: usize,
    height: usize,
    /// Offset of the first of them for token 0, in elements.
    at: usize,
}

/// All methods: the processor has the instructions of `S`, the tensors hold `len` rows and a
/// vector's worth more, and working memory has the sizes of [`Sizes`].
impl<S: Simd> Geometry<'_, S> {
    /// Chunks that the head has features in.
    #[inline(always)]
    fn chunks(&self) -> usize {
        (self.offset + self.head_dim).div_ceil(S::LANES)
    }

    /// Token t of chunk c, counted from the head's first.
    #[inline(always)]
    fn at(&self, x: Chunked, c: usize, t: usize) -> *mut f32 {
        x.at.wrapping_add(((self.chunk + c) * x.stride + t) * S::LANES)
    }

    /// Keys as `[feature, key]`, rotated.
    #[inline(always)]
    unsafe fn take_keys(&self) {
        // SAFETY: the caller's.
        unsafe {
            let to = self.memory.keys;
            self.transposed(self.k, 0, self.len, to, self.key_stride, 1.0);
        }
    }

    /// `count` tokens from `first` on as `[feature, token]`, scaled and rotated.
    #[inline(always)]
    unsafe fn transposed(
        &self,
        x: Chunked,
        first: usize,
        count: usize,
        to: *mut f32,
        stride: usize,
        scale: f32,
    ) {
        // SAFETY: the caller's.
        unsafe {
            for c in 0..self.chunks() {
                for t in (0..count).step_by(S::LANES) {
                    let to = to.add(c * S::LANES * stride + t);
                    S::transpose(self.at(x, c, first + t), S::LANES, to, stride);
                }
            }
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

    /// Scores, softmax and output of one block of queries, N vectors of them.
    #[inline(always)]
    unsafe fn block<const N: usize>(&self, first: usize, count: usize) {
        let width = N * S::LANES;
        // Scores in units of ln 2: softmax then takes powers of two.
        let scale = (self.head_dim as f32).powf(-0.5) * std::f32::consts::LOG2_E;
        let memory = self.memory;
        // SAFETY: the caller's.
        unsafe {
            self.transposed(self.q, first, count, memory.queries, width, scale);
            let most = self.scores::<N>();
            let mut total = [S::splat(0.0); N];
            for (k, keys) in blocks(self.len, KEY_BLOCK) {
                let scores = memory.scores.add(k * width);
                let part = exp2_columns::<S, N>(scores, keys, &most);
                for (t, p) in total.iter_mut().zip(&part) {
                    *t = S::add(*t, *p);
                }
                self.values::<N>(k, keys, scores);
            }
            for f in self.offset..self.offset + self.head_dim {
                for (j, t) in total.iter().enumerate() {
                    let at = memory.output.add(f * width + j * S::LANES);
                    S::store(at, S::div(S::load(at), *t));
                }
            }
            self.give::<N>(first, count);
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

    /// Puts the block's output where its queries were.
    #[inline(always)]
    unsafe fn give<const N: usize>(&self, first: usize, count: usize) {
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
                        std::ptr::copy_nonoverlapping(square.add(at), to.add(at), features);
                    }
                }
            }
        }
    }
}

/// `len` in blocks of `most`, the last one shorter: (start, length).
#[inline(always)]
fn blocks(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len)
        .step_by(most)
        .map(move |start| (start, most.min(len - start)))
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
