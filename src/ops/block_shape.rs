//! The working memory of a transformer block, computed from its shape.

use super::linear::row_block;
use super::linear::{LinearSize, WeightType};
use super::matrix::padded;
use super::simd::CpuPath;
use super::{Activation, attention, feed_forward, qkv_projection};

/// The properties that determine the working memory of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockShape {
    /// Instructions to run with.
    pub path: CpuPath,
    /// How linear weights are stored.
    pub weight_type: WeightType,
    /// Width of the hidden states, D.
    pub dim: usize,
    /// Width inside the feed-forward network.
    pub intermediate: usize,
    /// What is computed inside it.
    pub activation: Activation,
    /// Features of one attention head.
    pub head_dim: usize,
}

impl BlockShape {
    /// Floats that each thread allocates while sequences of up to `longest` tokens go through the
    /// block: the maximum over its operations.
    pub fn scratch(&self, longest: usize) -> usize {
        let Self {
            path,
            dim,
            intermediate,
            activation,
            ..
        } = *self;
        let linear = |inputs, outputs| LinearSize::new(path, self.weight_type, inputs, outputs);
        let qkv = linear(dim, 3 * padded(dim, path));
        let rest = [
            linear(dim, dim),
            linear(dim, activation.outputs(intermediate, path)),
            linear(intermediate, dim),
        ];
        let rows = row_block(dim);
        qkv_projection::floats(qkv, rows)
            .max(feed_forward::floats(rest, rows))
            .max(attention::floats(
                self.head_dim,
                longest,
                path,
                self.weight_type,
            ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Linear;
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn a_layer_has_the_predicted_size() {
        for path in [CpuPath::Portable, CpuPath::detect()] {
            for weight_type in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
                for (inputs, outputs) in [(20, 33), (800, 70)] {
                    let row = |_: usize, _: &mut [f32]| Ok::<(), Infallible>(());
                    let bias = vec![0.0; outputs];
                    let layer = Linear::pack(path, weight_type, inputs, outputs, &bias, row);
                    let size = LinearSize::new(path, weight_type, inputs, outputs);
                    assert_eq!(layer.unwrap().size(), size);
                }
            }
        }
    }

    #[test]
    fn short_sequences_need_the_memory_of_the_feed_forward_network() {
        let shape = BlockShape {
            path: CpuPath::Portable,
            weight_type: WeightType::F32,
            dim: 1280,
            intermediate: 5120,
            activation: Activation::Gelu,
            head_dim: 64,
        };
        // 504 rows, normalised and in the inner layer, and sums of all outputs of one product.
        assert!(shape.scratch(10) >= 504 * (1280 + 5120 + 5120));
        assert!(shape.scratch(10) < 504 * (1280 + 5120 + 5120) + 20_000);
        assert_eq!(shape.scratch(10), shape.scratch(2048));
        // SwiGLU has the sums of twice as many outputs.
        let gated = BlockShape {
            activation: Activation::SwiGlu,
            ..shape
        };
        assert!(gated.scratch(10) >= 504 * (1280 + 5120 + 2 * 5120));
        assert!(gated.scratch(10) < 504 * (1280 + 5120 + 2 * 5120) + 20_000);
        // Keys of one head with their padding, and the scores of one tile of 16 queries.
        assert!(shape.scratch(1_000_000) >= (72 + 16) * 1_000_000);
        assert!(shape.scratch(1_000_000) < 90 * 1_000_000);
    }
}
