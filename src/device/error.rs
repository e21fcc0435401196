//! Why the machine cannot do what was requested.

use super::gpu::AMPERE;
use super::{Dtype, GpuChoice};
use crate::ops::CpuPath;
use thiserror::Error;

/// Why the machine cannot do what was requested.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    /// GPUs were requested, and none can be used.
    #[error(
        "`device={requested}` cannot be used: {why}\n\
         hint: use `device=cpu` or `device=auto` to compute on the CPU"
    )]
    NoCuda {
        /// The requested GPUs.
        requested: GpuChoice,
        /// What is missing.
        why: String,
    },
    /// A GPU that is not there.
    #[error(
        "`device={requested}`: there is no GPU {number}; the visible GPUs are numbered 0 to {last}\n\
         hint: the environment variable CUDA_VISIBLE_DEVICES selects the visible GPUs"
    )]
    NoGpu {
        /// The requested GPUs.
        requested: GpuChoice,
        /// The first that is missing.
        number: usize,
        /// The last that is there.
        last: usize,
    },
    /// GPUs that would not give the same bits.
    #[error(
        "`device={requested}` selects GPUs of different kinds ({kinds}): their results differ in the \
         last bits, so a row would depend on which of them computed it\n\
         hint: select GPUs of one kind (`esm-embed doctor` lists them)"
    )]
    Mixed {
        /// The requested GPUs.
        requested: GpuChoice,
        /// Their names.
        kinds: String,
    },
    /// A number format that the GPU lacks.
    #[error(
        "`dtype={dtype}` needs compute capability {}.{}, and {name} has {}.{}\n\
         hint: use `dtype=f16` or `dtype=f32`",
        AMPERE.0, AMPERE.1, .capability.0, .capability.1
    )]
    NoFormat {
        /// The requested format.
        dtype: Dtype,
        /// The name of the GPU.
        name: String,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// The processor lacks the requested instructions.
    #[error(
        "`cpu_path={requested}` is not available: the best path of this processor is {best}\n\
         hint: use `cpu_path={best}`"
    )]
    NoPath {
        /// The requested path.
        requested: CpuPath,
        /// The best path of this processor.
        best: CpuPath,
    },
    /// A number format of GPUs on the CPU.
    #[error(
        "`dtype=tf32` is a number format of GPUs, and the CPU would compute{}\n\
         hint: use `dtype=f32`, or `device=cuda`",
        match .why {
            Some(why) => format!(" because {why}"),
            None => String::new(),
        }
    )]
    Tf32OnCpu {
        /// Why no GPU computes, if the CPU was not requested.
        why: Option<String>,
    },
}
