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
    may_vary: bool,
    loaded: Mutex<Option<Arc<Esm>>>,
}

impl Spare {
    /// As for [`Esm::load`]; `may_vary` says whether it may be used if the bits of a sequence depend
    /// on its batch, each of which has a pass of its own then.
    pub fn new(
        checkpoint: Arc<Checkpoint>,
        device: Device,
        top: usize,
        threads: usize,
        may_vary: bool,
    ) -> Spare {
        Spare {
            checkpoint,
            device,
            top,
            threads,
            may_vary,
            loaded: Mutex::new(None),
        }
    }

    /// Whether it was used and each sequence had a pass of its own, as bits depend on the batch.
    pub fn gave_each_its_own(&self) -> bool {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.as_ref().is_some_and(|esm| !esm.has_same_bits())
    }

    /// The model, which takes turns with the one in f16; who asks while it is loaded waits.
    ///
    /// # Errors
    /// As [`Esm::load`], a checkpoint that has changed meanwhile, and bits that depend on the batch if
    /// they may not.
    pub fn get(&self, main: &Esm) -> Result<Arc<Esm>, CudaError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(esm) = &*loaded {
            return Ok(Arc::clone(esm));
        }
        main.release();
        let esm = Esm::load(
            &self.checkpoint,
            &self.device,
            Dtype::Bf16,
            self.top,
            self.threads,
            Some(main),
        )
        .map_err(|error| match error {
            CudaError::Memory { bytes, .. } => CudaError::Memory {
                what: "the same weights in bf16, for records whose numbers do not fit f16",
                bytes,
            },
            other => other,
        })?;
        self.checkpoint.check_unchanged()?;
        if !esm.has_same_bits() && !self.may_vary {
            return Err(CudaError::Varies);
        }
        let esm = Arc::new(esm);
        *loaded = Some(Arc::clone(&esm));
        Ok(esm)
    }
}
