//! Token ids in, embeddings out: one [`Embedder`] over any [`Engine`]. Knows no files.

mod cpu;
mod engine;
mod error;
mod maps;
mod options;
mod rows;
#[cfg(test)]
mod tests;
mod windowed;
mod with_logits;

pub use engine::{About, Capacity, Computed, Engine, Out, check};
pub use error::{EngineError, LoadError};
pub use options::{EmbedderOptions, OnOverflow};

pub(crate) use cpu::{TEAM_TOKENS, kept_tokens, shared_from};

use crate::cancel::Cancel;
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::cuda;
use crate::device::{Device, DeviceChoice, DeviceError, Dtype};
use crate::model::{LmHead, Packed};
use crate::ops::CpuPath;
use crate::product::Request;
use crate::tokenizer::TokenId;
use cpu::CpuEngine;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use windowed::Windowed;
use with_logits::WithLogits;

/// One sequence to embed.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Token ids with `<cls>` and `<eos>`.
    pub tokens: &'a [TokenId],
    /// Residue ranges to embed one by one and blend (see [`crate::windows`]); empty to embed the whole
    /// sequence in one pass.
    pub windows: &'a [Range<usize>],
}

/// Resolves a choice of device on this machine: see [`Device::resolve`].
///
/// # Errors
/// What was requested is not available; nothing is replaced silently.
pub fn resolve(
    choice: &DeviceChoice,
    path: Option<CpuPath>,
    dtype: Option<Dtype>,
) -> Result<Device, DeviceError> {
    Device::resolve(choice, path, dtype, || {
        cuda::gpus().map_err(|error| error.to_string())
    })
}

/// A loaded model. All worker threads share it.
pub struct Embedder {
    engine: Arc<dyn Engine>,
}

impl Embedder {
    /// Loads the blocks up to the top layer onto the device.
    ///
    /// # Errors
    /// A damaged checkpoint, naming tensor and file; a layer that the model does not have; logits
    /// without a language-model head; a device that cannot take the model.
    pub fn load(
        checkpoint: &Arc<Checkpoint>,
        options: &EmbedderOptions,
    ) -> Result<Embedder, LoadError> {
        let head = match options.lm_head {
            true => Some(LmHead::load(checkpoint, options.device.path)?),
            false => None,
        };
        let (engine, shared_from): (Arc<dyn Engine>, usize) = match options.device.is_gpu() {
            true => {
                let engine = cuda::GpuEngine::load(checkpoint, options)?;
                if engine.has_lm_head() {
                    return Ok(Embedder::new(Arc::new(engine)));
                }
                (Arc::new(engine), LmHead::ROWS)
            }
            false => (
                Arc::new(CpuEngine::load(checkpoint, options)?),
                shared_from(options.max_tokens),
            ),
        };
        Ok(Embedder::new(match head {
            None => engine,
            Some(head) => Arc::new(WithLogits {
                engine,
                head,
                threads: options.threads.clone(),
                shared_from,
            }),
        }))
    }

    /// Embeds with an engine that is already loaded.
    pub fn new(engine: Arc<dyn Engine>) -> Embedder {
        Embedder { engine }
    }

    /// What computes.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The shape of the model.
    pub fn config(&self) -> &EsmConfig {
        self.engine.config()
    }

    /// Computes the products of `request` for every sequence of a batch: whole sequences in one pass,
    /// then those with windows, each in passes over its windows. `out` receives them as
    /// [`Engine::run`] says, with the index of the sequence in `batch`.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn embed(
        &self,
        batch: &[Sequence<'_>],
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        let mut whole = Vec::with_capacity(batch.len());
        let mut in_windows = Vec::new();
        for (index, sequence) in batch.iter().enumerate() {
            match sequence.windows {
                [] => whole.push((index, sequence)),
                _ => in_windows.push((index, sequence)),
            }
        }
        if !whole.is_empty() {
            let packed = Packed::new(whole.iter().map(|(_, sequence)| sequence.tokens));
            let mut is_over = false;
            let mut hand = |computed: Computed<'_>| {
                let sequence = whole.get(computed.sequence).map_or(0, |(index, _)| *index);
                let flow = out(Computed {
                    sequence,
                    ..computed
                });
                is_over = flow.is_break();
                flow
            };
            let done = self.engine.run(&packed, request, cancel, &mut hand);
            done.map_err(|error| match error.sequence() {
                Some(at) => error.of_sequence(whole.get(at).map_or(0, |(index, _)| *index)),
                None => error,
            })?;
            if is_over {
                return Ok(());
            }
        }
        for (index, sequence) in in_windows {
            let windowed = Windowed {
                engine: self.engine(),
                index,
                sequence,
                request,
                cancel,
            };
            if windowed.embed(out)? == ControlFlow::Break(()) {
                return Ok(());
            }
        }
        Ok(())
    }
}
