//! The product of rows with packed weights.
//!
//! Panels are streamed through in order; the inner dimension is worked in blocks whose
//! depth depends on the layer alone, each summed in one accumulator per element in ascending order.
//! What follows a product (bias, GELU, residual) is done while a tile's sums are at hand.

use super::blocking::{SPAN, block_depth, keeps_sums};
use super::prefetch::{Ahead, Coming};
use super::{Linear, Panels};
use crate::ops::math;
use crate::ops::matrix::{Chunked, RowMajor};
use crate::ops::simd::{Kernel, Simd};
use crate::ops::tile::{self, MAX_ROWS, MAX_WIDTH, with_rows};
use std::mem::MaybeUninit;

/// Where a product goes, from its first row on.
#[derive(Clone, Copy)]
pub(in crate::ops) enum Target {
    /// `x·Wᵀ + b`, padding included.
    Chunks(Chunked),
    /// `gelu(x·Wᵀ + b)`, padding included.
    Gelu(Chunked),
    /// Added to what is there, without padding.
    Add(RowMajor),
}

/// How a tile's sums over one block of the inner dimension come about.
pub(super) trait Arithmetic<S: Simd>: Copy {
    /// Sums of M rows with a tile's columns.
    ///
    /// # Safety
    /// The block's `a` holds `chunks` chunks of M rows, `b` as many steps of a tile's width; the
    /// processor has the instructions of `S` and of the arithmetic.
    unsafe fn sums<const M: usize>(self, block: &Block) -> [[S::V; tile::VECTORS]; M];
}

/// One tile's part of one block of the inner dimension.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "some fields are for fixed point")
)]
pub(super) struct Block {
    /// Which block.
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
    /// What comes after it.
    pub(super) ahead: Ahead,
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
            ahead,
            ..
        } = *block;
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [[S::splat(0.0); tile::VECTORS]; M];
            accumulate_chunks::<S, M, { tile::VECTORS }>(chunks, a, a_chunk, b, ahead, &mut acc);
            acc
        }
    }
}

/// Accumulates `chunks · LANES` steps of rows in chunks (see `rows`) into `acc`.
///
/// Row i of step k is `a[k / LANES · a_chunk + i · LANES + k % LANES]`; column j is
/// `b[k · N · LANES + j]`. What comes after is asked for meanwhile.
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
    mut ahead: Ahead,
    acc: &mut [[S::V; N]; M],
) {
    let (mut a, mut b) = (a, b);
    for chunk in 1..=chunks {
        ahead.ask::<S, M>((chunk < chunks).then_some(a.wrapping_add(a_chunk)));
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
    pub(super) linear: &'a Linear,
    /// In steps.
    pub(super) x: Chunked,
    pub(super) rows: usize,
    pub(super) target: Target,
    /// Sums so far, `[panel, row, width]`.
    pub(super) partial: *mut f32,
    /// One block of a panel, for weights stored in half precision.
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
    /// As for `Linear::apply`; the processor has the instructions of `S` and of the arithmetic.
    #[inline(always)]
    pub(super) unsafe fn work<S: Simd, A: Arithmetic<S>>(self, arithmetic: A) {
        let MatMul {
            linear,
            x,
            rows,
            target,
            partial,
            widened,
        } = self;
        let (steps, width) = (linear.steps, linear.width);
        let (full, keeps_sums) = (block_depth(steps), keeps_sums(steps));
        let mut start = 0;
        while start < steps {
            let end = steps.min(start + SPAN * full);
            for panel in 0..linear.bias.len() / width {
                let partial = match keeps_sums {
                    true => partial.wrapping_add(panel * rows * width),
                    false => partial,
                };
                let mut k = start;
                while k < end {
                    let depth = full.min(end - k);
                    let at = panel * steps * width + k * width;
                    // SAFETY: the panel holds `steps` steps, `depth` of which start at k;
                    // `widened` holds as many.
                    let b = unsafe { panel_block::<S>(&linear.panels, at, depth * width, widened) };
                    let (next_panel, next) = match () {
                        () if k + depth < end => (panel, k + depth),
                        () if (panel + 1) * width < linear.bias.len() => (panel + 1, start),
                        () => (0, end),
                    };
                    let mut coming = linear.coming(next_panel, next);
                    let mut tiles = rows.div_ceil(S::ROWS);
                    let chunks = depth / S::LANES;
                    let (first, last) = (k == 0, k + depth == steps);
                    for (row, height) in tile::heights(rows, S::ROWS) {
                        let partial = partial.wrapping_add(row * width);
                        let finish = Finish {
                            bias: linear.bias[panel * width..].as_ptr(),
                            target,
                            row,
                            column: panel * width,
                            columns: width.min(linear.outputs - panel * width),
                        };
                        let weights = coming.split(tiles);
                        tiles -= 1;
                        let ahead = Ahead {
                            rows: match row + height < rows {
                                true => x.at.wrapping_add(k * x.stride + (row + height) * S::LANES),
                                false => x.at.wrapping_add(next * x.stride),
                            },
                            weights,
                            portion: weights.portion(chunks),
                            sums: match (last, k == start && keeps_sums) {
                                (true, _) => finish.coming::<S>(height),
                                (_, true) => Coming::new(partial, width, S::LANES, height),
                                _ => Coming::nothing(b),
                            },
                        };
                        let job = Tile {
                            block: Block {
                                index: k / full,
                                row,
                                panel,
                                chunks,
                                a: x.at.wrapping_add(k * x.stride + row * S::LANES),
                                a_chunk: x.stride * S::LANES,
                                b,
                                ahead,
                            },
                            partial,
                            first,
                            last,
                            finish,
                        };
                        // SAFETY: the tile's rows and columns lie inside x, the panel, the sums
                        // and the target; sums are written before they are read.
                        unsafe { with_rows!(height, M, { job.run::<S, A, M>(arithmetic) }) }
                    }
                    k += depth;
                }
            }
            start = end;
        }
    }
}

/// A block of a panel as the tile wants it, widened into the buffer when it is stored in half
/// precision.
///
/// # Safety
/// `at + len` lies inside the panels, `len` is a multiple of the lanes, the buffer holds `len`,
/// and the processor has the instructions of `S`.
#[inline(always)]
unsafe fn panel_block<S: Simd>(
    panels: &Panels,
    at: usize,
    len: usize,
    buffer: &mut [f32],
) -> *const f32 {
    match panels {
        Panels::F32(p) => p.as_slice()[at..at + len].as_ptr(),
        Panels::F16(p) => {
            let from = p.as_slice()[at..at + len].as_ptr();
            for i in (0..len).step_by(S::LANES) {
                // SAFETY: i + LANES ≤ len.
                unsafe { S::store(buffer.as_mut_ptr().add(i), S::load_f16(from.add(i))) }
            }
            buffer.as_ptr()
        }
        Panels::Bf16(p) => {
            let from = p.as_slice()[at..at + len].as_ptr();
            for i in (0..len).step_by(S::LANES) {
                // SAFETY: i + LANES ≤ len.
                unsafe { S::store(buffer.as_mut_ptr().add(i), S::load_bf16(from.add(i))) }
            }
            buffer.as_ptr()
        }
        #[cfg(target_arch = "x86_64")]
        Panels::Fixed(p) => p.steps.as_slice()[at..at + len].as_ptr().cast(),
    }
}

/// One output tile of one block of the inner dimension.
struct Tile {
    block: Block,
    /// `[M, width]`.
    partial: *mut f32,
    first: bool,
    last: bool,
    finish: Finish,
}

impl Tile {
    /// # Safety
    /// The block's as for [`Arithmetic::sums`]; `bias` holds `width` elements; `partial` is writable for M rows, and holds the sums so far unless this is the first
    /// block; the target has M rows from `row` on and `columns` columns from `column` on.
    #[inline(always)]
    unsafe fn run<S: Simd, A: Arithmetic<S>, const M: usize>(&self, arithmetic: A) {
        let width = tile::width::<S>();
        // SAFETY: the caller's.
        unsafe {
            let acc = arithmetic.sums::<M>(&self.block);
            // Simple loops alone touch the accumulators, so that they stay in registers.
            let mut sums = MaybeUninit::<Sums>::uninit();
            let to = match self.last {
                true => sums.as_mut_ptr().cast::<f32>(),
                false => self.partial,
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
                        S::store(to.add(at), S::add(S::load(self.partial.add(at)), *v));
                    }
                }
            }
            if self.last {
                self.finish.run::<S>(M, sums.as_ptr().cast());
            }
        }
    }
}

