//! Linear layers: `y = x·Wᵀ + b`, with what follows done while the sums are in registers.
//!
//! Weights are packed once, in panels of one tile's width, `[panel, inputs, width]`. A row's bits
//! depend on the row alone: see `product`.

mod blocking;
#[cfg(target_arch = "x86_64")]
mod fixed_point;
mod matmul;
mod prefetch;

pub(super) use blocking::row_block;
pub(super) use matmul::Target;

use crate::ops::buffer::{Buffer, Number, scratch};
use crate::ops::matrix::{Chunked, RowMajor, padded};
use crate::ops::simd::{CpuPath, Kernel, Simd};
use crate::ops::tile;
use blocking::{block_depth, keeps_sums};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape};
#[cfg(target_arch = "x86_64")]
use fixed_point::{self as fixed, FixedPanels};
use half::{bf16, f16};
use matmul::MatMul;
use prefetch::Coming;
use thiserror::Error;

/// How the packed weights are stored. Arithmetic is f32 in every case but one: [`WeightType::F16`]
/// is fixed point of 16 bits on [`CpuPath::Avx512Vnni`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// 4 bytes a weight, exactly the checkpoint's values for f32, f16 and bf16 checkpoints.
    F32,
    /// 2 bytes a weight, rounded to half precision (in fixed point: to 16 bits with a scale of
    /// their own for every 512 weights of an output).
    F16,
    /// 2 bytes a weight, rounded to bfloat16.
    Bf16,
}

enum Panels {
    F32(Buffer<f32>),
    F16(Buffer<f16>),
    Bf16(Buffer<bf16>),
    #[cfg(target_arch = "x86_64")]
    Fixed(FixedPanels),
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
    /// Of the inner dimension: see `product::block_depth`.
    steps: usize,
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
    steps: usize,
    width: usize,
    kind: Kind,
}

/// What working memory depends on besides the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F32,
    Widened,
    Fixed,
}

impl LinearSize {
    /// Of a layer that is yet to be packed.
    pub(super) fn new(
        path: CpuPath,
        weight_type: WeightType,
        inputs: usize,
        outputs: usize,
    ) -> LinearSize {
        let (inputs, kind) = (padded(inputs, path), Kind::of(path, weight_type));
        LinearSize {
            inputs,
            outputs: padded(outputs, path),
            steps: kind.steps(inputs),
            width: padded(1, path),
            kind,
        }
    }

    /// Floats of working memory that a product of `rows` rows needs.
    pub(super) fn scratch(&self, rows: usize) -> usize {
        let panels = match keeps_sums(self.steps) {
            true => self.outputs,
            false => self.width,
        };
        rows * panels + self.operands(rows)
    }

    /// Those of them that hold operands: a widened block of weights, or rows as integers.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
    fn operands(&self, rows: usize) -> usize {
        match self.kind {
            Kind::F32 => 0,
            Kind::Widened => block_depth(self.steps) * self.width,
            #[cfg(target_arch = "x86_64")]
            Kind::Fixed => fixed::scratch(self.steps, rows),
            #[cfg(not(target_arch = "x86_64"))]
            Kind::Fixed => 0,
        }
    }
}

impl Kind {
    fn of(path: CpuPath, weight_type: WeightType) -> Kind {
        match weight_type {
            WeightType::F32 => Kind::F32,
            WeightType::F16 if path.in_fixed_point() => Kind::Fixed,
            WeightType::F16 | WeightType::Bf16 => Kind::Widened,
        }
    }

