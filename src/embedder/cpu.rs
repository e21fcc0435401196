//! The engine on the CPU.

use super::EngineError;
use super::engine::{About, Capacity, Computed, Engine, Out, check};
use super::maps::MapProducts;
use super::options::EmbedderOptions;
use super::rows::LayerRows;
use crate::cancel::Cancel;
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::model::{AttentionMap, ContactHead, Esm, LoadError, LoadOptions, Packed, Visit};
use crate::ops::Team;
use crate::pooling;
use crate::product::{Product, Request};
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
    /// Loaded if a request may name contacts.
    contact_head: Option<ContactHead>,
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
        let contact_head = match options.contact_head {
            true => Some(ContactHead::load(checkpoint)?),
            false => None,
        };
        Ok(CpuEngine {
            model,
            contact_head,
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
        self.check(request)?;
        if !request.has(Product::Attentions) {
            return self.pass(batch, request, cancel, out).map(|_| ());
        }
        // All parts of one sequence, then those of the next: whoever writes them has one file open.
        for (sequence, tokens) in batch.sequences().enumerate() {
            let mut each = |computed: Computed<'_>| {
                out(Computed {
                    sequence,
                    ..computed
                })
            };
            let one = Packed::new([tokens]);
            if self.pass(&one, request, cancel, &mut each)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl CpuEngine {
    fn check(&self, request: &Request) -> Result<(), EngineError> {
        check(&request.without_maps(), self.top_layer)?;
        let needed = match &self.contact_head {
            Some(head) if request.has(Product::Contacts) => head.top_layer(),
            None if request.has(Product::Contacts) => return Err(EngineError::NoContactHead),
            _ => 0,
        };
        let layer = request.top_of_maps().max(needed);
        match layer > self.top_layer {
            true => Err(EngineError::NotLoaded {
                layer,
                loaded: self.top_layer,
            }),
            false => Ok(()),
        }
    }

    fn pass(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<ControlFlow<()>, EngineError> {
        let longest = batch.longest();
        // A sequence that is longer than a batch would keep one thread busy while others wait.
        let team = match self.threads.pool() {
            Ok(Some(pool)) if longest > shared_from(self.max_tokens) => Team::Pool(pool),
            _ => Team::One,
        };
        let config = self.config();
        let head = self.contact_head.as_ref();
        let mut products = Products {
            batch,
            request,
            dim: config.dim,
            maps: MapProducts::new(request, batch, config.heads, head, team),
            out,
            flow: ControlFlow::Continue(()),
        };
        let layers = request.layers();
        let done = self
            .model
            .forward(batch, &layers, team, cancel, &mut products);
        let flow = match done.is_ok() {
            true => products.finish(),
            false => products.flow,
        };
        if longest > TEAM_TOKENS {
            team.release();
        }
        done?;
        Ok(flow)
    }
}

/// Makes the products of a request of what a pass hands over.
struct Products<'a, 'o> {
    batch: &'a Packed,
    request: &'a Request,
    dim: usize,
    maps: MapProducts<'a>,
    out: Out<'o>,
    flow: ControlFlow<()>,
}

impl Products<'_, '_> {
    /// Hands over what the whole pass is needed for.
    fn finish(self) -> ControlFlow<()> {
        self.flow?;
        self.maps.finish(self.out)
    }

    fn hand_over(&mut self, layer: usize, hidden: &[f32]) -> ControlFlow<()> {
        for (sequence, rows) in self.batch.ranges().enumerate() {
            let hidden = hidden.get(rows.start * self.dim..rows.end * self.dim);
            let hidden = hidden.unwrap_or_default();
            let rows = LayerRows {
                sequence,
                layer,
                bos: pooling::bos(hidden, self.dim),
                residues: match self.request.has_ends() {
                    true => hidden,
                    false => pooling::residues(hidden, self.dim),
                },
                fallback: None,
            };
            rows.hand_over(self.request, self.dim, self.out)?;
        }
        ControlFlow::Continue(())
    }
}

impl Visit for Products<'_, '_> {
    fn hidden(&mut self, layer: usize, rows: &[f32]) -> ControlFlow<()> {
        self.flow = self.hand_over(layer, rows);
        self.flow
    }

    fn wants_map(&self, block: usize, head: usize) -> bool {
        self.maps.wants(block, head)
    }

    fn map(&mut self, map: AttentionMap<'_>) -> ControlFlow<()> {
        self.flow = self.maps.take(map, self.out);
        self.flow
    }
}
