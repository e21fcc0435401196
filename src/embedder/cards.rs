//! Passes on cards, and again in bf16 for what does not fit f16.

use super::rows::Rows;
use super::{EmbedError, Stopped};
use crate::cuda::{self, HostRows};
use crate::device::ResidueRows;

/// A model on cards, and what is wanted of a batch.
pub(super) struct OnCards<'a> {
    pub(super) esm: &'a cuda::Esm,
    pub(super) spare: Option<&'a cuda::Spare>,
    pub(super) layers: &'a [usize],
    pub(super) residues: ResidueRows,
}

impl OnCards<'_> {
    /// One pass, and more in bf16 for sequences whose numbers do not fit f16: of these, the layers
    /// from the first on that do not fit. So a row depends on its sequence and layer alone.
    pub(super) fn run<E>(
        &self,
        sequences: &[&[u8]],
        go_on: &dyn Fn() -> Result<(), Stopped<E>>,
        mut each: impl FnMut(usize, usize, Rows<'_>) -> Result<(), E>,
    ) -> Result<(), Stopped<E>> {
        let mut hand = |layer: usize, sequence: usize, rows: HostRows<'_>| {
            each(sequence, layer, Rows::of_card(rows, false)).map_err(Stopped::Caller)
        };
        let mut overflows =
            self.esm
                .forward(sequences, self.layers, self.residues, go_on, &mut hand)?;
        overflows.sort_by_key(|overflow| (overflow.layer, overflow.sequence));
        for group in overflows.chunk_by(|a, b| a.layer == b.layer) {
            let of_batch: Vec<usize> = group.iter().map(|overflow| overflow.sequence).collect();
            let first = group.first().map_or(0, |overflow| overflow.layer);
            self.run_in_bf16(sequences, &of_batch, first, go_on, &mut each)?;
        }
        Ok(())
    }

    /// One pass in bf16 over some sequences of a batch, and over the wanted layers from the one at
    /// position `first` on.
    pub(super) fn run_in_bf16<E>(
        &self,
        batch: &[&[u8]],
        of_batch: &[usize],
        first: usize,
        go_on: &dyn Fn() -> Result<(), Stopped<E>>,
        each: &mut impl FnMut(usize, usize, Rows<'_>) -> Result<(), E>,
    ) -> Result<(), Stopped<E>> {
        let at = |i: usize| of_batch.get(i).copied().unwrap_or_default();
        let Some(spare) = self.spare else {
            return Err(Stopped::Card(EmbedError::Overflow { sequence: at(0) }));
        };
        let own = |error| {
            Stopped::Card(EmbedError::Cuda {
                sequence: Some(at(0)),
                error,
            })
        };
        let sequences: Vec<&[u8]> = of_batch
            .iter()
            .filter_map(|&i| batch.get(i).copied())
            .collect();
        let layers = self.layers.get(first..).unwrap_or_default();
        let mut hand = |layer: usize, sequence: usize, rows: HostRows<'_>| {
            each(at(sequence), first + layer, Rows::of_card(rows, true)).map_err(Stopped::Caller)
        };
        let esm = spare.get(self.esm).map_err(own)?;
        esm.forward(&sequences, layers, self.residues, go_on, &mut hand)
            .map_err(|failure| match Stopped::from(failure) {
                Stopped::Card(error) => {
                    let sequence = at(error.sequence().unwrap_or(0));
                    Stopped::Card(error.of_sequence(sequence))
                }
                other => other,
            })?;
        Ok(())
    }
}

impl<E> From<cuda::Failure<Stopped<E>>> for Stopped<E> {
    fn from(failure: cuda::Failure<Stopped<E>>) -> Self {
        match failure {
            cuda::Failure::Caller(stopped) => stopped,
            cuda::Failure::Cuda { sequence, error } => {
                Stopped::Card(EmbedError::Cuda { sequence, error })
            }
            cuda::Failure::NotFinite { sequence } => {
                Stopped::Card(EmbedError::NotFinite { sequence })
            }
        }
    }
}
