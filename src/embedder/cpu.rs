//! The engine on the CPU.

use super::EngineError;
use super::engine::{About, Capacity, Engine, Out, check};
use super::options::EmbedderOptions;
use super::rows::LayerRows;
use crate::cancel::Cancel;
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::model::{Esm, LoadError, LoadOptions, Packed};
use crate::ops::Team;
use crate::pooling;
use crate::product::Request;
use crate::threads::Threads;
use std::ops::ControlFlow;

/// Tokens above which all threads share a sequence, if it is a batch by itself: half a minute of one
/// core with the 650M model.
pub(crate) const TEAM_TOKENS: usize = 2048;

/// Sequences of more tokens than this are shared by all threads.
pub(crate) fn shared_from(max_tokens: usize) -> usize {
    max_tokens.max(TEAM_TOKENS)
}

/// Tokens of the largest pass whose memory is kept for the next one. Larger passes allocate theirs each
/// time, which costs nothing compared with their work.
pub(crate) fn kept_tokens(max_tokens: usize) -> usize {
    max_tokens.min(TEAM_TOKENS)
}

/// A model in the memory of the machine. Each calling thread runs its own pass.
pub(super) struct CpuEngine {
    model: Esm,
    top_layer: usize,
    max_tokens: usize,
    /// Threads for long sequences.
    threads: Threads,
}

impl CpuEngine {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        options: &EmbedderOptions,
    ) -> Result<CpuEngine, LoadError> {
        let load = LoadOptions {
            path: options.device.path,
            weight_type: options.dtype.weight_type(),
            top: options.top_layer,
            kept_tokens: kept_tokens(options.max_tokens),
            threads: &options.threads,
        };
        let model = Esm::load(checkpoint, &load)?;
        Ok(CpuEngine {
            model,
            top_layer: options.top_layer,
            max_tokens: options.max_tokens,
            threads: options.threads.clone(),
        })
    }
}

impl Engine for CpuEngine {
    fn config(&self) -> &EsmConfig {
        self.model.config()
    }

    fn capacity(&self, _: &Request) -> Capacity {
        Capacity {
            tokens: self.max_tokens,
            lanes: None,
            shares_passes: true,
            varying_fallback: None,
        }
    }

    fn about(&self) -> About {
        About {
            inv_freq: self.model.inv_freq(),
            gpus: None,
            notice: None,
            details: Vec::new(),
        }
    }

    fn run(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        check(request, self.top_layer)?;
        let dim = self.config().dim;
        let longest = batch.longest();
        // A sequence that is longer than a batch would keep one thread busy while others wait.
        let team = match self.threads.pool() {
            Ok(Some(pool)) if longest > shared_from(self.max_tokens) => Team::Pool(pool),
            _ => Team::One,
        };
        let mut each = |layer: usize, hidden: &[f32]| {
            for (sequence, rows) in batch.ranges().enumerate() {
                let hidden = hidden.get(rows.start * dim..rows.end * dim);
                let hidden = hidden.unwrap_or_default();
                let rows = LayerRows {
                    sequence,
                    layer,
                    bos: pooling::bos(hidden, dim),
                    residues: match request.has_ends() {
                        true => hidden,
                        false => pooling::residues(hidden, dim),
                    },
                    fallback: None,
                };
                rows.hand_over(request, dim, out)?;
            }
            ControlFlow::Continue(())
        };
        let layers = request.layers();
        let done = self.model.forward(batch, &layers, team, cancel, &mut each);
        if longest > TEAM_TOKENS {
            team.release();
        }
        Ok(done?)
    }
}
