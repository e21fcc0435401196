//! `y = x·Wᵀ + b`, with GELU or the residual added on the way out.
//!
//! x is `[T, K]` row-major, W is `[N, K]` as checkpoints store it, y is `[T, N]`. At load W is
//! cut into panels of tile width, each stored `[K][width]`, so that the inner loop streams it.
//! K is walked in fixed blocks: a block is summed in one accumulator, k ascending, and
//! blocks are added up in order in y. The order of additions is the same whatever T is.

use super::math;
use super::scratch;
use super::simd::{CpuPath, Kernel, Simd};
use super::tile::{self, MAX_ROWS, MAX_WIDTH, with_rows};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape};
use half::{bf16, f16};

/// Steps of K between two visits of an output tile, at most: a panel block of 32 KiB (AVX-512).
const DEPTH: usize = 256;
/// Rows of x packed at a time: 14·36, half a MiB of L2 at [`DEPTH`].
const BLOCK: usize = 504;

/// The blocks of K, of nearly equal depth: (start, depth).
fn depths(inputs: usize) -> impl Iterator<Item = (usize, usize)> {
    tile::heights(inputs, DEPTH)
}

/// How the packed weights are stored. Arithmetic is f32 in every case.
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
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

/// A linear layer with its weights packed for one [`CpuPath`].
pub struct Linear {
    path: CpuPath,
    inputs: usize,
    outputs: usize,
    width: usize,
    panels: Panels,
    /// Padded with zeros to whole panels.
    bias: Vec<f32>,
}

/// What happens to an output tile before it is stored.
#[derive(Clone, Copy)]
enum Epilogue<'a> {
    Bias,
    Gelu,
    Residual(&'a [f32]),
}

impl Linear {
    /// Packs a layer of `inputs → outputs` features.
    ///
    /// `row(n, buffer)` writes the `inputs` weights of output n into the buffer; rows are asked
    /// for in order, each once.
    ///
    /// # Errors
    /// Whatever `row` returns.
    pub fn pack<E>(
        path: CpuPath,
        weight_type: WeightType,
        inputs: usize,
        outputs: usize,
        bias: &[f32],
        mut row: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Linear, E> {
        let width = path.dispatch(Width);
        let padded = outputs.next_multiple_of(width);
        let mut panels = match weight_type {
            WeightType::F32 => Panels::F32(vec![0.0; padded * inputs]),
            WeightType::F16 => Panels::F16(vec![f16::ZERO; padded * inputs]),
            WeightType::Bf16 => Panels::Bf16(vec![bf16::ZERO; padded * inputs]),
        };
        // A panel's rows are gathered first and interleaved together: the writes are then
        // sequential.
        let mut rows = vec![0.0f32; width * inputs];
        for panel in 0..padded / width {
            rows.fill(0.0);
            for (j, buffer) in rows.chunks_exact_mut(inputs).enumerate() {
                let n = panel * width + j;
                if n < outputs {
                    row(n, buffer)?;
                }
            }
            let block = panel * width * inputs..(panel + 1) * width * inputs;
            match &mut panels {
                Panels::F32(p) => interleave(&rows, inputs, width, &mut p[block], |x| x),
                Panels::F16(p) => interleave(&rows, inputs, width, &mut p[block], f16::from_f32),
                Panels::Bf16(p) => interleave(&rows, inputs, width, &mut p[block], bf16::from_f32),
            }
        }
        let mut padded_bias = vec![0.0; padded];
        for (to, from) in padded_bias.iter_mut().zip(bias) {
            *to = *from;
        }
        Ok(Linear {
            path,
            inputs,
            outputs,
            width,
            panels,
            bias: padded_bias,
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
        }
    }

    fn forward(&self, x: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
        let tokens = x.len() / self.inputs.max(1);
        let packed = BLOCK.min(tokens) * DEPTH.min(self.inputs);
        let widened = DEPTH.min(self.inputs) * self.width;
        scratch::with(packed + widened, |buffer| {
            let (packed, widened) = buffer.split_at_mut(packed);
            scratch::uninit(tokens * self.outputs, |out| {
                self.path.dispatch(Forward {
                    linear: self,
                    x,
                    tokens,
                    epilogue,
                    out,
                    packed,
                    widened,
                });
            })
        })
    }

    fn input<'a>(
        &self,
        storage: &'a CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<&'a [f32]> {
        let x = super::contiguous(storage, layout)?;
        if layout.dims().last() != Some(&self.inputs) {
            candle_core::bail!(
                "linear layer of {} inputs was given {:?}",
                self.inputs,
                layout.dims()
            );
        }
        Ok(x)
    }

    fn output_shape(&self, layout: &Layout) -> Shape {
        let mut dims = layout.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = self.outputs;
        }
        Shape::from_dims(&dims)
    }
}

/// x·Wᵀ + b: `[T, K] → [T, N]`.
impl CustomOp1 for &Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = self.forward(self.input(s, l)?, Epilogue::Bias);
        Ok((CpuStorage::F32(out), self.output_shape(l)))
    }
}

