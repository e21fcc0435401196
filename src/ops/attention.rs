//! Self-attention of packed sequences: `softmax(q·kᵀ)·v`, each sequence over its own tokens.
//!
//! A head of a sequence is worked through in blocks of queries, one tile width each. Scores are
//! held transposed, `[keys, queries]`: softmax then runs down the columns with one query a
//! lane, no reduction crosses lanes, and the probabilities already lie as the second product
//! wants them. Memory is linear in the length of the longest sequence. Tiling depends on the
//! sequence alone, so its bits do not depend on its neighbours.

use super::math;
use super::rotary::RotaryTable;
use super::scratch;
use super::simd::{CpuPath, Kernel, Simd};
use super::tile::{self, MAX_ROWS, MAX_WIDTH, with_rows};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape};

/// Keys whose probabilities are summed before the sum joins the total: bounds the rounding
/// error of long sequences.
const SUM_BLOCK: usize = 128;

/// Attention over `[T, 3·heads·head_dim]` (q, k and v side by side) → `[T, heads·head_dim]`.
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
}

impl CustomOp1 for &Attention<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let qkv = super::contiguous(s, l)?;
        let dim = self.heads * self.head_dim;
        let (tokens, width) = l.shape().dims2()?;
        let covered = self.cu_seqlens.first() == Some(&0)
            && self.cu_seqlens.last() == Some(&tokens)
            && self.cu_seqlens.is_sorted();
        if width != 3 * dim || !covered {
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
        let sizes = Sizes::new(self, longest.unwrap_or_default());
        let out = scratch::with(sizes.total(), |buffer| {
            scratch::uninit(tokens * dim, |out| {
                self.path.dispatch(Forward {
                    attention: self,
                    qkv,
                    out,
                    buffer,
                })
            })
        });
        Ok((CpuStorage::F32(out), Shape::from_dims(&[tokens, dim])))
    }
}

struct Forward<'a> {
    attention: &'a Attention<'a>,
    qkv: &'a [f32],
    /// `[T, heads · head_dim]`, possibly uninitialised.
    out: *mut f32,
    /// Working memory for the longest sequence.
    buffer: &'a mut [f32],
}

/// Floats of working memory that one head of one sequence needs.
struct Sizes {
    /// Keys in tiles, `[len, head_dim]`.
    keys: usize,
    /// Values, `[len, padded head_dim]`.
    values: usize,
    /// One block of queries, `[head_dim, width]`.
    queries: usize,
    /// Its scores, `[len, width]`.
    scores: usize,
    /// One rotated row.
    row: usize,
}

impl Sizes {
    fn new(attention: &Attention<'_>, len: usize) -> Sizes {
        let head_dim = attention.head_dim;
        Sizes {
            keys: len * head_dim,
            values: len * head_dim.next_multiple_of(MAX_WIDTH / tile::VECTORS),
            queries: head_dim * MAX_WIDTH,
            scores: len * MAX_WIDTH,
            row: head_dim,
        }
    }

    fn total(&self) -> usize {
        self.keys + self.values + self.queries + self.scores + self.row
    }
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Attention {
            heads, head_dim, ..
        } = *self.attention;
        let dim = heads * head_dim;
        for bounds in self.attention.cu_seqlens.windows(2) {
            let (start, len) = (bounds[0], bounds[1] - bounds[0]);
            for head in 0..heads {
                let sizes = Sizes::new(self.attention, len);
                let job = Head {
                    qkv: &self.qkv[start * 3 * dim..(start + len) * 3 * dim],
                    len,
                    column: head * head_dim,
                    dim,
                    head_dim,
                    rotary: self.attention.rotary,
                    out: self.out.wrapping_add(start * dim + head * head_dim),
                };
                // SAFETY: the instructions are the caller's; the head's output rows lie inside
                // `[T, heads · head_dim]`.
                unsafe { job.run::<S>(&sizes, self.buffer) }
            }
        }
    }
}

/// One head of one sequence.
struct Head<'a> {
    /// `[len, 3 · dim]`.
    qkv: &'a [f32],
    len: usize,
    /// First column of this head in q; k and v follow `dim` and `2 · dim` later.
    column: usize,
    dim: usize,
    head_dim: usize,
    rotary: Option<&'a RotaryTable>,
    /// Rows `dim` apart.
    out: *mut f32,
}

