//! What a forward pass hands over.

use crate::ops::TakeMaps;
use std::ops::ControlFlow;

/// Receives what a forward pass computes. After [`ControlFlow::Break`], nothing more comes.
pub trait Visit {
    /// Takes the hidden states of a layer, `[T, D]`, `<cls>` and `<eos>` rows included.
    fn hidden(&mut self, layer: usize, rows: &[f32]) -> ControlFlow<()>;

    /// Whether the attention maps of a head of a block are wanted, both counted from 0.
    fn wants_map(&self, _block: usize, _head: usize) -> bool {
        false
    }

    /// Takes an attention map. They come by block, then sequence, then head.
    fn map(&mut self, _map: AttentionMap<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(usize, &[f32]) -> ControlFlow<()>> Visit for F {
    fn hidden(&mut self, layer: usize, rows: &[f32]) -> ControlFlow<()> {
        self(layer, rows)
    }
}

/// The attention of one head of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct AttentionMap<'a> {
    /// Index of the sequence in the batch.
    pub sequence: usize,
    /// The block, counted from 0.
    pub block: usize,
    /// The head, counted from 0.
    pub head: usize,
    /// Probabilities, `[tokens, tokens]`: one row for each query. Each row sums to 1.
    pub probabilities: &'a [f32],
}

/// Hands the maps of one block on.
pub(super) struct BlockMaps<'a> {
    pub(super) visit: &'a mut dyn Visit,
    pub(super) block: usize,
}

impl TakeMaps for BlockMaps<'_> {
    fn wants(&self, head: usize) -> bool {
        self.visit.wants_map(self.block, head)
    }

    fn take(&mut self, sequence: usize, head: usize, probabilities: &[f32]) -> ControlFlow<()> {
        self.visit.map(AttentionMap {
            sequence,
            block: self.block,
            head,
            probabilities,
        })
    }
}
