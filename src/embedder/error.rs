//! Why a model could not be loaded, or a batch could not be embedded.

use crate::cuda::CudaError;
use crate::model::{self, ForwardError};
use crate::product::Product;
use std::error::Error;
use thiserror::Error;

/// Why a model could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The checkpoint is damaged, or the CPU has no memory or threads for it.
    #[error(transparent)]
    Model(#[from] model::LoadError),
    /// A GPU cannot take the model.
    #[error(transparent)]
    Gpu(#[from] CudaError),
}

impl LoadError {
    /// Whether the GPU is the obstacle, so that the model could be loaded without it.
    pub fn is_of_gpu(&self) -> bool {
        match self {
            LoadError::Gpu(error) => error.is_of_gpu(),
            LoadError::Model(_) => false,
        }
    }
}

/// Why a batch could not be embedded.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A product that the engine does not compute.
    #[error("{} are computed on the CPU only\nhint: use `device=cpu`", product.file_stem())]
    NotComputed {
        /// The product.
        product: Product,
    },
    /// Logits of a model that is loaded without its head.
    #[error("logits were requested, but the model is loaded without its language-model head")]
    NoLmHead,
    /// Residue rows of the first and the last token, which only the CPU engine hands over.
    #[error("rows of `<cls>` and `<eos>` are not computed on a GPU\nhint: use `device=cpu`")]
    NoEnds,
    /// A product of a sequence in windows.
    #[error("{} of a sequence need it in one pass, not in windows", product.file_stem())]
    NotInWindows {
        /// The product.
        product: Product,
    },
    /// Contacts, without the regression.
    #[error("contacts were requested, but the model is loaded without its contact regression")]
    NoContactHead,
    /// A layer above those that are loaded.
    #[error("layer {layer} was requested, but the model is loaded up to layer {loaded}")]
    NotLoaded {
        /// The layer.
        layer: usize,
        /// The highest layer that can be requested.
        loaded: usize,
    },
    /// The pass was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The model cannot take the batch.
    #[error("the model could not be run: {0}")]
    Model(#[from] candle_core::Error),
    /// The device failed, or cannot take the batch.
    #[error("{error}")]
    Device {
        /// Index of the sequence, if it concerns a single one.
        sequence: Option<usize>,
        /// What the device reported.
        error: Box<dyn Error + Send + Sync>,
    },
    /// Values that are not finite.
    #[error(
        "the model computes values that are not finite\nhint: use `dtype=f32`, which has a wider range"
    )]
    NotFinite {
        /// Index of the sequence.
        sequence: usize,
    },
    /// Values that do not fit f16.
    #[error("the model computes values that do not fit f16\nhint: use `dtype=bf16` or `dtype=f32`")]
    Overflow {
        /// Index of the sequence.
        sequence: usize,
    },
}

impl EngineError {
    /// Index of the sequence, if the error concerns a single one.
    pub fn sequence(&self) -> Option<usize> {
        match self {
            EngineError::Device { sequence, .. } => *sequence,
            EngineError::NotFinite { sequence } | EngineError::Overflow { sequence } => {
                Some(*sequence)
            }
            _ => None,
        }
    }

    /// The same error about another sequence: a window becomes the sequence that it is part of.
    pub(crate) fn of_sequence(self, sequence: usize) -> EngineError {
        match self {
            EngineError::Device { error, .. } => EngineError::Device {
                sequence: Some(sequence),
                error,
            },
            EngineError::NotFinite { .. } => EngineError::NotFinite { sequence },
            EngineError::Overflow { .. } => EngineError::Overflow { sequence },
            other => other,
        }
    }
}

impl From<ForwardError> for EngineError {
    fn from(error: ForwardError) -> EngineError {
        match error {
            ForwardError::Cancelled => EngineError::Cancelled,
            ForwardError::Candle(error) => EngineError::Model(error),
        }
    }
}