impl Head<'_> {
    /// # Safety
    /// `out` is writable for `len` rows of `head_dim` elements, and the processor has the
    /// instructions of `S`.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, sizes: &Sizes, buffer: &mut [f32]) {
        let width = tile::width::<S>();
        let padded = self.head_dim.next_multiple_of(S::LANES);
        let (keys, rest) = buffer.split_at_mut(sizes.keys);
        let (values, rest) = rest.split_at_mut(sizes.values);
        let (queries, rest) = rest.split_at_mut(sizes.queries);
        let (scores, rest) = rest.split_at_mut(sizes.scores);
        let row = &mut rest[..sizes.row];
        self.pack_keys(S::ROWS, keys, row);
        self.pack_values(padded, values);
        for q0 in (0..self.len).step_by(width) {
            let count = width.min(self.len - q0);
            // A short last block of one vector's width is worked with one vector a row.
            if count <= S::LANES {
                self.pack_queries(q0, count, S::LANES, queries, row);
                // SAFETY: the buffers hold what was packed for one vector a row.
                unsafe { self.block::<S, 1>(q0, count, keys, values, padded, queries, scores) }
            } else {
                self.pack_queries(q0, count, width, queries, row);
                // SAFETY: the buffers hold what was packed for two vectors a row.
                unsafe { self.block::<S, 2>(q0, count, keys, values, padded, queries, scores) }
            }
        }
    }

    /// A token's q (part 0) or k (part 1), rotated where the model does so.
    #[inline(always)]
    fn rotated(&self, token: usize, part: usize, scale: f32, row: &mut [f32]) {
        let at = token * 3 * self.dim + part * self.dim + self.column;
        let x = &self.qkv[at..at + self.head_dim];
        match self.rotary {
            Some(table) => table.rotate(token, scale, x, row),
            None => row.iter_mut().zip(x).for_each(|(y, x)| *y = x * scale),
        }
    }

    /// Keys as `[tile][feature][key of the tile]`.
    #[inline(always)]
    fn pack_keys(&self, most: usize, keys: &mut [f32], row: &mut [f32]) {
        for (start, height) in tile::heights(self.len, most) {
            let tile = &mut keys[start * self.head_dim..(start + height) * self.head_dim];
            for i in 0..height {
                self.rotated(start + i, 1, 1.0, row);
                for (step, x) in tile.chunks_exact_mut(height).zip(row.iter()) {
                    step[i] = *x;
                }
            }
        }
    }

    /// Values as `[key][feature]`, features padded with zeros to whole vectors.
    #[inline(always)]
    fn pack_values(&self, padded: usize, values: &mut [f32]) {
        let column = 2 * self.dim + self.column;
        for (to, from) in values
            .chunks_exact_mut(padded)
            .zip(self.qkv.chunks_exact(3 * self.dim))
        {
            to[..self.head_dim].copy_from_slice(&from[column..column + self.head_dim]);
            to[self.head_dim..].fill(0.0);
        }
    }

    /// Queries as `[feature][query]`, scaled by head_dim^−½ before rotation, missing ones zero.
    #[inline(always)]
    fn pack_queries(
        &self,
        q0: usize,
        count: usize,
        width: usize,
        queries: &mut [f32],
        row: &mut [f32],
    ) {
        let scale = (self.head_dim as f32).powf(-0.5);
        let queries = &mut queries[..self.head_dim * width];
        if count < width {
            queries.fill(0.0);
        }
        for i in 0..count {
            self.rotated(q0 + i, 0, scale, row);
            for (step, x) in queries.chunks_exact_mut(width).zip(row.iter()) {
                step[i] = *x;
            }
        }
    }

    /// Scores, softmax and output of one block of queries, N vectors of them.
    ///
    /// # Safety
    /// As [`Head::run`]; the buffers hold this head's packed operands.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn block<S: Simd, const N: usize>(
        &self,
        q0: usize,
        count: usize,
        keys: &[f32],
        values: &[f32],
        padded: usize,
        queries: &[f32],
        scores: &mut [f32],
    ) {
        let width = N * S::LANES;
        let (len, head_dim) = (self.len, self.head_dim);
        let scores = scores.as_mut_ptr();

        for (start, height) in tile::heights(len, S::ROWS) {
            let a = keys[start * head_dim..].as_ptr();
            let to = scores.wrapping_add(start * width);
            with_rows!(height, M, {
                // SAFETY: the tile's keys and the queries are `head_dim` steps long; the scores
                // hold `len · width` elements.
                unsafe {
                    let mut acc = [[S::splat(0.0); N]; M];
                    let b = queries.as_ptr();
                    tile::accumulate::<S, M, N>(head_dim, a, M, b, width, &mut acc);
                    for (i, row) in acc.iter().enumerate() {
                        for (j, v) in row.iter().enumerate() {
                            S::store(to.add(i * width + j * S::LANES), *v);
                        }
                    }
                }
            });
        }

        let mut sums = [0.0f32; MAX_WIDTH];
        // SAFETY: `len · width` scores; MAX_WIDTH ≥ width.
        unsafe { softmax_columns::<S, N>(len, scores, &mut sums) };

        for (row, height) in tile::heights(count, S::ROWS) {
            let a = scores.wrapping_add(row);
            let mut column = 0;
            while column < padded {
                let vectors = if column + 2 * S::LANES <= padded {
                    2
                } else {
                    1
                };
                let target = Target {
                    a,
                    a_stride: width,
                    b: values[column..].as_ptr(),
                    b_stride: padded,
                    len,
                    sums: &sums[row..],
                    out: self.out.wrapping_add((q0 + row) * self.dim + column),
                    out_stride: self.dim,
                    columns: (vectors * S::LANES).min(head_dim - column),
                };
                with_rows!(height, M, {
                    // SAFETY: `len` steps of probabilities and values; the rows and columns of
                    // the target lie inside this head's output.
                    unsafe {
                        if vectors == 2 {
                            target.run::<S, M, 2>();
                        } else {
                            target.run::<S, M, 1>();
                        }
                    }
                });
                column += vectors * S::LANES;
            }
        }
    }
}

