//! What becomes of a sequence: its rows.

use crate::cuda::HostRows;
use crate::pooling;
use half::f16;

/// One representation of one sequence of n residues.
#[derive(Clone, Copy, Debug)]
pub struct Representation<'a> {
    /// Index of the sequence in the batch.
    pub sequence: usize,
    /// Index of the layer in [`super::EmbedderOptions::layers`].
    pub layer: usize,
    /// The `<cls>` row, `[D]`.
    pub bos: &'a [f32],
    /// One row per residue, `[n, D]`; empty if they are not wanted, or wanted as f16: see
    /// [`super::Embedder::want_residues`].
    pub residues: &'a [f32],
    /// The same as f16, where they are wanted so and the device rounds them.
    pub halves: &'a [f16],
    /// Mean over the residue rows, `[D]`, where the device has computed it.
    pub mean: Option<&'a [f32]>,
    /// Largest values over the residue rows, `[D]`, where the device has computed them.
    pub max: Option<&'a [f32]>,
    /// Whether it was computed in bf16 because its numbers do not fit f16.
    pub in_bf16: bool,
}

/// One representation of one sequence of a forward pass.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) bos: &'a [f32],
    pub(super) residues: &'a [f32],
    pub(super) halves: &'a [f16],
    pub(super) mean: Option<&'a [f32]>,
    pub(super) max: Option<&'a [f32]>,
    pub(super) in_bf16: bool,
}

impl<'a> Rows<'a> {
    /// Of hidden states `[n + 2, D]`.
    pub(super) fn of_hidden(hidden: &'a [f32], dim: usize) -> Rows<'a> {
        Rows {
            bos: pooling::bos(hidden, dim),
            residues: pooling::residues(hidden, dim),
            halves: &[],
            mean: None,
            max: None,
            in_bf16: false,
        }
    }

    pub(super) fn of_card(rows: HostRows<'a>, in_bf16: bool) -> Rows<'a> {
        Rows {
            bos: rows.bos,
            residues: rows.residues,
            halves: rows.halves,
            mean: Some(rows.mean),
            max: Some(rows.max),
            in_bf16,
        }
    }

    pub(super) fn representation(self, sequence: usize, layer: usize) -> Representation<'a> {
        Representation {
            sequence,
            layer,
            bos: self.bos,
            residues: self.residues,
            halves: self.halves,
            mean: self.mean,
            max: self.max,
            in_bf16: self.in_bf16,
        }
    }
}
