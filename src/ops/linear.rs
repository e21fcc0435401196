//! Linear layers: `y = x·Wᵀ + b`, with what follows done while the sums are in registers.
//!
//! Weights are packed once, in panels of one tile's width, `[panel, inputs, width]`: a product
//! streams through them in order. The inner dimension is worked in blocks of fixed depth that
//! depend on the layer alone, each summed in one accumulator per element in ascending order;
//! a row's bits therefore depend on the row alone.

use super::buffer::{Buffer, scratch};
#[cfg(target_arch = "x86_64")]
use super::halves;
use super::math;
use super::rows::{Chunked, RowMajor, padded};
use super::simd::{CpuPath, Kernel, Simd};
use super::tile::{self, MAX_ROWS, MAX_WIDTH, with_rows};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape};
use half::{bf16, f16};
use std::mem::MaybeUninit;
use thiserror::Error;

/// Steps of the inner dimension that are summed in registers: one panel's block of them, 32 KiB
/// at 32 columns, stays in the first-level cache for all rows. Short sums also round less.
const DEPTH: usize = 256;

/// Steps of the inner dimension that all panels see before the next: [`ROW_BLOCK`] rows of them
/// stay in the second-level cache.
const SPAN: usize = 3 * DEPTH;

/// Rows that are worked together: many, to read each weight seldom; few, for the caches.
pub(super) const ROW_BLOCK: usize = 252;

/// How the packed weights are stored. Arithmetic is f32 in every case but one: half precision on
/// [`CpuPath::Avx512Fp16`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// 4 bytes a weight, exactly the checkpoint's values for f32, f16 and bf16 checkpoints.
    F32,
    /// 2 bytes a weight, rounded to half precision.
    F16,
    /// 2 bytes a weight, rounded to bfloat16.
    Bf16,
}

enum Panels {
    F32(Buffer<f32>),
    F16(Buffer<f16>),
    Bf16(Buffer<bf16>),
    /// In panels of [`halves::WIDTH`] columns, for arithmetic in half precision.
    #[cfg(target_arch = "x86_64")]
    Halves(Buffer<f16>),
}

/// Why a layer could not be packed.
#[derive(Debug, Error)]
pub enum PackError<E> {
    /// The weights could not be had.
    #[error(transparent)]
    Weights(E),
    /// There is no memory for them.
    #[error("no memory for {bytes} bytes of packed weights: {source}")]
    Memory {
        /// What was asked for.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A linear layer with its weights packed for one [`CpuPath`].
pub struct Linear {
    path: CpuPath,
    inputs: usize,
    outputs: usize,
    /// Inputs with their padding.
    depth: usize,
    width: usize,
    panels: Panels,
    /// Padded with zeros to whole panels.
    bias: Vec<f32>,
}

/// Features of a [`Linear`] with their padding, and how it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinearSize {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    width: usize,
    in_halves: bool,
}

impl LinearSize {
    /// Of a layer that is yet to be packed.
    pub(super) fn new(
        path: CpuPath,
        weight_type: WeightType,
        inputs: usize,
        outputs: usize,
    ) -> LinearSize {
        LinearSize {
            inputs: padded(inputs, path),
            outputs: padded(outputs, path),
            width: padded(1, path),
            in_halves: in_halves(path, weight_type),
        }
    }

    /// Floats of working memory that a product of `rows` rows needs.
    pub(super) fn scratch(&self, rows: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.in_halves {
            return halves::scratch(self.inputs, rows);
        }
        let panels = match self.inputs > SPAN {
            true => self.outputs,
            false => self.width,
        };
        rows * panels + DEPTH.min(self.inputs) * self.width
    }
}

/// Whether weights of this type are packed for arithmetic in half precision.
fn in_halves(path: CpuPath, weight_type: WeightType) -> bool {
    path == CpuPath::Avx512Fp16 && path.is_available() && weight_type == WeightType::F16
}

/// Where a product goes, from its first row on.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// `x·Wᵀ + b`, padding included.
    Chunks(Chunked),
    /// `gelu(x·Wᵀ + b)`, padding included.
    Gelu(Chunked),
    /// Added to what is there, without padding.
    Add(RowMajor),
}

