//! The model in bfloat16, beside that in f16, for sequences whose numbers do not fit f16.

use super::error::CudaError;
use super::model::Esm;
use crate::checkpoint::Checkpoint;
use crate::device::{Device, Dtype};
use std::sync::{Arc, Mutex, PoisonError};

/// A model that is loaded when it is needed for the first time.
pub struct Spare {
    checkpoint: Arc<Checkpoint>,
    device: Device,
    top: usize,
    threads: usize,
    loaded: Mutex<Option<Arc<Esm>>>,
}

impl Spare {
    /// As for [`Esm::load`].
    pub fn new(checkpoint: Arc<Checkpoint>, device: Device, top: usize, threads: usize) -> Spare {
        Spare {
            checkpoint,
            device,
            top,
            threads,
            loaded: Mutex::new(None),
        }
    }

    /// The model; who asks while it is loaded waits.
    ///
    /// # Errors
    /// As [`Esm::load`], and a checkpoint that has changed meanwhile.
    pub fn get(&self) -> Result<Arc<Esm>, CudaError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(esm) = &*loaded {
            return Ok(Arc::clone(esm));
        }
        let esm = Esm::load(
            &self.checkpoint,
            &self.device,
            Dtype::Bf16,
            self.top,
            self.threads,
        )
        .map_err(|error| match error {
            CudaError::Memory { bytes, .. } => CudaError::Memory {
                what: "the same weights in bf16, for records whose numbers do not fit f16",
                bytes,
            },
            other => other,
        })?;
        self.checkpoint.check_unchanged()?;
        let esm = Arc::new(esm);
        *loaded = Some(Arc::clone(&esm));
        Ok(esm)
    }
}
