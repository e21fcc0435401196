//! Why a batch could not be embedded.

use crate::cuda::CudaError;
use thiserror::Error;

/// Why a batch could not be embedded.
#[derive(Debug, Error)]
pub enum EmbedError {
    /// The engine refused the batch.
    #[error("the model could not be run: {0}")]
    Engine(#[from] candle_core::Error),
    /// It was asked to stop: see [`super::Embedder::heed`].
    #[error("stopped as asked")]
    Stopped,
    /// A card refused the batch.
    #[error("{error}")]
    Cuda {
        /// Index of the sequence that it concerns, if it is one.
        sequence: Option<usize>,
        /// What it said.
        error: CudaError,
    },
    /// A number that is not finite came out.
    #[error("the model gives numbers that are not finite: choose --dtype f32, which has more room")]
    NotFinite {
        /// Index of the sequence.
        sequence: usize,
    },
    /// A number does not fit f16.
    #[error("the model gives numbers that do not fit f16: choose --dtype bf16 or f32")]
    Overflow {
        /// Index of the sequence.
        sequence: usize,
    },
}

impl EmbedError {
    /// Index of the sequence that it concerns, if it is known.
    pub fn sequence(&self) -> Option<usize> {
        match self {
            EmbedError::Cuda { sequence, .. } => *sequence,
            EmbedError::NotFinite { sequence } | EmbedError::Overflow { sequence } => {
                Some(*sequence)
            }
            _ => None,
        }
    }

    /// An error of a pass over windows, as one of their sequence.
    pub(super) fn of_sequence(self, index: usize) -> EmbedError {
        match self {
            EmbedError::Cuda { error, .. } => EmbedError::Cuda {
                sequence: Some(index),
                error,
            },
            EmbedError::NotFinite { .. } => EmbedError::NotFinite { sequence: index },
            EmbedError::Overflow { .. } => EmbedError::Overflow { sequence: index },
            other => other,
        }
    }
}
