//! Why a session cannot do what is asked of it.

use crate::admission::{ModelTooLarge, PolicyError, Unfit};
use crate::checkpoint::CheckpointError;
use crate::device::{DeviceError, GpuChoice};
use crate::embedder::{EngineError, LoadError};
use thiserror::Error;

/// Why a session cannot do what is asked of it.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The checkpoint is damaged or lacks what is needed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The device is not available.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The model cannot treat sequences in this way.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The model needs more memory than there is.
    #[error(transparent)]
    Memory(#[from] ModelTooLarge),
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A layer that the model does not have.
    #[error("{0}")]
    NoLayer(String),
    /// A sequence that cannot be embedded.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A GPU on which bits depend on the batch, although that is not allowed.
    #[error(
        "{}, which `on_varying=fail` does not allow\n\
         hint: leave `on_varying` out; then each sequence is computed in a separate pass",
        SessionError::VARYING
    )]
    Varying,
    /// Contacts on a GPU.
    #[error(
        "`device={0}`: contacts and attentions are computed on the CPU only\nhint: use `device=cpu`"
    )]
    ContactsOnGpu(GpuChoice),
    /// A pass failed.
    #[error("{error}")]
    Pass {
        /// Which of the sequences it concerns, if it is a single one.
        sequence: Option<usize>,
        /// Why.
        error: EngineError,
    },
    /// A FASTA file cannot be read, or one of its records cannot be embedded.
    #[error("{0}")]
    Input(String),
    /// It was asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl SessionError {
    pub(super) const VARYING: &str =
        "a self-test on this GPU found that the bits of a sequence depend on its batch";

    /// Whether it is about the sequences, and not about the machine or the model.
    pub fn is_of_input(&self) -> bool {
        matches!(
            self,
            SessionError::Unfit(_) | SessionError::Input(_) | SessionError::NoLayer(_)
        )
    }
}