/// Replaces scores `[len, N·LANES]` by exp(score − column maximum) and returns the column sums.
///
/// # Safety
/// `scores` holds `len` rows, `sums` N·LANES elements, and the processor has the instructions
/// of `S`.
#[inline(always)]
unsafe fn softmax_columns<S: Simd, const N: usize>(len: usize, scores: *mut f32, sums: &mut [f32]) {
    let width = N * S::LANES;
    // SAFETY: the caller's.
    unsafe {
        let mut most = [S::splat(f32::NEG_INFINITY); N];
        for key in 0..len {
            for (j, m) in most.iter_mut().enumerate() {
                *m = S::max(*m, S::load(scores.add(key * width + j * S::LANES)));
            }
        }
        let mut total = [S::splat(0.0); N];
        let mut key = 0;
        while key < len {
            let end = len.min(key + SUM_BLOCK);
            let mut part = [S::splat(0.0); N];
            while key < end {
                for j in 0..N {
                    let at = scores.add(key * width + j * S::LANES);
                    let p = math::exp_nonpositive::<S>(S::sub(S::load(at), most[j]));
                    part[j] = S::add(part[j], p);
                    S::store(at, p);
                }
                key += 1;
            }
            for (t, p) in total.iter_mut().zip(&part) {
                *t = S::add(*t, *p);
            }
        }
        for (j, t) in total.iter().enumerate() {
            S::store(sums.as_mut_ptr().add(j * S::LANES), *t);
        }
    }
}

/// A tile of output: probabilities times values, divided by the sums.
struct Target<'a> {
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    len: usize,
    sums: &'a [f32],
    out: *mut f32,
    out_stride: usize,
    columns: usize,
}

impl Target<'_> {
    /// # Safety
    /// `a` and `b` are readable for `len` steps of M rows and N vectors, `out` is writable for M
    /// rows of `columns` elements, and the processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn run<S: Simd, const M: usize, const N: usize>(&self) {
        // SAFETY: the caller's; the edge buffer holds MAX_ROWS × MAX_WIDTH.
        unsafe {
            let mut acc = [[S::splat(0.0); N]; M];
            tile::accumulate::<S, M, N>(
                self.len,
                self.a,
                self.a_stride,
                self.b,
                self.b_stride,
                &mut acc,
            );
            let mut edge = [0.0f32; MAX_ROWS * MAX_WIDTH];
            let full = self.columns == N * S::LANES;
            for (i, row) in acc.iter().enumerate() {
                let sum = S::splat(self.sums[i]);
                for (j, v) in row.iter().enumerate() {
                    let to = if full {
                        self.out.add(i * self.out_stride + j * S::LANES)
                    } else {
                        edge.as_mut_ptr().add(i * MAX_WIDTH + j * S::LANES)
                    };
                    S::store(to, S::div(*v, sum));
                }
            }
            if !full {
                for i in 0..M {
                    for j in 0..self.columns {
                        *self.out.add(i * self.out_stride + j) = edge[i * MAX_WIDTH + j];
                    }
                }
            }
        }
    }
}
