//! The language-model head on a GPU: from the last representation to logits, with the program's own
//! products. Weights and arithmetic are f32 whatever the format of the model, as on the CPU.
//!
//! ```text
//! h = LN(gelu(Linear(x)))     logits = h·Eᵀ + b
//! ```

use super::error::{CudaError, While};
use super::gpu::OpenGpu;
use super::kernels::ModelKernels;
use super::load::{Linear, Norm};
use super::matmul_test::{Found, MatmulTest, Piece, Tested};
use super::memory::Memory;
use super::own_choice::ODD_HEIGHTS;
use super::own_matmul::{Next, Operands, OwnMatmul, Role};
use super::row_kernels::{NormTo, RowKernels};
use super::tested::Tests;
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::device::Dtype;
use cudarc::driver::CudaStream;
use std::sync::Arc;

/// Columns of the logits on a GPU: products have a multiple of 8 outputs, and the last are padding.
pub(super) fn columns(config: &EsmConfig) -> usize {
    config.logits().next_multiple_of(8)
}

/// A head on one GPU.
pub(super) struct GpuHead {
    dim: usize,
    /// Tokens that have a logit, and columns of the logits.
    tokens: usize,
    columns: usize,
    eps: f32,
    kernels: ModelKernels,
    dense: Layer,
    norm: Norm,
    decoder: Layer,
}

/// A product and its weights.
struct Layer {
    product: OwnMatmul,
    linear: Linear,
}

impl Layer {
    fn operands(&self, x: u64, y: u64) -> Operands {
        Operands {
            x,
            weights: self.linear.weight.at(0),
            bias: self.linear.bias.at(0),
            y,
        }
    }
}

impl GpuHead {
    /// Loads the head of a checkpoint. None if the GPU has no memory for it or cannot start it, or if
    /// the bits of a row depend on its place.
    ///
    /// # Errors
    /// A checkpoint without a head, or a GPU that fails.
    pub(super) fn load(
        gpu: &OpenGpu,
        checkpoint: &Checkpoint,
        tests: &Tests,
    ) -> Result<Option<GpuHead>, CudaError> {
        // From here on this thread's calls are for this GPU.
        gpu.context().bind_to_thread().while_("selecting a GPU")?;
        let made = GpuHead::upload(gpu, checkpoint);
        let tested = made.and_then(|head| match head {
            Some(head) if head.has_same_bits(gpu, tests)? => Ok(Some(head)),
            _ => Ok(None),
        });
        match tested {
            Err(CudaError::Memory { .. }) => Ok(None),
            Err(error) if error.cannot_start() => Ok(None),
            tested => tested,
        }
    }

    fn upload(gpu: &OpenGpu, checkpoint: &Checkpoint) -> Result<Option<GpuHead>, CudaError> {
        let weights = checkpoint.lm_head()?;
        let config = checkpoint.config();
        let (dim, tokens, columns) = (config.dim, config.logits(), columns(config));
        let kernels = gpu.kernels.of(Dtype::F32, dim, config.head_dim())?;
        let of = gpu.about.multiprocessors;
        let product = |role, outputs| OwnMatmul::new(&kernels, of, role, outputs, dim);
        let (Some(dense), Some(decoder)) =
            (product(Role::Inner, dim), product(Role::Outer, columns))
        else {
            return Ok(None);
        };
        let floats = |mut values: Vec<f32>, kept: usize, padded: usize| {
            values.truncate(kept);
            values.resize(padded, 0.0);
            Memory::upload_floats(&gpu.stream, "weights", &values)
        };
        let dense = Layer {
            product: dense,
            linear: Linear {
                weight: floats(weights.dense.to_vec()?, dim * dim, dim * dim)?,
                bias: floats(weights.dense_bias.to_vec()?, dim, dim)?,
            },
        };
        let norm = Norm {
            weight: floats(weights.norm.to_vec()?, dim, dim)?,
            bias: floats(weights.norm_bias.to_vec()?, dim, dim)?,
        };
        let decoder = Layer {
            product: decoder,
            linear: Linear {
                weight: floats(weights.decoder.to_vec()?, tokens * dim, columns * dim)?,
                bias: floats(weights.bias.to_vec()?, tokens, columns)?,
            },
        };
        Ok(Some(GpuHead {
            dim,
            tokens,
            columns,
            eps: config.layer_norm_eps,
            kernels,
            dense,
            norm,
            decoder,
        }))
    }

    /// Adds the logits of rows of the last representation to `logits`, which is zero before. `inner` is
    /// memory for as many rows of the model's width.
    ///
    /// # Safety
    /// Addresses are of memory of the GPU that the stream belongs to, with this number of rows of f32:
    /// `x` and `inner` of the model's width, `logits` of [`columns`].
    pub(super) unsafe fn run(
        &self,
        stream: &Arc<CudaStream>,
        [x, inner, logits]: [u64; 3],
        rows: usize,
    ) -> Result<(), CudaError> {
        let row_kernels = RowKernels {
            stream,
            kernels: &self.kernels,
            rows,
            dim: self.dim,
            eps: self.eps,
        };
        let (dense, decoder) = (&self.dense, &self.decoder);
        // SAFETY: the caller's; weights are as wide as the products.
        unsafe {
            let operands = dense.operands(x, inner);
            dense.product.run(stream, operands, rows, Next::Gelu)?;
            row_kernels.add_norm(inner, None, Some(&self.norm), NormTo::Stream)?;
            let operands = decoder.operands(inner, logits);
            decoder.product.run(stream, operands, rows, Next::Residual)
        }
    }

    /// Whether a row has the same logits at every place and in any number of rows.
    fn has_same_bits(&self, gpu: &OpenGpu, tests: &Tests) -> Result<bool, CudaError> {
        let inner = |rows: usize| Memory::zeroed(&gpu.stream, "a self-test", rows * self.dim * 4);
        let name = format!("language-model head {} x {}", self.tokens, self.dim);
        if tests.find(&name).is_some() {
            // Kernels are loaded on first use, and that must not fail later.
            let logits = Memory::zeroed(&gpu.stream, "a self-test", self.columns * 4)?;
            let (x, inner) = (inner(1)?, inner(1)?);
            // SAFETY: a row of each.
            unsafe { self.run(&gpu.stream, [x.at(0), inner.at(0), logits.at(0)], 1) }?;
            gpu.stream.synchronize().while_("testing the head")?;
            return Ok(true);
        }
        let tested = Tested {
            dtype: Dtype::F32,
            inputs: self.dim,
            outputs: self.columns,
            result: size_of::<f32>(),
            weights: &self.decoder.linear.weight,
        };
        let inner = inner(gpu.heights.slab())?;
        let mut test = MatmulTest::new(gpu, tested)?;
        let compute = |piece: Piece| {
            let places = [piece.x, inner.at(0), piece.y];
            // SAFETY: a piece has as many rows of inputs and logits, and `inner` has a slab.
            unsafe { self.run(&gpu.stream, places, piece.rows) }
        };
        let heights = [gpu.heights.all(), &ODD_HEIGHTS].concat();
        let is_same = test.run(&compute, &heights)? == Found::Same;
        if is_same {
            tests.pass(&name, "same bits");
        }
        Ok(is_same)
    }

    /// What computes it, by the shape of the decoder, for `run.json`.
    pub(super) fn describe(&self) -> (String, Option<String>) {
        let shape = format!("{} x {}", self.tokens, self.dim);
        (shape, Some("esm-embed".to_owned()))
    }
}
