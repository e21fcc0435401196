//! The ESM transformer: ESM-2, ESM-1b, ESM-1v and ESM C.
//!
//! Tokens arrive packed: whole sequences end to end, `[T]`, with `cu_seqlens` saying where each
//! starts. Linear layers and norms see `[T, D]` and know nothing about sequences; only attention
//! does. There is no padding anywhere.

mod blocks;
mod contact_head;
mod embedding;
mod layer;
mod lm_head;
mod load;
mod memory;
mod packed;
mod sample;
mod visit;
mod workspace;

pub use contact_head::{ContactHead, ContactSums};
pub use lm_head::LmHead;
pub use load::{LoadError, LoadOptions};
pub use memory::PassMemory;
pub use packed::Packed;
pub use sample::BlockSample;
pub use visit::{AttentionMap, Visit};

// For the engine on NVIDIA GPUs, which is on Linux only.
#[cfg(target_os = "linux")]
pub(crate) use blocks::{BlockNames, Frequencies};
#[cfg(target_os = "linux")]
pub(crate) use embedding::TokenScale;
#[cfg(target_os = "linux")]
pub(crate) use load::is_loaded;

use crate::cancel::Cancel;
use crate::checkpoint::{EsmConfig, InvFreqSource};
use crate::ops::{self, CpuPath, LayerNorm, RotaryTable, Team};
use candle_core::{Storage, Tensor};
use embedding::Embedding;
use layer::TransformerLayer;
use std::borrow::Cow;
use std::sync::Arc;
use thiserror::Error;
use visit::BlockMaps;
use workspace::Workspaces;

/// Rotary tables are made for this many tokens at load; passes with longer sequences make their own.
const ROTARY_POSITIONS: usize = 2048;

/// The rotary frequencies of one or more layers with their table.
struct Rotary {
    inv_freq: Vec<f32>,
    table: RotaryTable,
}

impl Rotary {
    fn new(inv_freq: Vec<f32>) -> Rotary {
        let table = RotaryTable::new(&inv_freq, ROTARY_POSITIONS);
        Rotary { inv_freq, table }
    }

    /// A table of at least `positions` positions.
    fn table(&self, positions: usize) -> Cow<'_, RotaryTable> {
        if positions <= self.table.positions() {
            Cow::Borrowed(&self.table)
        } else {
            Cow::Owned(RotaryTable::new(&self.inv_freq, positions))
        }
    }
}

/// An ESM model with the blocks that were requested, ready to run.
pub struct Esm {
    config: EsmConfig,
    embedding: Embedding,
    /// The first blocks of the model. Those above [`LoadOptions::top`] are not loaded.
    layers: Vec<TransformerLayer>,
    /// `emb_layer_norm_after`, present if the model is loaded up to the last representation.
    final_norm: Option<LayerNorm>,
    inv_freq: Option<InvFreqSource>,
    path: CpuPath,
    workspaces: Workspaces,
}

impl Esm {
    /// Shape of the model.
    pub fn config(&self) -> &EsmConfig {
        &self.config
    }

    /// Where the rotary frequencies came from; None for learned positions.
    pub fn inv_freq(&self) -> Option<InvFreqSource> {
        self.inv_freq
    }

    /// Runs the model on a packed batch and hands over the requested representations.
    ///
    /// `wanted` holds representation indices in ascending order, each once: 0 is the scaled
    /// embedding, i the residual stream after block i, and the last one is after the final
    /// LayerNorm. `visit` receives them, and the attention maps that it wants, block by block; after
    /// [`Break`](std::ops::ControlFlow::Break) it is not called again, and the result is `Ok`.
    /// `cancel` is checked before every block.
    ///
    /// # Errors
    /// A cancelled pass, a layer above those loaded, tokens outside the vocabulary, or a sequence
    /// too long for learned positions.
    pub fn forward(
        &self,
        batch: &Packed,
        wanted: &[usize],
        team: Team<'_>,
        cancel: &Cancel,
        visit: &mut dyn Visit,
    ) -> Result<(), ForwardError> {
        let of_maps = (0..self.config.layers).rfind(|&block| self.wants_maps(visit, block));
        let of_maps = of_maps.map(|block| block + 1);
        let Some(top) = wanted.last().copied().max(of_maps) else {
            return Ok(());
        };
        let loaded = self.layers.len();
        if top > loaded || !wanted.is_sorted_by(|a, b| a < b) {
            return Err(ForwardError::Candle(candle_core::Error::Msg(format!(
                "representations {wanted:?} were requested of a model loaded up to {loaded}"
            ))));
        }
        let (tokens, dim) = (batch.token_ids().len(), self.config.dim);
        let shape = ops::qkv_shape(self.path, dim, tokens);
        let workspace = self.workspaces.take(tokens * dim, shape.iter().product())?;
        let hidden = workspace.hidden(tokens, dim)?;
        let qkv = workspace.qkv(shape)?;
        hidden.slice_set(&self.embedding.forward(batch)?, 0, 0)?;
        let mut wanted = wanted.iter().copied().peekable();
        let longest = batch.longest();
        let mut map = Vec::new();
        // Layers share a table when they share frequencies, as every published model does.
        let mut table: Option<(*const Rotary, Cow<'_, RotaryTable>)> = None;
        for index in 0..=top {
            if let Some(layer) = index.checked_sub(1).and_then(|i| self.layers.get(i)) {
                if cancel.is_cancelled() {
                    return Err(ForwardError::Cancelled);
                }
                let rotary = layer.rotary().map(|r| {
                    let at = Arc::as_ptr(r);
                    match table.take() {
                        Some((from, t)) if from == at => (at, t),
                        _ => (at, r.table(longest)),
                    }
                });
                table = rotary;
                let rotary = table.as_ref().map(|(_, t)| t.as_ref());
                let block = index - 1;
                let maps = match self.wants_maps(visit, block) {
                    true => Some((BlockMaps { visit, block }, &mut map)),
                    false => None,
                };
                let cu_seqlens = batch.cu_seqlens();
                let flow = layer.forward(&hidden, &qkv, cu_seqlens, rotary, team, maps)?;
                if flow.is_break() {
                    break;
                }
            }
            if wanted.next_if_eq(&index).is_some() {
                let flow = match &self.final_norm {
                    Some(norm) if index == self.config.layers => {
                        host(&hidden.apply_op1_no_bwd(&norm)?, |rows| {
                            visit.hidden(index, rows)
                        })?
                    }
                    _ => host(&hidden, |rows| visit.hidden(index, rows))?,
                };
                if flow.is_break() {
                    break;
                }
            }
        }
        drop((hidden, qkv));
        self.workspaces.give(workspace);
        Ok(())
    }
}

impl Esm {
    fn wants_maps(&self, visit: &dyn Visit, block: usize) -> bool {
        (0..self.config.heads).any(|head| visit.wants_map(block, head))
    }
}

/// Why a forward pass ended early.
#[derive(Debug, Error)]
pub enum ForwardError {
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The model cannot take the batch.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Passes on a contiguous tensor's elements in host memory.
fn host<T>(t: &Tensor, each: impl FnOnce(&[f32]) -> T) -> candle_core::Result<T> {
    let (storage, layout) = t.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(values), Some((start, end))) => {
            Ok(each(&values.as_slice::<f32>()?[start..end]))
        }
        _ => Ok(each(&t.flatten_all()?.to_vec1::<f32>()?)),
    }
}
