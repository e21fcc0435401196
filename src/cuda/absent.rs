//! The CUDA engine on systems other than Linux: the same names, and no GPU.

mod measured;

pub use measured::{
    MeasuredAttention, MeasuredKernel, MeasuredModel, MeasuredProduct, MeasuredRows, MeasuredTiles,
};

use crate::cancel::Cancel;
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::device::Gpu;
use crate::embedder::{About, Capacity, EmbedderOptions, Engine, EngineError, Out};
use crate::model::Packed;
use crate::product::Request;
use std::sync::Arc;
use thiserror::Error;

/// Why a GPU cannot be used.
#[derive(Debug, Error)]
pub enum CudaError {
    /// The system has no CUDA.
    #[error("CUDA is available on Linux only")]
    Absent,
}

impl CudaError {
    /// Whether the GPU is the obstacle, so that the CPU could do the same work.
    pub fn is_of_gpu(&self) -> bool {
        true
    }
}

/// The GPUs of this machine.
///
/// # Errors
/// Always.
pub fn gpus() -> Result<Vec<Gpu>, CudaError> {
    Err(CudaError::Absent)
}

/// cuBLASLt.
///
/// # Errors
/// Always.
pub fn cublaslt() -> Result<String, CudaError> {
    Err(CudaError::Absent)
}

/// Times the parts of a block.
///
/// # Errors
/// Always.
pub fn measure(_: &Gpu, _: usize, _: usize) -> Result<MeasuredModel, CudaError> {
    Err(CudaError::Absent)
}

/// A model on GPUs, which cannot exist.
pub enum GpuEngine {}

impl GpuEngine {
    /// # Errors
    /// Always.
    pub fn load(_: &Arc<Checkpoint>, _: &EmbedderOptions) -> Result<GpuEngine, CudaError> {
        Err(CudaError::Absent)
    }

    /// Whether it computes logits.
    pub fn has_lm_head(&self) -> bool {
        match *self {}
    }
}

impl Engine for GpuEngine {
    fn config(&self) -> &EsmConfig {
        match *self {}
    }

    fn capacity(&self, _: &Request) -> Capacity {
        match *self {}
    }

    fn about(&self) -> About {
        match *self {}
    }

    fn run(&self, _: &Packed, _: &Request, _: &Cancel, _: Out<'_>) -> Result<(), EngineError> {
        match *self {}
    }
}
