//! The model in bf16, or in f32 on GPUs without bf16, beside the one in f16, for sequences whose numbers
//! do not fit f16.

use super::error::CudaError;
use super::model::GpuModel;
use crate::checkpoint::Checkpoint;
use crate::device::{Device, Dtype};
use crate::product::Fallback;
use std::sync::{Arc, Mutex, PoisonError};

/// A model that is loaded when it is first needed.
pub(super) struct FallbackModel {
    checkpoint: Arc<Checkpoint>,
    device: Device,
    top: usize,
    threads: usize,
    may_vary: bool,
    loaded: Mutex<Option<Arc<GpuModel>>>,
}

impl FallbackModel {
    /// As for [`GpuModel::load`]; `may_vary` says whether it may be used even if the bits of a sequence
    /// depend on its batch. Each sequence then has its own pass.
    pub(super) fn new(
        checkpoint: Arc<Checkpoint>,
        device: Device,
        top: usize,
        threads: usize,
        may_vary: bool,
    ) -> FallbackModel {
        FallbackModel {
            checkpoint,
            device,
            top,
            threads,
            may_vary,
            loaded: Mutex::new(None),
        }
    }

    /// Its number format.
    pub(super) fn format(&self) -> Fallback {
        self.device.fallback()
    }

    /// Whether the sequences of a batch share passes, as far as it was used.
    pub(super) fn shares_passes(&self) -> bool {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.as_ref().is_none_or(|model| model.has_same_bits())
    }

    /// The model, which takes turns with the one in f16. Threads that ask while it is being loaded wait.
    ///
    /// # Errors
    /// As [`GpuModel::load`], a checkpoint that has changed since it was opened, and bits that depend
    /// on the batch if they may not.
    pub(super) fn get(&self, main: &GpuModel) -> Result<Arc<GpuModel>, CudaError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = &*loaded {
            return Ok(Arc::clone(model));
        }
        main.release();
        let fallback = self.format();
        let mut model = GpuModel::load(
            &self.checkpoint,
            &self.device,
            match fallback {
                Fallback::Bf16 => Dtype::Bf16,
                Fallback::F32 => Dtype::F32,
            },
            self.top,
            self.threads,
            Some(main),
        )
        .map_err(|error| match error {
            CudaError::Memory { bytes, .. } => CudaError::FallbackMemory { fallback, bytes },
            other => other,
        })?;
        if main.has_head() && !model.load_head(&self.checkpoint)? {
            return Err(CudaError::Defect);
        }
        self.checkpoint.check_unchanged()?;
        if !model.has_same_bits() && !self.may_vary {
            return Err(CudaError::Varies { fallback });
        }
        let model = Arc::new(model);
        *loaded = Some(Arc::clone(&model));
        Ok(model)
    }
}
