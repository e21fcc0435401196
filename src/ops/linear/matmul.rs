//! The product of rows with packed weights.
//!
//! Panels are streamed through in order. The inner dimension is cut into blocks whose depth depends
//! only on the layer; each is summed in one accumulator per element, in ascending order. What
//! follows a product (bias, GELU, residual) is done while the sums of a tile are in the cache.

use super::blocking::SPAN;
use super::panels::Packed;
use super::prefetch::TilePrefetch;
use crate::ops::math;
use crate::ops::matrix::{Chunked, ChunkedMut, Chunks, Extent};
use crate::ops::prefetch::Prefetch;
use crate::ops::simd::{Kernel, Simd};
use crate::ops::tile::{self, MAX_ROWS, MAX_WIDTH, with_rows};
use std::mem::MaybeUninit;

/// Where a product goes.
pub(in crate::ops) enum Target<'a> {
    /// `x·Wᵀ + b`, padding included.
    Chunks(ChunkedMut<'a>),
    /// `gelu(x·Wᵀ + b)`, padding included.
    Gelu(ChunkedMut<'a>),
    /// `silu(a)·g` of `x·Wᵀ + b`, padding included: the first vector of each tile is a, the second g
    /// (see [`gated_row`](super::gated_row)).
    SwiGlu(ChunkedMut<'a>),
    /// Multiplied by the factor, then added to these rows `[rows, outputs]`, which have no padding.
    Add(&'a mut [f32], f32),
}

/// A [`Target`] whose size has been checked.
#[derive(Clone, Copy)]
enum Destination {
    Chunks(Chunks),
    Gelu(Chunks),
    SwiGlu(Chunks),
    Add(Residual),
}

/// Rows that a product is added to.
#[derive(Clone, Copy)]
struct Residual {
    at: *mut f32,
    /// Elements of a row.
    outputs: usize,
    /// The factor of the product.
    scale: f32,
}

impl Target<'_> {
    /// # Panics
    /// The target is smaller than a product of `rows` rows.
    fn checked(self, rows: usize, lanes: usize, weights: &Packed) -> Destination {
        let outputs = weights.size.outputs;
        let fits = |e: Extent| e.lanes == lanes && e.rows >= rows && e.features() >= outputs;
        match self {
            Target::Chunks(mut to) => {
                assert!(fits(to.extent()));
                Destination::Chunks(to.chunks())
            }
            Target::Gelu(mut to) => {
                assert!(fits(to.extent()));
                Destination::Gelu(to.chunks())
            }
            Target::SwiGlu(mut to) => {
                let e = to.extent();
                assert!(e.lanes == lanes && e.rows >= rows && 2 * e.features() >= outputs);
                Destination::SwiGlu(to.chunks())
            }
            Target::Add(to, scale) => {
                assert!(to.len() >= rows * weights.outputs);
                Destination::Add(Residual {
                    at: to.as_mut_ptr(),
                    outputs: weights.outputs,
                    scale,
                })
            }
        }
    }
}

/// How a tile's sums over one block of the inner dimension are computed.
pub(super) trait Arithmetic<S: Simd>: Copy {
    /// Sums of M rows with a tile's columns.
    ///
    /// # Safety
    /// The block's `a` holds `chunks` chunks of M rows, `b` the same steps of a tile's width; the
    /// processor has the instructions of `S` and of the arithmetic.
    unsafe fn sums<const M: usize>(self, block: &Block) -> [[S::V; tile::VECTORS]; M];
}

/// One tile's part of one block of the inner dimension.
pub(super) struct Block {
    /// Index of the block.
    pub(super) index: usize,
    /// Its first row and its panel.
    pub(super) row: usize,
    pub(super) panel: usize,
    /// Steps, in vectors.
    pub(super) chunks: usize,
    /// Its rows, in chunks that are `a_chunk` apart.
    pub(super) a: *const f32,
    pub(super) a_chunk: usize,
    /// Its weights, `[step, width]`.
    pub(super) b: *const f32,
    /// What the tiles after it need.
    pub(super) prefetch: TilePrefetch,
}

/// Products and sums in f32.
#[derive(Clone, Copy)]
pub(super) struct Float;

impl<S: Simd> Arithmetic<S> for Float {
    #[inline(always)]
    unsafe fn sums<const M: usize>(self, block: &Block) -> [[S::V; tile::VECTORS]; M] {
        let Block {
            chunks,
            a,
            a_chunk,
            b,
            prefetch,
            ..
        } = *block;
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [[S::splat(0.0); tile::VECTORS]; M];
            accumulate_chunks::<S, M, { tile::VECTORS }>(chunks, a, a_chunk, b, prefetch, &mut acc);
            acc
        }
    }
}

/// Accumulates `chunks · LANES` steps of rows in chunks (see `matrix`) into `acc`.
///
/// Row i of step k is `a[k / LANES · a_chunk + i · LANES + k % LANES]`; column j is
/// `b[k · N · LANES + j]`. What comes next is prefetched meanwhile.
///
/// # Safety
/// `a` is readable for `M` rows of every chunk and `b` for `N · LANES` elements at every step,
/// and the processor has the instructions of `S`.
#[inline(always)]
unsafe fn accumulate_chunks<S: Simd, const M: usize, const N: usize>(
    chunks: usize,
    a: *const f32,
    a_chunk: usize,
    b: *const f32,
    mut prefetch: TilePrefetch,
    acc: &mut [[S::V; N]; M],
) {
    let (mut a, mut b) = (a, b);
    for chunk in 1..=chunks {
        prefetch.request::<S, M>((chunk < chunks).then_some(a.wrapping_add(a_chunk)));
        for k in 0..S::steps() {
            // SAFETY: within the chunk's rows and the step's columns by the caller's contract.
            unsafe {
                let mut columns = [S::splat(0.0); N];
                for (j, column) in columns.iter_mut().enumerate() {
                    *column = S::load(b.add(j * S::LANES));
                }
                for (i, row) in acc.iter_mut().enumerate() {
                    let x = S::splat(*a.add(i * S::LANES + k));
                    for (sum, column) in row.iter_mut().zip(&columns) {
                        *sum = S::fma(x, *column, *sum);
                    }
                }
            }
            b = b.wrapping_add(N * S::LANES);
        }
        a = a.wrapping_add(a_chunk);
    }
}

/// A product, to be run by the linear layer's path.
pub(super) struct MatMul<'a> {
    pub(super) weights: &'a Packed,
    /// Its features are the steps of the inner dimension.
    pub(super) x: Chunked<'a>,
    pub(super) target: Target<'a>,
    /// Sums so far, `[panel, row, width]`: see `LinearSize::sums`.
    pub(super) sums: &'a mut [f32],
    /// One block of a panel, for weights that are stored in half precision.
    pub(super) widened: &'a mut [f32],
}

