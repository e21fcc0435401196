//! How weights are stored, and what working memory a product needs.

use super::blocking::{SPAN, block_depth};
use super::fixed_point;
use crate::ops::matrix::padded;
use crate::ops::simd::CpuPath;
use crate::ops::tile::{MAX_LANES, MAX_WIDTH};

/// How the packed weights are stored, and with it the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// 4 bytes a weight: exactly the values of an f32, f16 or bf16 checkpoint. Arithmetic is in f32.
    F32,
    /// 2 bytes a weight: 16-bit integers with a scale for every 512 weights of an output. Products
    /// are in fixed point, those of attention too.
    F16,
    /// 2 bytes a weight, rounded to bfloat16. Arithmetic is in f32.
    Bf16,
}

impl WeightType {
    /// Whether products are in 16-bit fixed point.
    pub(in crate::ops) fn in_fixed_point(self) -> bool {
        self == WeightType::F16
    }
}

/// Sizes of a packed layer, all with their padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct LinearSize {
    pub(in crate::ops) inputs: usize,
    pub(in crate::ops) outputs: usize,
    /// Steps of the inner dimension, and of each of its blocks: see `blocking`. The blocks have the
    /// same features on every path, so that their sums have the same bits.
    pub(super) steps: usize,
    pub(super) depth: usize,
    /// Outputs of a panel.
    pub(super) width: usize,
    pub(super) weight_type: WeightType,
}

impl LinearSize {
    pub(in crate::ops) fn new(
        path: CpuPath,
        weight_type: WeightType,
        inputs: usize,
        outputs: usize,
    ) -> LinearSize {
        let (steps, depth) = match weight_type {
            WeightType::F16 => {
                let most = inputs.next_multiple_of(MAX_WIDTH);
                let steps = padded(inputs, path) / fixed_point::PAIR;
                (steps, block_depth(most / fixed_point::PAIR))
            }
            WeightType::F32 | WeightType::Bf16 => {
                let steps = inputs.next_multiple_of(MAX_LANES);
                (steps, block_depth(steps))
            }
        };
        LinearSize {
            inputs: padded(inputs, path),
            outputs: padded(outputs, path),
            steps,
            depth,
            width: padded(1, path),
            weight_type,
        }
    }

    /// Blocks of the inner dimension.
    pub(super) fn blocks(&self) -> usize {
        self.steps.div_ceil(self.depth)
    }

    /// Whether the next panel starts before the sums of this one are complete, so that the sums of
    /// all panels have to be stored.
    pub(super) fn keeps_sums(&self) -> bool {
        self.blocks() > SPAN
    }

    /// Floats of working memory that a product of `rows` rows needs.
    pub(in crate::ops) fn scratch(&self, rows: usize) -> usize {
        self.operand_scratch(rows) + self.sums(rows)
    }

    /// The part of it for incomplete sums.
    pub(super) fn sums(&self, rows: usize) -> usize {
        match self.keeps_sums() {
            true => rows * self.outputs,
            false => rows * self.width,
        }
    }

    /// The part of it for operands: a widened block of weights, or rows as integers.
    pub(super) fn operand_scratch(&self, rows: usize) -> usize {
        match self.weight_type {
            WeightType::F32 => 0,
            WeightType::Bf16 => self.depth * self.width,
            WeightType::F16 => rows * (self.steps + self.blocks()),
        }
    }
}
