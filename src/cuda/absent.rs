//! What stands for the CUDA engine on systems other than Linux: the same names, and no card.

use crate::checkpoint::{Checkpoint, EsmConfig, InvFreqSource};
use crate::device::{Card, Device, Dtype, ResidueRows};
use crate::run_record::CudaFacts;
use half::f16;
use std::sync::Arc;
use thiserror::Error;

/// Why a card cannot be used.
#[derive(Debug, Error)]
pub enum CudaError {
    /// The system has no CUDA.
    #[error("CUDA is available on Linux only")]
    Absent,
}

impl CudaError {
    /// Whether the card is what is in the way, and the same could be computed without it.
    pub fn is_of_card(&self) -> bool {
        true
    }
}

/// The cards of this machine.
///
/// # Errors
/// Always.
pub fn cards() -> Result<Vec<Card>, CudaError> {
    Err(CudaError::Absent)
}

/// What one representation of one sequence of n residues comes to.
#[derive(Clone, Copy, Debug)]
pub struct HostRows<'a> {
    /// The `<cls>` row, `[D]`.
    pub bos: &'a [f32],
    /// Mean of the residue rows, `[D]`.
    pub mean: &'a [f32],
    /// Largest values of the residue rows, `[D]`.
    pub max: &'a [f32],
    /// Residue rows, `[n, D]`.
    pub residues: &'a [f32],
    /// Residue rows as f16, `[n, D]`.
    pub halves: &'a [f16],
}

/// Why a pass ended early.
#[derive(Debug)]
pub enum Failure<E> {
    /// The card, or what it was given.
    Cuda {
        /// The sequence that it concerns, if it is one.
        sequence: Option<usize>,
        /// What happened.
        error: CudaError,
    },
    /// A number of this sequence is not finite.
    NotFinite {
        /// Its index.
        sequence: usize,
    },
    /// What the caller's functions returned.
    Caller(E),
}

/// A sequence whose numbers do not fit f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Its index in the batch.
    pub sequence: usize,
    /// The first of the wanted representations that was not handed over for it.
    pub layer: usize,
}

/// Takes rows: position of the layer among the wanted ones, index of the sequence, rows.
type Each<'a, E> = &'a mut dyn FnMut(usize, usize, HostRows<'_>) -> Result<(), E>;

/// A model on cards: there is none.
pub enum Esm {}

impl Esm {
    /// # Errors
    /// Always.
    pub fn load(
        _: &Checkpoint,
        _: &Device,
        _: Dtype,
        _top: usize,
        _threads: usize,
        _beside: Option<&Esm>,
    ) -> Result<Esm, CudaError> {
        Err(CudaError::Absent)
    }

    /// Shape of the model.
    pub fn config(&self) -> &EsmConfig {
        match *self {}
    }

    /// Number format of the computation.
    pub fn dtype(&self) -> Dtype {
        match *self {}
    }

    /// Where the rotary frequencies came from.
    pub fn inv_freq(&self) -> Option<InvFreqSource> {
        match *self {}
    }

    /// Batches that can be worked on at the same time.
    pub fn lanes(&self) -> usize {
        match *self {}
    }

    /// Whether several sequences share a pass.
    pub fn has_same_bits(&self) -> bool {
        match *self {}
    }

    /// Tokens of a batch for which every lane has memory.
    pub fn batch_tokens(&self, _: ResidueRows) -> usize {
        match *self {}
    }

    /// What computed, as `run.json` records it.
    pub fn about(&self) -> CudaFacts {
        match *self {}
    }

    /// # Errors
    /// Never: there is no model.
    pub fn forward<E>(
        &self,
        _sequences: &[&[u8]],
        _wanted: &[usize],
        _: ResidueRows,
        _go_on: &dyn Fn() -> Result<(), E>,
        _: Each<'_, E>,
    ) -> Result<Vec<Overflow>, Failure<E>> {
        match *self {}
    }
}

/// The model in bfloat16, beside that in f16.
pub struct Spare(());

impl Spare {
    /// Never used: it belongs to a model on cards.
    pub fn new(
        _: Arc<Checkpoint>,
        _: Device,
        _top: usize,
        _threads: usize,
        _may_vary: bool,
    ) -> Spare {
        Spare(())
    }

    /// Whether it was used and each sequence had a pass of its own.
    pub fn gave_each_its_own(&self) -> bool {
        false
    }

    /// # Errors
    /// Never: there is no model.
    pub fn get(&self, main: &Esm) -> Result<Arc<Esm>, CudaError> {
        match *main {}
    }
}
