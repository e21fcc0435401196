//! The setting `dtype`.

use crate::ops::WeightType;
use std::fmt;

/// Number format of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16 bits. On the CPU, matrix products are computed in 16-bit fixed point.
    F16,
    /// bfloat16. On the CPU a storage format of the weights: arithmetic stays f32.
    Bf16,
    /// 32-bit floats of which products use 11 bits of each factor. GPUs only.
    Tf32,
}

impl Dtype {
    /// Its name in settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::Tf32 => "tf32",
        }
    }

    /// How the CPU engine stores weights for it.
    pub fn weight_type(self) -> WeightType {
        match self {
            Dtype::F32 | Dtype::Tf32 => WeightType::F32,
            Dtype::F16 => WeightType::F16,
            Dtype::Bf16 => WeightType::Bf16,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