/// x·Wᵀ + b + residual: `[T, K], [T, N] → [T, N]`.
impl CustomOp2 for &Linear {
    fn name(&self) -> &'static str {
        "linear_residual"
    }

    fn cpu_fwd(
        &self,
        s: &CpuStorage,
        l: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = self.input(s, l)?;
        let residual = super::contiguous(residual, residual_layout)?;
        let shape = self.output_shape(l);
        if residual.len() != shape.elem_count() {
            candle_core::bail!(
                "residual has {:?}, wanted {shape:?}",
                residual_layout.dims()
            );
        }
        let out = self.forward(x, Epilogue::Residual(residual));
        Ok((CpuStorage::F32(out), shape))
    }
}

/// gelu(x·Wᵀ + b): `[T, K] → [T, N]`.
pub struct LinearGelu<'a>(pub &'a Linear);

impl CustomOp1 for LinearGelu<'_> {
    fn name(&self) -> &'static str {
        "linear_gelu"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = self.0.forward(self.0.input(s, l)?, Epilogue::Gelu);
        Ok((CpuStorage::F32(out), self.0.output_shape(l)))
    }
}

fn interleave<T>(
    rows: &[f32],
    inputs: usize,
    width: usize,
    panel: &mut [T],
    convert: impl Fn(f32) -> T,
) {
    for (k, step) in panel.chunks_exact_mut(width).enumerate() {
        for (j, to) in step.iter_mut().enumerate() {
            *to = convert(rows[j * inputs + k]);
        }
    }
}

struct Width;

impl Kernel for Width {
    type Output = usize;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> usize {
        tile::width::<S>()
    }
}

struct Forward<'a> {
    linear: &'a Linear,
    x: &'a [f32],
    tokens: usize,
    epilogue: Epilogue<'a>,
    /// `[T, N]`, possibly uninitialised.
    out: *mut f32,
    /// One block of x, [`BLOCK`] rows by [`DEPTH`].
    packed: &'a mut [f32],
    /// One block of a panel, for weights stored in half precision.
    widened: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Forward {
            linear,
            x,
            tokens,
            epilogue,
            out,
            packed,
            widened,
        } = self;
        let (inputs, outputs, width) = (linear.inputs, linear.outputs, linear.width);
        for (k0, depth) in depths(inputs) {
            let (first, last) = (k0 == 0, k0 + depth == inputs);
            for t0 in (0..tokens).step_by(BLOCK) {
                let rows = BLOCK.min(tokens - t0);
                pack_rows(&x[t0 * inputs..], inputs, k0, depth, rows, S::ROWS, packed);
                for panel in 0..outputs.div_ceil(width) {
                    let at = (panel * inputs + k0) * width;
                    // SAFETY: the panel holds `inputs · width` weights, `depth` steps of which
                    // start at k0; `widened` holds as many.
                    let b = unsafe { panel_f32::<S>(&linear.panels, at, depth * width, widened) };
                    let n0 = panel * width;
                    let columns = width.min(outputs - n0);
                    let mut done = 0;
                    for (row, height) in tile::heights(rows, S::ROWS) {
                        let offset = (t0 + row) * outputs + n0;
                        let job = Tile {
                            depth,
                            a: packed[done..].as_ptr(),
                            b,
                            bias: linear.bias[n0..].as_ptr(),
                            out: out.wrapping_add(offset),
                            stride: outputs,
                            columns,
                            first,
                            last,
                            epilogue,
                            offset,
                        };
                        done += height * depth;
                        // SAFETY: the tile's rows and columns lie inside x, the panel and y;
                        // every element of y is written at the first K block before it is read
                        // at a later one.
                        unsafe { with_rows!(height, M, { job.run::<S, M>() }) }
                    }
                }
            }
        }
    }
}