impl Kernel for MatMul<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's.
        unsafe { self.work::<S, Float>(Float) }
    }
}

impl MatMul<'_> {
    /// # Safety
    /// The processor has the instructions of `S` and of the arithmetic.
    ///
    /// # Panics
    /// The rows, the target or the working memory are too small for the product.
    #[inline(always)]
    pub(super) unsafe fn work<S: Simd, A: Arithmetic<S>>(self, arithmetic: A) {
        let MatMul {
            weights,
            x,
            target,
            sums,
            widened,
        } = self;
        let Extent { rows, lanes, .. } = x.extent();
        let (steps, width) = (weights.size.steps, weights.size.width);
        assert!(lanes == S::LANES && width == tile::width::<S>());
        assert!(x.extent().features() >= steps && sums.len() >= weights.size.sums(rows));
        let target = target.checked(rows, lanes, weights);
        let (x, sums) = (x.chunks(), sums.as_mut_ptr());
        let (full, keeps_sums) = (weights.size.depth, weights.size.keeps_sums());
        let mut start = 0;
        while start < steps {
            let end = steps.min(start + SPAN * full);
            for panel in 0..weights.bias.len() / width {
                let sums = match keeps_sums {
                    true => sums.wrapping_add(panel * rows * width),
                    false => sums,
                };
                let mut k = start;
                while k < end {
                    let depth = full.min(end - k);
                    let at = panel * steps * width + k * width;
                    // SAFETY: the caller's.
                    let b = unsafe { weights.block::<S>(at, depth * width, widened) };
                    let (next_panel, next) = match () {
                        () if k + depth < end => (panel, k + depth),
                        () if (panel + 1) * width < weights.bias.len() => (panel + 1, start),
                        () => (0, end),
                    };
                    let mut next_weights = weights.prefetch(next_panel, next);
                    let mut tiles = rows.div_ceil(S::ROWS);
                    let chunks = depth / S::LANES;
                    let (first, last) = (k == 0, k + depth == steps);
                    for (row, height) in tile::heights(rows, S::ROWS) {
                        let sums = sums.wrapping_add(row * width);
                        let finish = Finish {
                            bias: weights.bias[panel * width..].as_ptr(),
                            target,
                            row,
                            column: panel * width,
                            columns: width.min(weights.outputs - panel * width),
                        };
                        let of_tile = next_weights.split(tiles);
                        tiles -= 1;
                        let prefetch = TilePrefetch {
                            rows: match row + height < rows {
                                true => x.at.wrapping_add(k * x.stride + (row + height) * S::LANES),
                                false => x.at.wrapping_add(next * x.stride),
                            },
                            weights: of_tile,
                            portion: of_tile.portion(chunks),
                            sums: match (last, k == start && keeps_sums) {
                                (true, _) => finish.prefetch::<S>(height),
                                (_, true) => Prefetch::new(sums, width, S::LANES, height),
                                _ => Prefetch::nothing(b),
                            },
                        };
                        let tile = Tile {
                            block: Block {
                                index: k / full,
                                row,
                                panel,
                                chunks,
                                a: x.at.wrapping_add(k * x.stride + row * S::LANES),
                                a_chunk: x.stride * S::LANES,
                                b,
                                prefetch,
                            },
                            sums,
                            first,
                            last,
                            finish,
                        };
                        // SAFETY: the tile's rows and columns are inside x, the panel, the sums
                        // and the target, as checked; sums are written before they are read.
                        unsafe { with_rows!(height, M, { tile.run::<S, A, M>(arithmetic) }) }
                    }
                    k += depth;
                }
            }
            start = end;
        }
    }
}