impl Linear {
    /// Packs a layer of `inputs → outputs` features.
    ///
    /// `row(n, buffer)` writes the `inputs` weights of output n into the buffer; rows are asked
    /// for in order, each once.
    ///
    /// # Errors
    /// Whatever `row` returns, or no memory.
    pub fn pack<E>(
        path: CpuPath,
        weight_type: WeightType,
        inputs: usize,
        outputs: usize,
        bias: &[f32],
        mut row: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Linear, PackError<E>> {
        let width = padded(1, path);
        let depth = padded(inputs, path);
        let len = padded(outputs, path).saturating_mul(depth);
        #[cfg(target_arch = "x86_64")]
        if in_halves(path, weight_type) {
            return Linear::pack_halves(inputs, outputs, bias, row);
        }
        let mut panels = match weight_type {
            WeightType::F32 => Panels::F32(zeroed(len)?),
            WeightType::F16 => Panels::F16(zeroed(len)?),
            WeightType::Bf16 => Panels::Bf16(zeroed(len)?),
        };
        // A panel's rows are gathered first and interleaved together: the writes are then
        // sequential.
        let mut rows = vec![0.0f32; width * depth];
        for panel in 0..outputs.div_ceil(width) {
            for (j, buffer) in rows.chunks_exact_mut(depth).enumerate() {
                let n = panel * width + j;
                if n < outputs {
                    row(n, &mut buffer[..inputs]).map_err(PackError::Weights)?;
                } else {
                    buffer.fill(0.0);
                }
            }
            let block = panel * width * depth..(panel + 1) * width * depth;
            match &mut panels {
                Panels::F32(p) => path.dispatch(Interleave {
                    rows: &rows,
                    depth,
                    panel: &mut p.as_mut_slice()[block],
                }),
                Panels::F16(p) => {
                    let panel = &mut p.as_mut_slice()[block];
                    interleave(&rows, depth, width, panel, f16::from_f32);
                }
                Panels::Bf16(p) => {
                    let panel = &mut p.as_mut_slice()[block];
                    interleave(&rows, depth, width, panel, bf16::from_f32);
                }
                #[cfg(target_arch = "x86_64")]
                Panels::Halves(_) => {} // packed apart
            }
        }
        Ok(Linear {
            path,
            inputs,
            outputs,
            depth,
            width,
            panels,
            bias: padded_bias(bias, outputs, path),
        })
    }

    /// The same for arithmetic in half precision.
    #[cfg(target_arch = "x86_64")]
    fn pack_halves<E>(
        inputs: usize,
        outputs: usize,
        bias: &[f32],
        mut row: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Linear, PackError<E>> {
        let path = CpuPath::Avx512Fp16;
        let depth = padded(inputs, path);
        let len = outputs
            .next_multiple_of(halves::WIDTH)
            .saturating_mul(depth);
        let mut panels = zeroed::<f16, E>(len)?;
        let mut rows = vec![0.0f32; halves::WIDTH * depth];
        for (panel, to) in panels
            .as_mut_slice()
            .chunks_exact_mut(halves::WIDTH * depth)
            .enumerate()
        {
            for (j, buffer) in rows.chunks_exact_mut(depth).enumerate() {
                let n = panel * halves::WIDTH + j;
                if n < outputs {
                    row(n, &mut buffer[..inputs]).map_err(PackError::Weights)?;
                } else {
                    buffer.fill(0.0);
                }
            }
            interleave(&rows, depth, halves::WIDTH, to, f16::from_f32);
        }
        Ok(Linear {
            path,
            inputs,
            outputs,
            depth,
            width: padded(1, path),
            panels: Panels::Halves(panels),
            bias: padded_bias(bias, outputs, path),
        })
    }

    /// Input features K.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Output features N.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(p) => p.len() * 4,
            Panels::F16(p) => p.len() * 2,
            Panels::Bf16(p) => p.len() * 2,
            #[cfg(target_arch = "x86_64")]
            Panels::Halves(p) => p.len() * 2,
        }
    }

    /// Input features with their padding, as the rows that [`Linear::apply`] reads have them.
    pub(super) fn padded_inputs(&self) -> usize {
        self.depth
    }

    /// Output features with their padding, as a chunked target has them.
    pub(super) fn padded_outputs(&self) -> usize {
        self.bias.len()
    }

    /// What its working memory depends on.
    pub(super) fn size(&self) -> LinearSize {
        LinearSize {
            inputs: self.depth,
            outputs: self.bias.len(),
            width: self.width,
            #[cfg(target_arch = "x86_64")]
            in_halves: matches!(self.panels, Panels::Halves(_)),
            #[cfg(not(target_arch = "x86_64"))]
            in_halves: false,
        }
    }

