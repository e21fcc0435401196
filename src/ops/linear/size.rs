//! How weights are stored, and what working memory a product needs.

use super::blocking::{block_depth, keeps_sums};
#[cfg(target_arch = "x86_64")]
use super::fixed_point;
use crate::ops::matrix::padded;
use crate::ops::simd::CpuPath;

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

    /// Steps of the inner dimension for a number of padded features.
    fn steps(self, features: usize) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Operands::FixedPoint => features / fixed_point::PAIR,
            _ => features,
        }
    }
}

/// Sizes of a packed layer, all with their padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct LinearSize {
    pub(in crate::ops) inputs: usize,
    pub(in crate::ops) outputs: usize,
    /// Steps of the inner dimension: see `blocking`.
    pub(super) steps: usize,
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
        let (inputs, operands) = (padded(inputs, path), Operands::of(path, weight_type));
        LinearSize {
            inputs,
            outputs: padded(outputs, path),
            steps: operands.steps(inputs),
            width: padded(1, path),
            operands,
        }
    }

    /// Floats of working memory that a product of `rows` rows needs.
    pub(in crate::ops) fn scratch(&self, rows: usize) -> usize {
        self.operand_scratch(rows) + self.sums(rows)
    }

    /// The part of it for incomplete sums.
    pub(super) fn sums(&self, rows: usize) -> usize {
        match keeps_sums(self.steps) {
            true => rows * self.outputs,
            false => rows * self.width,
        }
    }

    /// The part of it for operands: a widened block of weights, or rows as integers.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
    pub(super) fn operand_scratch(&self, rows: usize) -> usize {
        match self.operands {
            Operands::F32 => 0,
            Operands::Widened => block_depth(self.steps) * self.width,
            #[cfg(target_arch = "x86_64")]
            Operands::FixedPoint => fixed_point::scratch(self.steps, rows),
            #[cfg(not(target_arch = "x86_64"))]
            Operands::FixedPoint => 0,
        }
    }
}