    /// Steps of so many padded features.
    fn steps(self, features: usize) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kind::Fixed => features / fixed::PAIR,
            _ => features,
        }
    }
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
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
        let LinearSize {
            inputs: depth,
            steps,
            width,
            kind,
            ..
        } = LinearSize::new(path, weight_type, inputs, outputs);
        let count = outputs.div_ceil(width);
        let len = count.saturating_mul(width).saturating_mul(depth);
        let mut panels = match weight_type {
            #[cfg(target_arch = "x86_64")]
            WeightType::F16 if kind == Kind::Fixed => {
                Panels::Fixed(FixedPanels::zeroed(count, steps).map_err(no_memory(len * 2))?)
            }
            WeightType::F32 => Panels::F32(zeroed(len)?),
            WeightType::F16 => Panels::F16(zeroed(len)?),
            WeightType::Bf16 => Panels::Bf16(zeroed(len)?),
        };
        // A panel's rows are gathered first and interleaved together: the writes are then
        // sequential.
        let mut rows = vec![0.0f32; width * depth];
        #[cfg(target_arch = "x86_64")]
        let mut pairs = vec![
            0.0f32;
            if kind == Kind::Fixed {
                width * steps
            } else {
                0
            }
        ];
        for panel in 0..count {
            for (j, buffer) in rows.chunks_exact_mut(depth).enumerate() {
                let n = panel * width + j;
                if n < outputs {
                    row(n, &mut buffer[..inputs]).map_err(PackError::Weights)?;
                } else {
                    buffer.fill(0.0);
                }
            }
            let block = panel * width * steps..(panel + 1) * width * steps;
            match &mut panels {
                Panels::F32(p) => path.dispatch(Interleave {
                    rows: &rows,
                    depth,
                    panel: p.fresh(block),
                }),
                Panels::F16(p) => {
                    let panel = p.fresh(block);
                    interleave(&rows, depth, width, panel, f16::from_f32);
                }
                Panels::Bf16(p) => {
                    let panel = p.fresh(block);
                    interleave(&rows, depth, width, panel, bf16::from_f32);
                }
                #[cfg(target_arch = "x86_64")]
                Panels::Fixed(p) => {
                    p.round(panel, &rows, &mut pairs);
                    path.dispatch(Interleave {
                        rows: &pairs,
                        depth: steps,
                        panel: p.steps.fresh(block),
                    });
                }
            }
        }
        Ok(Linear {
            path,
            inputs,
            outputs,
            depth,
            steps,
            width,
            panels,
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
            Panels::Fixed(p) => p.bytes(),
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
            steps: self.steps,
            kind: match &self.panels {
                Panels::F32(_) => Kind::F32,
                Panels::F16(_) | Panels::Bf16(_) => Kind::Widened,
                #[cfg(target_arch = "x86_64")]
                Panels::Fixed(_) => Kind::Fixed,
            },
        }
    }

    /// The weights of a panel's block from step k on; none beyond the last step.
    fn coming(&self, panel: usize, k: usize) -> Coming {
        fn of<T: Number>(panels: &Buffer<T>, at: usize, width: usize, steps: usize) -> Coming {
            let from = panels.as_slice().as_ptr().wrapping_add(at);
            Coming::new(from, width, width / tile::VECTORS, steps)
        }
        let at = (panel * self.steps + k) * self.width;
        let steps = self.steps.saturating_sub(k).min(block_depth(self.steps));
        match &self.panels {
            Panels::F32(p) => of(p, at, self.width, steps),
            Panels::F16(p) => of(p, at, self.width, steps),
            Panels::Bf16(p) => of(p, at, self.width, steps),
            #[cfg(target_arch = "x86_64")]
            Panels::Fixed(p) => of(&p.steps, at, self.width, steps),
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
        if let Panels::Fixed(panels) = &self.panels {
            // SAFETY: the caller's; such panels are packed where the processor has AVX-512 VNNI.
            return unsafe { fixed::apply(self, panels, x, rows, target, scratch) };
        }
        let (widened, partial) = scratch.split_at_mut(self.size().operands(rows));
        self.path.dispatch(MatMul {
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

fn zeroed<T: Number, E>(len: usize) -> Result<Buffer<T>, PackError<E>> {
    Buffer::zeroed(len).map_err(no_memory(len.saturating_mul(size_of::<T>())))
}

fn no_memory<E>(bytes: usize) -> impl Fn(std::io::Error) -> PackError<E> {
    move |source| PackError::Memory { bytes, source }
}

/// x·Wᵀ + b of plain tensors: `[T, K] → [T, N]`.
impl CustomOp1 for &Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = crate::ops::contiguous(s, l)?;
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
        for (start, rows) in tile::heights(tokens, row_block(inputs)) {
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
