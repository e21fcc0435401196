//! Linear layers: `y = x·Wᵀ + b`, and what follows while the sums are in registers.
//!
//! Weights are packed once (`panels`). The bits of a row depend only on that row (`matmul`).

mod blocking;
mod fixed_matmul;
mod fixed_point;
mod matmul;
mod panels;
mod prefetch;
mod size;

pub use panels::PackError;
pub use size::WeightType;

pub(super) use blocking::row_block;
pub(super) use matmul::Target;
pub(super) use size::LinearSize;

use super::buffer::scratch;
use super::matrix::{Chunked, lanes, padded, split_rows};
use super::simd::CpuPath;
use super::tile;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape};
use fixed_matmul::FixedMatMul;
use matmul::MatMul;
use panels::{Packed, Panels};

/// A linear layer with its weights packed for one [`CpuPath`].
pub struct Linear {
    path: CpuPath,
    inputs: usize,
    weights: Packed,
}

impl Linear {
    /// Packs a layer of `inputs → outputs` features.
    ///
    /// `row(n, buffer)` writes the `inputs` weights of output n into the buffer; it is called once
    /// for each row, in order.
    ///
    /// # Errors
    /// Those of `row`, or out of memory.
    pub fn pack<E>(
        path: CpuPath,
        weight_type: WeightType,
        inputs: usize,
        outputs: usize,
        bias: &[f32],
        row: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Linear, PackError<E>> {
        Ok(Linear {
            path,
            inputs,
            weights: Packed::new(path, weight_type, inputs, outputs, bias, row)?,
        })
    }

    /// Input features K.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Output features N.
    pub fn outputs(&self) -> usize {
        self.weights.outputs
    }

    /// How the weights are stored.
    pub fn weight_type(&self) -> WeightType {
        self.weights.size.weight_type
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Features with their padding, as [`Linear::apply`] reads and writes them.
    pub(super) fn size(&self) -> LinearSize {
        self.weights.size
    }

    /// Multiplies the rows of x.
    ///
    /// # Panics
    /// x, the target or the working memory is too small: see [`LinearSize::scratch`].
    pub(super) fn apply(&self, x: Chunked<'_>, target: Target<'_>, scratch: &mut [f32]) {
        let weights = &self.weights;
        if let Panels::Fixed(panels) = &weights.panels {
            return self.path.dispatch(FixedMatMul {
                weights,
                panels,
                x,
                target,
                buffer: scratch,
            });
        }
        let operands = weights.size.operand_scratch(x.extent().rows);
        let (widened, sums) = scratch.split_at_mut(operands);
        self.path.dispatch(MatMul {
            weights,
            x,
            target,
            sums,
            widened,
        });
    }
}

/// Outputs of the layer before SwiGLU, `silu(a)·g` with `inner` features: a and g, each padded.
pub fn gated_outputs(inner: usize, path: CpuPath) -> usize {
    tile::VECTORS * padded(inner, path)
}

/// What output n of such a layer is: 0 for a and 1 for g, and which of its features. A vector of a
/// and one of g take turns, so that each tile holds both factors of its results.
pub fn gated_row(n: usize, path: CpuPath) -> (usize, usize) {
    let lanes = lanes(path);
    let (tile, column) = (n / (tile::VECTORS * lanes), n % (tile::VECTORS * lanes));
    (column / lanes, tile * lanes + column % lanes)
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
        let (lanes, outputs, size) = (lanes(self.path), self.outputs(), self.size());
        let mut out = vec![0.0; tokens * outputs];
        let blocks: Vec<_> = tile::heights(tokens, row_block(inputs)).collect();
        for (&(start, rows), out) in blocks.iter().zip(split_rows(&mut out, outputs, &blocks)) {
            let length = rows * size.inputs;
            scratch(length + size.scratch(rows), |buffer| {
                let (chunks, rest) = buffer.split_at_mut(length);
                chunks.fill(0.0);
                for t in 0..rows {
                    let row = &x[(start + t) * inputs..][..inputs];
                    for (f, value) in row.iter().enumerate() {
                        chunks[(f / lanes * rows + t) * lanes + f % lanes] = *value;
                    }
                }
                self.apply(
                    Chunked::new(chunks, rows, lanes),
                    Target::Add(out, 1.0),
                    rest,
                );
            });
        }
        let shape = Shape::from_dims(&[tokens, outputs]);
        Ok((CpuStorage::F32(out), shape))
    }
}
