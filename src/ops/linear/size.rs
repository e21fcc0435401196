//! How weights are stored, and what working memory a product needs.

use super::blocking::{SPAN, block_depth};
#[cfg(target_arch = "x86_64")]
use super::fixed_point;
use crate::ops::matrix::padded;
use crate::ops::simd::CpuPath;
use crate::ops::tile::{MAX_LANES, MAX_WIDTH};

/// How the packed weights are stored. Arithmetic is in f32, except for [`WeightType::F16`] on
/// [`CpuPath::Avx512Vnni`], which is 16-bit fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// 4 bytes a weight: exactly the values of an f32, f16 or bf16 checkpoint.
    F32,
    /// 2 bytes a weight, rounded to half precision (in fixed point: to 16 bits, with a scale for
    /// every 512 weights of an output).
    F16,
    /// 2 bytes a weight, rounded to bfloat16.
    Bf16,
}

/// The operands of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operands {
    /// The stored weights.
    F32,
    /// Stored weights that are widened to f32, block by block.
    Widened,
    /// 16-bit integers: rows are rounded before the product.
    FixedPoint,
}

impl Operands {
    pub(super) fn of(path: CpuPath, weight_type: WeightType) -> Operands {
        match weight_type {
            WeightType::F32 => Operands::F32,
            WeightType::F16 if path.in_fixed_point() => Operands::FixedPoint,
            WeightType::F16 | WeightType::Bf16 => Operands::Widened,
        }
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
    pub(super) operands: Operands,
}

impl LinearSize {
    pub(in crate::ops) fn new(
        path: CpuPath,
        weight_type: WeightType,
        inputs: usize,
        outputs: usize,
    ) -> LinearSize {
        let operands = Operands::of(path, weight_type);
        let (steps, depth) = match operands {
            #[cfg(target_arch = "x86_64")]
            Operands::FixedPoint => {
                let most = inputs.next_multiple_of(MAX_WIDTH);
                let steps = padded(inputs, path) / fixed_point::PAIR;
                (steps, block_depth(most / fixed_point::PAIR))
            }
            _ => {
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
            operands,
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
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
    pub(super) fn operand_scratch(&self, rows: usize) -> usize {
        match self.operands {
            Operands::F32 => 0,
            Operands::Widened => self.depth * self.width,
            #[cfg(target_arch = "x86_64")]
            Operands::FixedPoint => rows * (self.steps + self.blocks()),
            #[cfg(not(target_arch = "x86_64"))]
            Operands::FixedPoint => 0,
        }
    }
}
