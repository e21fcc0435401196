//! What can go wrong with a GPU.

use crate::checkpoint::CheckpointError;
use crate::device::{DeviceError, LEAST_CAPABILITY};
use crate::numerals;
use crate::product::Fallback;
use cudarc::cublaslt::result::CublasError;
use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;
use thiserror::Error;

/// Why a GPU cannot be used, or stopped working.
#[derive(Debug, Error)]
pub enum CudaError {
    /// No driver, or none that can be loaded.
    #[error("{0}")]
    NoDriver(String),
    /// `libcuda.so` and `libcuda.so.1` are different libraries.
    #[error(
        "a folder of LD_LIBRARY_PATH holds a libcuda.so that is not the driver's, such as the folder \
         `stubs` of the CUDA toolkit\n\
         hint: remove that folder from LD_LIBRARY_PATH"
    )]
    OtherDriver,
    /// A library that lacks a function.
    #[error(
        "{library} has no function {symbol}: it is damaged or not NVIDIA's\n\
         hint: reinstall it, or remove its folder from LD_LIBRARY_PATH"
    )]
    NoSymbol {
        /// Its name or path.
        library: String,
        /// The missing function.
        symbol: &'static str,
    },
    /// No cuBLASLt that fits the driver.
    #[error("cuBLASLt is missing: {0}")]
    NoBlas(String),
    /// TF32 without cuBLASLt.
    #[error("TF32 needs cuBLASLt ({0})\nhint: install cuBLASLt, or use `dtype=f32`")]
    NoTf32(String),
    /// The program's kernels are damaged, or there are none for a GPU.
    #[error("this program holds no CUDA kernels for this GPU\nhint: please report this as a bug")]
    Images,
    /// No GPU, or none that this process may use.
    #[error(
        "no CUDA GPU is visible (the driver reports: {0})\n\
         hint: `nvidia-smi` lists the GPUs of the machine; CUDA_VISIBLE_DEVICES selects those that are \
         visible"
    )]
    NoDevice(String),
    /// A driver that is too old for the kernels.
    #[error(
        "the NVIDIA driver is too old: it supports CUDA up to {}.{}, and CUDA {}.{} is needed\n\
         hint: update the driver to release 525 or newer",
        .driver / 1000, .driver % 1000 / 10, .needed / 1000, .needed % 1000 / 10
    )]
    OldDriver {
        /// The newest version that the driver supports.
        driver: i32,
        /// The version that is needed.
        needed: i32,
    },
    /// A GPU that is too old.
    #[error(
        "{name} has compute capability {}.{}, and {}.{} is needed\n\
         hint: use `device=auto`, which takes a newer GPU, or the CPU if there is none",
        .capability.0, .capability.1, LEAST_CAPABILITY.0, LEAST_CAPABILITY.1
    )]
    OldGpu {
        /// Its name.
        name: String,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// The GPU has no memory left.
    #[error(
        "the GPU has no memory left for {} of {what}\n\
         hint: use `dtype=f16`, which takes half the memory of f32\n\
         hint: stop other programs that use this GPU",
        numerals::bytes(*bytes as u64)
    )]
    Memory {
        /// What it was for.
        what: &'static str,
        /// How much was requested.
        bytes: usize,
    },
    /// The GPU has no memory left for a second copy of the weights.
    #[error(
        "the GPU has no memory left for {} of the same weights in {fallback}, for records whose numbers \
         do not fit f16\n\
         hint: use `dtype={fallback}`, which needs no weights in f16\n\
         hint: stop other programs that use this GPU",
        numerals::bytes(*bytes as u64)
    )]
    FallbackMemory {
        /// Their number format.
        fallback: Fallback,
        /// How much was requested.
        bytes: usize,
    },
    /// The machine has no pinned memory left.
    #[error(
        "the machine has no pinned memory left for {} of results\n\
         hint: use fewer `threads` or a smaller `max_tokens`",
        numerals::bytes(*bytes as u64)
    )]
    Pinned {
        /// How much was requested.
        bytes: usize,
    },
    /// A shape for which there are no kernels.
    #[error("there are no CUDA kernels for {0}\nhint: use `device=cpu`")]
    Shape(String),
    /// A batch that the model cannot take.
    #[error("{0}")]
    Batch(String),
    /// No algorithm for a matrix product.
    #[error(
        "cuBLASLt has no algorithm for weights of {outputs} × {inputs}\nhint: use `device=cpu`"
    )]
    NoAlgorithm {
        /// Outputs of the layer.
        outputs: usize,
        /// Inputs of the layer.
        inputs: usize,
    },
    /// GPUs that would compute differently.
    #[error(
        "cuBLASLt offers other algorithms on GPU {number} than on the first GPU, so a row would depend \
         on which of them computed it\n\
         hint: use a single GPU, such as `device=cuda:{number}`"
    )]
    Unlike {
        /// The number of the GPU that differs.
        number: usize,
    },
    /// An environment variable that changes numbers.
    #[error(
        "the environment variable {variable} is set, which changes the numbers of matrix products\n\
         hint: unset it; if speed matters more than exact numbers, use `dtype=tf32`"
    )]
    Override {
        /// Its name.
        variable: &'static str,
    },
    /// Bits in the fallback that depend on the batch, and may not.
    #[error(
        "records whose numbers do not fit f16 are computed in {fallback}, and a self-test on this GPU \
         found that in {fallback} the bits of a sequence depend on its batch, which `on_varying=fail` \
         forbids\n\
         hint: {}do not set `on_varying`",
        match .fallback {
            Fallback::Bf16 => "use `dtype=f32`, or ",
            Fallback::F32 => "",
        }
    )]
    Varies {
        /// The number format.
        fallback: Fallback,
    },
    /// The driver failed.
    #[error("CUDA failed while {doing}: {}", said(error))]
    Driver {
        /// What it was doing.
        doing: &'static str,
        /// What it reported. Not a source, as the message has it.
        error: DriverError,
    },
    /// cuBLASLt failed.
    #[error("cuBLASLt failed while {doing}: {:?}", error.0)]
    Blas {
        /// What it was doing.
        doing: &'static str,
        /// What it reported, as above.
        error: CublasError,
    },
    /// A number format that the GPU lacks.
    #[error(transparent)]
    Format(#[from] DeviceError),
    /// The checkpoint is damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Something that cannot happen.
    #[error("the GPU engine stopped unexpectedly\nhint: please report this as a bug")]
    Defect,
}

