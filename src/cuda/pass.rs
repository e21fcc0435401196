//! What a forward pass is given, what it hands over, and how it can end.

use super::error::CudaError;
use crate::cancel::Cancel;
use crate::product::{OutDtype, Product, Request};
use half::f16;
use std::ops::ControlFlow;

/// What is computed for the sequences of a pass.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    /// Representations, ascending, each once.
    pub(super) layers: &'a [usize],
    pub(super) residues: ResidueRows,
    /// Whether logits are made of the last representation, which is then one of the layers.
    pub(super) logits: bool,
    /// Tokens of a full batch.
    pub(super) batch_tokens: usize,
    pub(super) cancel: &'a Cancel,
}

/// Residue rows that leave the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResidueRows {
    /// None: only pooled rows.
    None,
    /// As 32-bit floats.
    F32,
    /// As half precision, rounded on the GPU.
    F16,
}

impl ResidueRows {
    /// Those that a request needs.
    pub(super) fn of(request: &Request) -> ResidueRows {
        let is_residues = |product: &Product| matches!(product, Product::Residues { .. });
        match (request.products().iter().any(is_residues), request.dtype()) {
            (false, _) => ResidueRows::None,
            (true, OutDtype::F32) => ResidueRows::F32,
            (true, OutDtype::F16) => ResidueRows::F16,
        }
    }

    /// Bytes of one row of `dim` numbers.
    pub(super) fn row_bytes(self, dim: usize) -> usize {
        match self {
            ResidueRows::None => 0,
            ResidueRows::F32 => 4 * dim,
            ResidueRows::F16 => 2 * dim,
        }
    }
}

/// One representation of one sequence of n residues, in the memory of the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostRows<'a> {
    /// The `<cls>` row, `[D]`.
    pub(super) bos: &'a [f32],
    /// Mean of the residue rows, `[D]`.
    pub(super) mean: &'a [f32],
    /// Largest values of the residue rows, `[D]`.
    pub(super) max: &'a [f32],
    /// Residue rows, `[n, D]`; empty unless [`ResidueRows::F32`] was requested.
    pub(super) residues: &'a [f32],
    /// Residue rows, `[n, D]`; empty unless [`ResidueRows::F16`] was requested. A number beyond the
    /// range of f16 is infinite.
    pub(super) halves: &'a [f16],
    /// Logits of all tokens, `[n + 2, columns]` with the [`columns`](super::lm_head::columns) of the
    /// model; empty for other representations than the last and unless they were requested.
    pub(super) logits: &'a [f32],
}

/// Receives rows: position of the layer in [`Pass::layers`], index of the sequence, rows.
pub(super) type Each<'a> = &'a mut dyn FnMut(usize, usize, HostRows<'_>) -> ControlFlow<()>;

/// A sequence whose numbers do not fit f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow {
    /// Its index in the batch.
    pub(super) sequence: usize,
    /// The first layer that was not handed over for it, by its position in [`Pass::layers`]. No later
    /// one was either.
    pub(super) layer: usize,
}

/// Why a pass ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// The GPU, or what it was given.
    Cuda {
        /// The sequence, if it concerns a single one.
        sequence: Option<usize>,
        error: Box<CudaError>,
    },
    /// Numbers of this sequence are not finite.
    NotFinite { sequence: usize },
    /// Numbers of this sequence do not fit f16, and there is no other number format for it.
    Overflow { sequence: usize },
    /// The caller cancelled it.
    Cancelled,
    /// The receiver of rows wants no more.
    Broken,
}

impl From<CudaError> for Failure {
    fn from(error: CudaError) -> Failure {
        Failure::Cuda {
            sequence: None,
            error: Box::new(error),
        }
    }
}

impl Failure {
    /// The failure of a pass over sequences that begin with sequence `first` of the batch.
    pub(super) fn offset_by(self, first: usize) -> Failure {
        match self {
            Failure::Cuda { sequence, error } => Failure::Cuda {
                sequence: sequence.map(|sequence| first + sequence),
                error,
            },
            Failure::NotFinite { sequence } => Failure::NotFinite {
                sequence: first + sequence,
            },
            other => other,
        }
    }
}
