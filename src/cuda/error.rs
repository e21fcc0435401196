//! What can go wrong with a card.

use crate::checkpoint::CheckpointError;
use cudarc::cublaslt::result::CublasError;
use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;
use thiserror::Error;

/// Why a card cannot be used, or stopped working.
#[derive(Debug, Error)]
pub enum CudaError {
    /// No driver, or none that can be loaded.
    #[error("{0}")]
    NoDriver(String),
    /// The driver's library is not the one that is found under its other name.
    #[error(
        "a folder of LD_LIBRARY_PATH holds a libcuda.so that is not the driver's, such as the \
         toolkit's folder `stubs`: take that folder out of LD_LIBRARY_PATH"
    )]
    OtherDriver,
    /// A library that lacks a function.
    #[error(
        "{library} has no function {symbol}: it is damaged or not NVIDIA's; install it again, or take \
         its folder out of LD_LIBRARY_PATH"
    )]
    NoSymbol {
        /// What it is called, or where it is.
        library: String,
        /// What it lacks.
        symbol: &'static str,
    },
    /// No cuBLASLt that fits the driver.
    #[error("cuBLASLt is missing: {0}")]
    NoBlas(String),
    /// The kernels of the program are damaged, or there are none for a card.
    #[error(
        "this program holds no CUDA kernels that fit the GPU: this is a defect, please report it"
    )]
    Images,
    /// No card, or none that the driver lets this process use.
    #[error(
        "no CUDA card can be seen (the driver says: {0}); `nvidia-smi` shows those of the machine, \
         and CUDA_VISIBLE_DEVICES decides which of them can be seen"
    )]
    NoDevice(String),
    /// A driver that does not know the CUDA version of this build.
    #[error(
        "the NVIDIA driver is too old: it supports CUDA up to {}.{}, and CUDA {}.{} is needed (driver \
         525 or newer); update the driver",
        .driver / 1000, .driver % 1000 / 10, .needed / 1000, .needed % 1000 / 10
    )]
    OldDriver {
        /// The newest version that the driver knows.
        driver: i32,
        /// The version that is needed.
        needed: i32,
    },
    /// A card that is too old.
    #[error("{name} has compute capability {}.{}, and 8.0 is needed", .capability.0, .capability.1)]
    OldCard {
        /// What the card calls itself.
        name: String,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// The card's memory is used up.
    #[error(
        "the card has no memory left for {bytes} bytes of {what}: --dtype f16 takes less, as do \
         programs that are not running on it"
    )]
    Memory {
        /// What it was for.
        what: &'static str,
        /// How much it was.
        bytes: usize,
    },
    /// The machine's memory that a card can write to is used up.
    #[error(
        "the machine has no memory left that a card can write to, for {bytes} bytes of results: \
         fewer --threads or a smaller --max-tokens take less"
    )]
    Pinned {
        /// How much it was.
        bytes: usize,
    },
    /// A shape that the kernels do not have.
    #[error("the CUDA kernels cannot do {0}: use --device cpu")]
    Shape(String),
    /// A batch that the model cannot take.
    #[error("{0}")]
    Batch(String),
    /// No algorithm for a matrix product.
    #[error("cuBLASLt has no algorithm for weights of {outputs} × {inputs}: use --device cpu")]
    NoAlgorithm {
        /// Outputs of the layer.
        outputs: usize,
        /// Inputs of the layer.
        inputs: usize,
    },
    /// Cards that would not compute alike.
    #[error(
        "cuBLASLt offers other algorithms on card {number} than on the first, so that a row would \
         depend on which of them computed it: choose one of them with --device cuda:{number}"
    )]
    Unlike {
        /// The number of the card that differs.
        number: usize,
    },
    /// A variable of the environment that changes numbers.
    #[error(
        "{variable} is set, which changes the numbers of f32 whatever is asked for: unset it, and \
         choose --dtype tf32 if speed matters more than exact numbers"
    )]
    Override {
        /// Its name.
        variable: &'static str,
    },
    /// Bits in bf16 that depend on the batch where they may not.
    #[error(
        "a self-test on this card found that in bf16, in which records are computed whose numbers do \
         not fit f16, the bits of a sequence depend on its batch, and --on-varying fail was given: \
         leave that out, or choose --dtype f32"
    )]
    Varies,
    /// The driver failed.
    #[error("CUDA failed while {doing}: {}", said(source))]
    Driver {
        /// What was asked of it.
        doing: &'static str,
        /// What it said.
        source: DriverError,
    },
    /// cuBLASLt failed.
    #[error("cuBLASLt failed while {doing}: {source}")]
    Blas {
        /// What was asked of it.
        doing: &'static str,
        /// What it said.
        source: CublasError,
    },
    /// The checkpoint is damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A thread of this program stopped.
    #[error("a thread that works with the card stopped: this is a defect")]
    Thread,
}

impl CudaError {
    /// The driver's library cannot be opened; what the system says.
    pub(super) fn no_driver(said: String) -> CudaError {
        CudaError::NoDriver(match said.contains("No such file or directory") {
            true => "no NVIDIA driver is installed (libcuda.so.1 is missing); a container needs \
                     `--gpus all` (Docker) or `--nv` (Apptainer)"
                .to_owned(),
            false => format!(
                "the NVIDIA driver cannot be loaded ({said}): install the driver for this machine \
                 again"
            ),
        })
    }

    /// The driver gives this process no GPU; what it says.
    pub(super) fn no_device(error: DriverError) -> CudaError {
        CudaError::NoDevice(said(&error))
    }

    /// Whether the card is what is in the way, and the same could be computed without it.
    pub fn is_of_card(&self) -> bool {
        !matches!(
            self,
            CudaError::Checkpoint(_) | CudaError::Batch(_) | CudaError::Thread
        )
    }

    /// Whether the same with less could succeed. Memory is asked for before a pass begins: an error of
    /// the driver later on is none of it, whatever it is called.
    pub fn is_memory(&self) -> bool {
        matches!(self, CudaError::Memory { .. } | CudaError::Pinned { .. })
    }
}

/// What the driver says of an error: its name, and its own words where it has them.
pub(super) fn said(error: &DriverError) -> String {
    match error.error_string() {
        Ok(words) => format!("{:?}, {}", error.0, words.to_string_lossy()),
        Err(_) => format!("{:?}", error.0),
    }
}

/// Why a request for memory failed: `used_up`, if that is what the driver says.
pub(super) fn no_memory(doing: &'static str, source: DriverError, used_up: CudaError) -> CudaError {
    match source.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => used_up,
        _ => CudaError::Driver { doing, source },
    }
}

/// Says what was being done when a call failed.
pub(super) trait While<T> {
    fn while_(self, doing: &'static str) -> Result<T, CudaError>;
}

impl<T> While<T> for Result<T, DriverError> {
    fn while_(self, doing: &'static str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Driver { doing, source })
    }
}

impl<T> While<T> for Result<T, CublasError> {
    fn while_(self, doing: &'static str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Blas { doing, source })
    }
}