/// Copies a block of x to `[tile][k][row of the tile]`.
fn pack_rows(
    x: &[f32],
    stride: usize,
    k0: usize,
    depth: usize,
    rows: usize,
    most: usize,
    packed: &mut [f32],
) {
    let mut done = 0;
    for (row, height) in tile::heights(rows, most) {
        let tile = &mut packed[done..done + height * depth];
        for i in 0..height {
            let from = &x[(row + i) * stride + k0..][..depth];
            for (step, value) in tile.chunks_exact_mut(height).zip(from) {
                step[i] = *value;
            }
        }
        done += height * depth;
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
        Panels::F32(p) => p[at..at + len].as_ptr(),
        Panels::F16(p) => {
            let from = p[at..at + len].as_ptr();
            for i in (0..len).step_by(S::LANES) {
                // SAFETY: i + LANES ≤ len.
                unsafe { S::store(buffer.as_mut_ptr().add(i), S::load_f16(from.add(i))) }
            }
            buffer.as_ptr()
        }
        Panels::Bf16(p) => {
            let from = p[at..at + len].as_ptr();
            for i in (0..len).step_by(S::LANES) {
                // SAFETY: i + LANES ≤ len.
                unsafe { S::store(buffer.as_mut_ptr().add(i), S::load_bf16(from.add(i))) }
            }
            buffer.as_ptr()
        }
    }
}

/// One output tile of one K block.
struct Tile<'a> {
    depth: usize,
    a: *const f32,
    b: *const f32,
    bias: *const f32,
    out: *mut f32,
    stride: usize,
    columns: usize,
    first: bool,
    last: bool,
    epilogue: Epilogue<'a>,
    /// Of the tile's first element, for the residual.
    offset: usize,
}

impl Tile<'_> {
    /// # Safety
    /// `a` holds `depth · M` elements, `b` `depth · width`, `bias` `width`; `out` is writable for
    /// M rows of `columns` elements, and holds the sums so far unless this is the first block.
    #[inline(always)]
    unsafe fn run<S: Simd, const M: usize>(self) {
        // SAFETY: the caller's contract, and the edge buffer is MAX_ROWS × MAX_WIDTH.
        unsafe {
            let width = tile::width::<S>();
            if self.columns == width {
                self.run_full::<S, M>(
                    self.out,
                    self.stride,
                    match self.epilogue {
                        Epilogue::Residual(r) => r.as_ptr().wrapping_add(self.offset),
                        _ => std::ptr::null(),
                    },
                );
                return;
            }
            // The last panel of an output width that is no multiple of the tile's: through a
            // buffer, so that nothing beyond the row is touched.
            let mut edge = [0.0f32; MAX_ROWS * MAX_WIDTH];
            let mut residual = [0.0f32; MAX_ROWS * MAX_WIDTH];
            for i in 0..M {
                for j in 0..self.columns {
                    if !self.first {
                        edge[i * MAX_WIDTH + j] = *self.out.add(i * self.stride + j);
                    }
                    if let Epilogue::Residual(r) = self.epilogue {
                        residual[i * MAX_WIDTH + j] = r[self.offset + i * self.stride + j];
                    }
                }
            }
            let residual_stride = residual.as_ptr();
            self.run_full::<S, M>(edge.as_mut_ptr(), MAX_WIDTH, residual_stride);
            for i in 0..M {
                for j in 0..self.columns {
                    *self.out.add(i * self.stride + j) = edge[i * MAX_WIDTH + j];
                }
            }
        }
    }

    /// # Safety
    /// As [`Tile::run`], with `out` (and the residual, when there is one) of full width.
    #[inline(always)]
    unsafe fn run_full<S: Simd, const M: usize>(
        &self,
        out: *mut f32,
        stride: usize,
        residual: *const f32,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [[S::splat(0.0); tile::VECTORS]; M];
            let width = tile::width::<S>();
            tile::accumulate::<S, M, { tile::VECTORS }>(
                self.depth, self.a, M, self.b, width, &mut acc,
            );
            for (i, row) in acc.iter().enumerate() {
                for (j, v) in row.iter().enumerate() {
                    let at = i * stride + j * S::LANES;
                    let mut y = *v;
                    if !self.first {
                        y = S::add(S::load(out.add(at)), y);
                    }
                    if self.last {
                        y = S::add(y, S::load(self.bias.add(j * S::LANES)));
                        y = match self.epilogue {
                            Epilogue::Bias => y,
                            Epilogue::Gelu => math::gelu::<S>(y),
                            Epilogue::Residual(_) => S::add(y, S::load(residual.add(at))),
                        };
                    }
                    S::store(out.add(at), y);
                }
            }
        }
    }
}