/// What is done with the sums of some rows and a tile's columns.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    pub(super) bias: *const f32,
    pub(super) target: Target,
    /// The first row.
    pub(super) row: usize,
    /// The first column.
    pub(super) column: usize,
    /// Columns that the target has from there on, padding not counted.
    pub(super) columns: usize,
}

impl Finish {
    /// Adds the bias and does what the target wants.
    ///
    /// # Safety
    /// `sums` holds `rows` rows of a tile's width, `bias` one; the target has the rows and
    /// `columns` columns (in chunks: the tile's); the processor has the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(&self, rows: usize, sums: *const f32) {
        let width = tile::width::<S>();
        // SAFETY: the caller's.
        unsafe {
            for j in (0..width).step_by(S::LANES) {
                let bias = S::load(self.bias.add(j));
                for i in 0..rows {
                    let y = S::add(S::load(sums.add(i * width + j)), bias);
                    match self.target {
                        Target::Chunks(to) => S::store(self.chunk::<S>(to, i, j), y),
                        Target::Gelu(to) => {
                            S::store(self.chunk::<S>(to, i, j), math::gelu::<S>(y));
                        }
                        Target::Add(to) => self.add::<S>(to, i, j, y),
                    }
                }
            }
        }
    }

    /// What it will write.
    #[inline(always)]
    fn coming<S: Simd>(&self, rows: usize) -> Coming {
        match self.target {
            Target::Chunks(to) | Target::Gelu(to) => {
                let at = self.chunk::<S>(to, 0, 0);
                Coming::new(at, S::LANES, to.stride * S::LANES, rows)
            }
            Target::Add(to) => {
                let at = to.skip(self.row).at.wrapping_add(self.column);
                Coming::new(at, to.width, S::LANES, rows)
            }
        }
    }

    /// Where vector `j / LANES` of row i goes.
    #[inline(always)]
    fn chunk<S: Simd>(&self, to: Chunked, i: usize, j: usize) -> *mut f32 {
        to.at
            .wrapping_add((self.column + j) * to.stride + (self.row + i) * S::LANES)
    }

    /// # Safety
    /// As [`Finish::run`].
    #[inline(always)]
    unsafe fn add<S: Simd>(&self, to: RowMajor, i: usize, j: usize, y: S::V) {
        let at = to.skip(self.row + i).at.wrapping_add(self.column + j);
        // SAFETY: the caller's: `columns` elements of the row.
        unsafe {
            if j + S::LANES <= self.columns {
                S::store(at, S::add(y, S::load(at)));
                return;
            }
            // The last panel of an output width that is no multiple of the tile's.
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