/// One output tile of one block of the inner dimension.
struct Tile {
    block: Block,
    /// Sums so far, `[M, width]`.
    sums: *mut f32,
    first: bool,
    last: bool,
    finish: Finish,
}

impl Tile {
    /// # Safety
    /// As for [`Arithmetic::sums`] and [`Finish::run`]; `sums` is writable for M rows, and holds
    /// the sums so far unless this is the first block.
    #[inline(always)]
    unsafe fn run<S: Simd, A: Arithmetic<S>, const M: usize>(&self, arithmetic: A) {
        let width = tile::width::<S>();
        // SAFETY: the caller's.
        unsafe {
            let acc = arithmetic.sums::<M>(&self.block);
            // Only simple loops touch the accumulators, so that they stay in registers.
            let mut complete = MaybeUninit::<Sums>::uninit();
            let to = match self.last {
                true => complete.as_mut_ptr().cast::<f32>(),
                false => self.sums,
            };
            if self.first {
                for (i, row) in acc.iter().enumerate() {
                    for (j, v) in row.iter().enumerate() {
                        S::store(to.add(i * width + j * S::LANES), *v);
                    }
                }
            } else {
                for (i, row) in acc.iter().enumerate() {
                    for (j, v) in row.iter().enumerate() {
                        let at = i * width + j * S::LANES;
                        S::store(to.add(at), S::add(S::load(self.sums.add(at)), *v));
                    }
                }
            }
            if self.last {
                self.finish.run::<S>(M, complete.as_ptr().cast());
            }
        }
    }
}

