//! How much memory a forward pass takes, from the shape of the model.

use super::ROTARY_POSITIONS;
use crate::checkpoint::{EsmConfig, Positions};
use crate::ops::{self, BlockShape, CpuPath, RotaryTable, WeightType};

/// Bytes of a float.
const FLOAT: u64 = size_of::<f32>() as u64;

/// The parts of the memory of a forward pass, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassMemory {
    path: CpuPath,
    shape: BlockShape,
    is_rotary: bool,
    /// Whether a LayerNorm follows the embedding.
    is_normed: bool,
}

impl PassMemory {
    /// For a model that runs with these instructions on weights stored like this.
    pub fn new(config: &EsmConfig, path: CpuPath, weight_type: WeightType) -> PassMemory {
        PassMemory {
            path,
            shape: BlockShape {
                path,
                weight_type,
                dim: config.dim,
                intermediate: config.intermediate,
                activation: config.activation,
                head_dim: config.head_dim(),
            },
            is_rotary: matches!(config.positions, Positions::Rotary),
            is_normed: config.emb_layer_norm_before,
        }
    }

    /// The residual stream, and q, k and v, of `tokens` tokens: kept from pass to pass up to
    /// [`LoadOptions::kept_tokens`](super::LoadOptions::kept_tokens).
    pub fn workspace(&self, tokens: usize) -> u64 {
        let qkv = ops::qkv_shape(self.path, self.shape.dim, tokens);
        let qkv = product(qkv);
        self.stream(tokens).saturating_add(qkv)
    }

    /// What is allocated for one pass only: the embedding at its beginning, the final norm at its end,
    /// and a rotary table for a sequence that is longer than the model's table.
    pub fn passing(&self, tokens: usize, longest: usize) -> u64 {
        let streams = if self.is_normed { 2 } else { 1 };
        let table = match self.is_rotary && longest > ROTARY_POSITIONS {
            true => RotaryTable::floats(self.shape.head_dim, longest) as u64 * FLOAT,
            false => 0,
        };
        let streams = self.stream(tokens).saturating_mul(streams);
        streams.saturating_add(table)
    }

    /// Working memory of each thread that works on the pass.
    pub fn scratch(&self, longest: usize) -> u64 {
        (self.shape.scratch(longest) as u64).saturating_mul(FLOAT)
    }

    fn stream(&self, tokens: usize) -> u64 {
        product([tokens, self.shape.dim])
    }
}

/// Bytes of a tensor of floats.
fn product<const N: usize>(shape: [usize; N]) -> u64 {
    let elements = shape
        .iter()
        .fold(1, |all: u64, &n| all.saturating_mul(n as u64));
    elements.saturating_mul(FLOAT)
}
