//! The language-model head: from the last representation to logits.
//!
//! ```text
//! h = LN(gelu(Linear(x)))     logits = h·Eᵀ + b
//! ```
//!
//! E is the token embedding unless the checkpoint holds another matrix, as ESM C does. Weights and arithmetic are f32
//! whatever the format of the model: the head is less than 1 % of the weights, and scores are small
//! differences of logits.

use super::LoadError;
use crate::checkpoint::{Checkpoint, EsmConfig, Weight};
use crate::ops::math::{Function, map};
use crate::ops::{CpuPath, LayerNorm, Linear, PackError, WeightType};
use candle_core::{Device, Result, Tensor};

/// A loaded language-model head.
pub struct LmHead {
    path: CpuPath,
    dim: usize,
    /// V.
    tokens: usize,
    dense: Linear,
    norm: LayerNorm,
    decoder: Linear,
}

impl LmHead {
    /// Rows that go through the head together: working memory does not grow with the sequence.
    pub(crate) const ROWS: usize = 256;

    /// Loads the head of a checkpoint, to run with these instructions.
    ///
    /// # Errors
    /// A checkpoint without a head, or a machine without memory for it.
    pub fn load(checkpoint: &Checkpoint, path: CpuPath) -> std::result::Result<LmHead, LoadError> {
        let weights = checkpoint.lm_head()?;
        let config = checkpoint.config();
        Ok(LmHead {
            path,
            dim: config.dim,
            tokens: config.logits(),
            dense: linear(path, &weights.dense, &weights.dense_bias, config.dim)?,
            norm: LayerNorm::new(
                path,
                weights.norm.to_vec()?,
                weights.norm_bias.to_vec()?,
                config.layer_norm_eps,
            ),
            decoder: linear(path, &weights.decoder, &weights.bias, config.logits())?,
        })
    }

    /// Logits `[n, V]` of rows `[n, D]` of the last representation. The bits of a row depend on that
    /// row only.
    ///
    /// # Errors
    /// An error of Candle.
    pub fn logits(&self, rows: &[f32]) -> Result<Vec<f32>> {
        let mut logits = Vec::with_capacity(rows.len() / self.dim.max(1) * self.tokens);
        for rows in rows.chunks(Self::ROWS * self.dim.max(1)) {
            let count = rows.len() / self.dim.max(1);
            let x = Tensor::from_slice(rows, (count, self.dim), &Device::Cpu)?;
            let mut x = host(&x.apply_op1_no_bwd(&&self.dense)?)?;
            map(self.path, Function::Gelu, &mut x);
            let x = Tensor::from_vec(x, (count, self.dim), &Device::Cpu)?;
            let x = x.apply_op1_no_bwd(&&self.norm)?;
            logits.extend(host(&x.apply_op1_no_bwd(&&self.decoder)?)?);
        }
        Ok(logits)
    }

    /// Bytes that a head of this model keeps in memory.
    pub fn bytes(config: &EsmConfig) -> u64 {
        let floats = (config.dim + config.logits()).saturating_mul(config.dim) as u64;
        floats.saturating_mul(size_of::<f32>() as u64)
    }

    /// Bytes that one pass of the head takes beside the rows of its sequence: working memory, and the
    /// `tokens` logits of each of `residues` residues.
    pub fn passing(dim: usize, tokens: usize, residues: usize) -> u64 {
        let rows = residues.min(Self::ROWS).saturating_mul(4 * dim) as u64;
        let logits = residues.saturating_mul(tokens) as u64;
        rows.saturating_add(logits)
            .saturating_mul(size_of::<f32>() as u64)
    }
}

/// The first `outputs` rows of a matrix and its bias, packed.
fn linear(
    path: CpuPath,
    matrix: &Weight<'_>,
    bias: &Weight<'_>,
    outputs: usize,
) -> std::result::Result<Linear, LoadError> {
    let mut bias = bias.to_vec()?;
    bias.truncate(outputs);
    let mut rows = matrix.rows();
    let inputs = matrix.shape()[1];
    Linear::pack(path, WeightType::F32, inputs, outputs, &bias, |n, row| {
        rows.read(n, row)
    })
    .map_err(|error| match error {
        PackError::Weights(error) => LoadError::Checkpoint(error),
        PackError::Memory { bytes, source } => LoadError::Memory { bytes, source },
    })
}

fn host(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}