/// What is done with the complete sums of some rows and a tile's columns.
#[derive(Clone, Copy)]
struct Finish {
    bias: *const f32,
    target: Destination,
    /// The first row.
    row: usize,
    /// The first column.
    column: usize,
    /// Columns of the target from there on, without padding.
    columns: usize,
}

impl Finish {
    /// Adds the bias and writes what the target says.
    ///
    /// # Safety
    /// `sums` holds `rows` rows of a tile's width, `bias` one; the target has the rows and
    /// `columns` columns (in chunks: the tile's); the processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, rows: usize, sums: *const f32) {
        let width = tile::width::<S>();
        // SAFETY: the caller's.
        unsafe {
            if let Destination::SwiGlu(to) = self.target {
                let biases = [S::load(self.bias), S::load(self.bias.add(S::LANES))];
                for i in 0..rows {
                    let a = S::add(S::load(sums.add(i * width)), biases[0]);
                    let g = S::add(S::load(sums.add(i * width + S::LANES)), biases[1]);
                    S::store(self.gated_chunk::<S>(to, i), S::mul(math::silu::<S>(a), g));
                }
                return;
            }
            for j in (0..width).step_by(S::LANES) {
                let bias = S::load(self.bias.add(j));
                for i in 0..rows {
                    let y = S::add(S::load(sums.add(i * width + j)), bias);
                    match self.target {
                        Destination::Chunks(to) => S::store(self.chunk::<S>(to, i, j), y),
                        Destination::Gelu(to) => {
                            S::store(self.chunk::<S>(to, i, j), math::gelu::<S>(y));
                        }
                        // Written above.
                        Destination::SwiGlu(_) => {}
                        Destination::Add(to) => self.add::<S>(to, i, j, y),
                    }
                }
            }
        }
    }

    /// What it will write.
    #[inline(always)]
    fn prefetch<S: Simd>(&self, rows: usize) -> Prefetch {
        match self.target {
            Destination::Chunks(to) | Destination::Gelu(to) => {
                let at = self.chunk::<S>(to, 0, 0);
                Prefetch::new(at, S::LANES, to.stride * S::LANES, rows)
            }
            Destination::SwiGlu(to) => {
                Prefetch::new(self.gated_chunk::<S>(to, 0), S::LANES, 0, rows)
            }
            Destination::Add(to) => {
                let at = to.at.wrapping_add(self.row * to.outputs + self.column);
                Prefetch::new(at, to.outputs, S::LANES, rows)
            }
        }
    }

    /// Where vector `j / LANES` of row i goes.
    #[inline(always)]
    fn chunk<S: Simd>(&self, to: Chunks, i: usize, j: usize) -> *mut f32 {
        to.at
            .wrapping_add((self.column + j) * to.stride + (self.row + i) * S::LANES)
    }

    /// Where the one vector that a tile leaves of row i goes.
    #[inline(always)]
    fn gated_chunk<S: Simd>(&self, to: Chunks, i: usize) -> *mut f32 {
        to.at
            .wrapping_add(self.column / tile::VECTORS * to.stride + (self.row + i) * S::LANES)
    }

    /// # Safety
    /// As [`Finish::run`].
    #[inline(always)]
    unsafe fn add<S: Simd>(&self, to: Residual, i: usize, j: usize, y: S::V) {
        let row = (self.row + i) * to.outputs;
        let at = to.at.wrapping_add(row + self.column + j);
        // SAFETY: the caller's: `columns` elements of the row.
        unsafe {
            // A factor of 1 changes no bit.
            let y = S::mul(y, S::splat(to.scale));
            if j + S::LANES <= self.columns {
                S::store(at, S::add(y, S::load(at)));
                return;
            }
            // The last panel of an output width that is not a multiple of the tile's.
            let mut edge = [0.0f32; MAX_WIDTH];
            S::store(edge.as_mut_ptr(), y);
            for (i, y) in edge[..self.columns.saturating_sub(j)].iter().enumerate() {
                *at.add(i) += *y;
            }
        }
    }
}

/// The sums of a tile, `[M, width]`.
#[repr(align(64))]
struct Sums(#[allow(dead_code)] [f32; MAX_ROWS * MAX_WIDTH]);