impl CudaError {
    /// The driver's library cannot be opened, for the reason that the system gives.
    pub(super) fn no_driver(reason: String) -> CudaError {
        CudaError::NoDriver(match reason.contains("No such file or directory") {
            true => "no NVIDIA driver is installed (libcuda.so.1 is missing)\n\
                     hint: start a container with `--gpus all` (Docker) or `--nv` (Apptainer)"
                .to_owned(),
            false => format!(
                "the NVIDIA driver cannot be loaded ({reason})\n\
                 hint: reinstall the driver for this machine"
            ),
        })
    }

    /// The driver gives this process no GPU.
    pub(super) fn no_device(error: DriverError) -> CudaError {
        CudaError::NoDevice(said(&error))
    }

    /// Whether the GPU is the obstacle, so that the CPU could do the same work.
    pub fn is_of_gpu(&self) -> bool {
        !matches!(
            self,
            CudaError::Checkpoint(_) | CudaError::Batch(_) | CudaError::Defect
        )
    }

    /// Whether the GPU cannot start a kernel, and is otherwise sound.
    pub(super) fn cannot_start(&self) -> bool {
        let CudaError::Driver { error, .. } = self else {
            return false;
        };
        matches!(
            error.0,
            CUresult::CUDA_ERROR_INVALID_VALUE
                | CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
                | CUresult::CUDA_ERROR_NOT_SUPPORTED
        )
    }

    /// Whether a smaller pass could succeed. Memory is requested before a pass begins: later errors of
    /// the driver are not about memory, whatever they are called.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, CudaError::Memory { .. } | CudaError::Pinned { .. })
    }
}

/// What the driver reports: the name of the error, and its description if it has one.
pub(super) fn said(error: &DriverError) -> String {
    match error.error_string() {
        Ok(words) => format!("{:?}, {}", error.0, words.to_string_lossy()),
        Err(_) => format!("{:?}", error.0),
    }
}

/// Why a request for memory failed: `used_up`, if that is what the driver reports.
pub(super) fn no_memory(doing: &'static str, error: DriverError, used_up: CudaError) -> CudaError {
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => used_up,
        _ => CudaError::Driver { doing, error },
    }
}

/// Adds to an error what was being done when a call failed.
pub(super) trait While<T> {
    fn while_(self, doing: &'static str) -> Result<T, CudaError>;
}

impl<T> While<T> for Result<T, DriverError> {
    fn while_(self, doing: &'static str) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::Driver { doing, error })
    }
}

impl<T> While<T> for Result<T, CublasError> {
    fn while_(self, doing: &'static str) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::Blas { doing, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_is_named_with_a_remedy() {
        let memory = CudaError::FallbackMemory {
            fallback: Fallback::F32,
            bytes: 11_400_000_000,
        };
        assert_eq!(
            memory.to_string(),
            "the GPU has no memory left for 11.4 GB of the same weights in f32, for records whose numbers \
             do not fit f16\n\
             hint: use `dtype=f32`, which needs no weights in f16\n\
             hint: stop other programs that use this GPU"
        );
        let hint = |fallback| {
            let said = CudaError::Varies { fallback }.to_string();
            said.split_once("\nhint: ").unwrap().1.to_owned()
        };
        let of_bf16 = "use `dtype=f32`, or do not set `on_varying`";
        assert_eq!(hint(Fallback::Bf16), of_bf16);
        assert_eq!(hint(Fallback::F32), "do not set `on_varying`");
    }
}