    /// The weights of a panel from step k on, to be asked for in portions of `steps` steps.
    fn block(&self, panel: usize, k: usize, steps: usize) -> Coming {
        let (data, size) = match &self.panels {
            Panels::F32(p) => (p.as_slice().as_ptr().cast::<u8>(), 4),
            Panels::F16(p) => (p.as_slice().as_ptr().cast::<u8>(), 2),
            Panels::Bf16(p) => (p.as_slice().as_ptr().cast::<u8>(), 2),
            #[cfg(target_arch = "x86_64")]
            Panels::Halves(p) => (p.as_slice().as_ptr().cast::<u8>(), 2),
        };
        let left = self.depth.saturating_sub(k).min(DEPTH);
        Coming {
            at: data.wrapping_add((panel * self.depth + k) * self.width * size),
            bytes: left * self.width * size,
            portion: steps * self.width * size,
        }
    }

    /// Floats of working memory that a product of `rows` rows needs.
    pub(super) fn scratch(&self, rows: usize) -> usize {
        self.size().scratch(rows)
    }

    /// Multiplies `rows` rows.
    ///
    /// # Safety
    /// `x` is readable for `rows` rows of [`Linear::padded_inputs`] features, and the target is
    /// writable (for [`Target::Add`] also initialised) for as many rows of its features; nobody
    /// else uses the target's rows.
    pub(super) unsafe fn apply(
        &self,
        x: Chunked,
        rows: usize,
        target: Target,
        scratch: &mut [f32],
    ) {
        assert!(scratch.len() >= self.scratch(rows));
        #[cfg(target_arch = "x86_64")]
        if let Panels::Halves(panels) = &self.panels {
            let product = halves::HalfProduct {
                panels: panels.as_slice(),
                depth: self.depth,
                bias: &self.bias,
                outputs: self.outputs,
                x,
                rows,
                target,
                scratch,
            };
            // SAFETY: the caller's; such panels are packed where the processor has AVX512-FP16.
            return unsafe { product.run() };
        }
        let (widened, partial) = scratch.split_at_mut(DEPTH.min(self.depth) * self.width);
        self.path.dispatch(Apply {
            linear: self,
            x,
            rows,
            target,
            partial: partial.as_mut_ptr(),
            widened,
        });
    }
}

fn padded_bias(bias: &[f32], outputs: usize, path: CpuPath) -> Vec<f32> {
    let mut all = vec![0.0; padded(outputs, path)];
    for (to, from) in all.iter_mut().zip(bias) {
        *to = *from;
    }
    all
}

fn zeroed<T: super::buffer::Number, E>(len: usize) -> Result<Buffer<T>, PackError<E>> {
    Buffer::zeroed(len).map_err(|source| PackError::Memory {
        bytes: len.saturating_mul(size_of::<T>()),
        source,
    })
}

/// x·Wᵀ + b of plain tensors: `[T, K] → [T, N]`.
impl CustomOp1 for &Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = super::contiguous(s, l)?;
        let (tokens, inputs) = l.shape().dims2()?;
        if inputs != self.inputs {
            candle_core::bail!(
                "linear layer of {} inputs was given {:?}",
                self.inputs,
                l.dims()
            );
        }
        let lanes = self.width / tile::VECTORS;
        let mut out = vec![0.0; tokens * self.outputs];
        for (start, rows) in tile::heights(tokens, ROW_BLOCK) {
            let length = rows * self.depth;
            scratch(length + self.scratch(rows), |buffer| {
                let (chunks, rest) = buffer.split_at_mut(length);
                chunks.fill(0.0);
                for t in 0..rows {
                    let row = &x[(start + t) * inputs..][..inputs];
                    for (f, value) in row.iter().enumerate() {
                        chunks[(f / lanes * rows + t) * lanes + f % lanes] = *value;
                    }
                }
                let x = Chunked {
                    at: chunks.as_mut_ptr(),
                    stride: rows,
                };
                let target = Target::Add(RowMajor {
                    at: out[start * self.outputs..].as_mut_ptr(),
                    width: self.outputs,
                });
                // SAFETY: x holds `rows` padded rows, the target as many of N zeros.
                unsafe { self.apply(x, rows, target, rest) }
            });
        }
        let shape = Shape::from_dims(&[tokens, self.outputs]);
        Ok((CpuStorage::F32(out), shape))
    }
}

fn interleave<T>(
    rows: &[f32],
    depth: usize,
    width: usize,
    panel: &mut [T],
    convert: impl Fn(f32) -> T,
) {
    for (k, step) in panel.chunks_exact_mut(width).enumerate() {
        for (j, to) in step.iter_mut().enumerate() {
            *to = convert(rows[j * depth + k]);
        }
    }
}

/// Rows `[width, depth]` → panel `[depth, width]`.
struct Interleave<'a> {
    rows: &'a [f32],
    depth: usize,
    panel: &'a mut [f32],
}

impl Kernel for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = tile::width::<S>();
        assert!(self.rows.len() == width * self.depth && self.panel.len() == self.rows.len());
        for k in (0..self.depth).step_by(S::LANES) {
            for j in (0..width).step_by(S::LANES) {
                // SAFETY: LANES rows from j on and LANES columns from k on lie inside, because
                // width and depth are multiples of LANES.
                unsafe {
                    let from = self.rows.as_ptr().add(j * self.depth + k);
                    let to = self.panel.as_mut_ptr().add(k * width + j);
                    S::transpose(from, self.depth, to, width);
                }
            }
        }
    }
}

/// Weights that the next block of a product needs: the processor fetches ahead within a page at
/// best, and waiting for memory at the start of every block would cost a tenth.
struct Coming {
    at: *const u8,
    bytes: usize,
    portion: usize,
}

impl Coming {
    /// Asks for the next portion.
    #[inline(always)]
    fn ask<S: Simd>(&mut self) {
        let now = self.portion.min(self.bytes);
        for byte in (0..now).step_by(64) {
            S::prefetch(self.at.wrapping_add(byte));
        }
        self.at = self.at.wrapping_add(now);
        self.bytes -= now;
    }
}

struct Apply<'a> {
    linear: &'a Linear,
    x: Chunked,
    rows: usize,
    target: Target,
    /// Sums so far, `[panel, row, width]`.
    partial: *mut f32,
    /// One block of a panel, for weights stored in half precision.
    widened: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Apply {
            linear,
            x,
            rows,
            target,
            partial,
            widened,
        } = self;
        let (inputs, width) = (linear.depth, linear.width);
        let mut start = 0;
        while start < inputs {
            let end = inputs.min(start + SPAN);
            for panel in 0..linear.bias.len() / width {
                let partial = match inputs > SPAN {
                    true => partial.wrapping_add(panel * rows * width),
                    false => partial,
                };
                let mut k = start;
                while k < end {
                    let depth = DEPTH.min(end - k);
                    let at = panel * inputs * width + k * width;
                    // SAFETY: the panel holds `inputs` steps, `depth` of which start at k;
                    // `widened` holds DEPTH.
                    let b = unsafe { panel_f32::<S>(&linear.panels, at, depth * width, widened) };
                    let coming = match () {
                        () if k + depth < end => (panel, k + depth),
                        () if (panel + 1) * width < linear.bias.len() => (panel + 1, start),
                        () => (0, end),
                    };
                    let tiles = rows.div_ceil(S::ROWS);
                    let mut coming = linear.block(coming.0, coming.1, DEPTH.div_ceil(tiles));
                    for (row, height) in tile::heights(rows, S::ROWS) {
                        coming.ask::<S>();
                        let job = Tile {
                            chunks: depth / S::LANES,
                            a: x.at.wrapping_add(k * x.stride + row * S::LANES),
                            a_chunk: x.stride * S::LANES,
                            b,
                            partial: partial.wrapping_add(row * width),
                            first: k == 0,
                            last: k + depth == inputs,
                            finish: Finish {
                                bias: linear.bias[panel * width..].as_ptr(),
                                target,
                                row,
                                column: panel * width,
                                columns: width.min(linear.outputs - panel * width),
                            },
                        };
                        // SAFETY: the tile's rows and columns lie inside x, the panel, the sums
                        // and the target; sums are written before they are read.
                        unsafe { with_rows!(height, M, { job.run::<S, M>() }) }
                    }
                    k += depth;
                }
            }
            start = end;
        }
    }
}

/// The panel block as f32, widened into the buffer when it is stored in half precision.
///
/// # Safety
/// `at + len` lies inside the panels, `len` is a multiple of the lanes, the buffer holds `len`,
/// and the processor has the instructions of `S`.
#[inline(always)]
unsafe fn panel_f32<S: Simd>(
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
        Panels::Halves(_) => unreachable!("products in half precision have their own kernel"),
    }
}

/// One output tile of one block of the inner dimension.
struct Tile {
    chunks: usize,
    a: *const f32,
    a_chunk: usize,
    b: *const f32,
    /// `[M, width]`.
    partial: *mut f32,
    first: bool,
    last: bool,
    finish: Finish,
}

impl Tile {
    /// # Safety
    /// `a` holds `chunks` chunks of M rows, `b` as many steps of `width`, `bias` `width`;
    /// `partial` is writable for M rows, and holds the sums so far unless this is the first
    /// block; the target has M rows from `row` on and `columns` columns from `column` on.
    #[inline(always)]
    unsafe fn run<S: Simd, const M: usize>(&self) {
        const N: usize = tile::VECTORS;
        let width = tile::width::<S>();
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [[S::splat(0.0); N]; M];
            tile::accumulate_chunks::<S, M, N>(self.chunks, self.a, self.a_chunk, self.b, &mut acc);
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
