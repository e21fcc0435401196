//! The engine on GPUs: passes in the number format that was requested, and further passes in the fallback
//! for sequences that do not fit f16.

use super::error::CudaError;
use super::fallback::FallbackModel;
use super::lm_head::columns;
use super::model::GpuModel;
use super::pass::{Failure, HostRows, Pass, ResidueRows};
use crate::cancel::Cancel;
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::device::Dtype;
use crate::embedder::{
    About, Capacity, Computed, EmbedderOptions, Engine, EngineError, OnOverflow, Out, check,
};
use crate::model::{Packed, is_loaded};
use crate::product::{Fallback, Pool, Product, Request, Values};
use crate::tokenizer::TokenId;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A model on one GPU or more.
pub struct GpuEngine {
    model: GpuModel,
    /// For sequences whose numbers do not fit f16.
    fallback: Option<FallbackModel>,
    top_layer: usize,
    /// Tokens of a batch; None to go by the memory.
    max_tokens: Option<usize>,
}

impl GpuEngine {
    /// Loads the blocks up to the top layer onto every GPU of the device, and tests that the bits of a
    /// sequence do not depend on its batch.
    ///
    /// # Errors
    /// A damaged checkpoint, a shape without kernels, or a GPU without memory for it.
    pub fn load(
        checkpoint: &Arc<Checkpoint>,
        options: &EmbedderOptions,
    ) -> Result<GpuEngine, CudaError> {
        let &EmbedderOptions {
            ref device,
            dtype,
            top_layer,
            ref threads,
            ..
        } = options;
        let threads = threads.count();
        let mut model = GpuModel::load(checkpoint, device, dtype, top_layer, threads, None)?;
        if options.lm_head {
            model.load_head(checkpoint)?;
        }
        // A damaged checkpoint is refused as a whole, even where this run does not read it.
        checkpoint.check_finite(|name| !is_loaded(name, top_layer))?;
        let fallback = match options.on_overflow {
            OnOverflow::Fallback { may_vary } if dtype == Dtype::F16 => Some(FallbackModel::new(
                Arc::clone(checkpoint),
                device.clone(),
                top_layer,
                threads,
                may_vary,
            )),
            _ => None,
        };
        Ok(GpuEngine {
            model,
            fallback,
            top_layer,
            max_tokens: (!options.fill_memory).then_some(options.max_tokens),
        })
    }

    /// Whether it computes logits: if that was requested at load, and unless the GPU cannot.
    pub fn has_lm_head(&self) -> bool {
        self.model.has_head()
    }

    /// Tokens of a full batch.
    fn batch_tokens(&self, request: &Request) -> usize {
        let by_memory = || self.model.batch_tokens(ResidueRows::of(request));
        self.max_tokens.unwrap_or_else(by_memory)
    }

    /// Carries out `work` on the sequences of a batch, for a request that was checked.
    fn with_pass(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
        work: impl FnOnce(&[&[TokenId]], &Pass<'_>, &mut RowsOut<'_, '_>) -> Result<(), Failure>,
    ) -> Result<(), EngineError> {
        let config = self.model.config();
        let last = config.layers;
        let logits = request.products().contains(&Product::Logits);
        let others = request.products().iter().copied();
        let others = others.filter(|product| *product != Product::Logits || !self.has_lm_head());
        let others = Request::new(others, request.dtype());
        check(&others, self.top_layer)?;
        let has_rows = |product: &Product| matches!(product, Product::Residues { .. });
        if request.has_ends() && others.products().iter().any(has_rows) {
            return Err(EngineError::NoEnds);
        }
        if logits && last > self.top_layer {
            let loaded = self.top_layer;
            return Err(EngineError::NotLoaded {
                layer: last,
                loaded,
            });
        }
        let sequences: Vec<&[TokenId]> = batch.sequences().collect();
        let mut layers = request.layers();
        if logits && layers.last() != Some(&last) {
            layers.push(last);
        }
        let pass = Pass {
            layers: &layers,
            residues: ResidueRows::of(request),
            logits,
            batch_tokens: self.batch_tokens(request),
            cancel,
        };
        let mut rows = RowsOut {
            request,
            layers: &layers,
            config,
            out,
        };
        ended(work(&sequences, &pass, &mut rows))
    }

    /// All sequences in the number format of the model, and in the fallback those that do not fit f16.
    fn run_all(
        &self,
        sequences: &[&[TokenId]],
        pass: &Pass<'_>,
        rows: &mut RowsOut<'_, '_>,
    ) -> Result<(), Failure> {
        let mut each = |layer: usize, sequence: usize, found: HostRows<'_>| {
            rows.hand_over(layer, sequence, found, None)
        };
        let mut overflows = self.model.forward(sequences, pass, &mut each)?;
        // From the first layer on that does not fit: so a row depends on its sequence and layer only.
        overflows.sort_by_key(|overflow| (overflow.layer, overflow.sequence));
        for group in overflows.chunk_by(|a, b| a.layer == b.layer) {
            let some: Vec<usize> = group.iter().map(|overflow| overflow.sequence).collect();
            let first = group.first().map_or(0, |overflow| overflow.layer);
            self.run_some_in_fallback(sequences, &some, first, pass, rows)?;
        }
        Ok(())
    }

    /// The layers of `layers` from position `first` on, in the fallback, for some sequences of a batch.
    fn run_some_in_fallback(
        &self,
        batch: &[&[TokenId]],
        some: &[usize],
        first: usize,
        pass: &Pass<'_>,
        rows: &mut RowsOut<'_, '_>,
    ) -> Result<(), Failure> {
        let at = |i: usize| some.get(i).copied().unwrap_or_default();
        let of_batch = |failure| match failure {
            Failure::Cuda { sequence, error } => Failure::Cuda {
                sequence: Some(at(sequence.unwrap_or(0))),
                error,
            },
            Failure::NotFinite { sequence } => Failure::NotFinite {
                sequence: at(sequence),
            },
            other => other,
        };
        let Some(fallback) = &self.fallback else {
            return Err(Failure::Overflow { sequence: at(0) });
        };
        let sequences = some.iter().filter_map(|&i| batch.get(i).copied());
        let sequences: Vec<&[TokenId]> = sequences.collect();
        let pass = Pass {
            layers: pass.layers.get(first..).unwrap_or_default(),
            ..*pass
        };
        let model = fallback.get(&self.model).map_err(Failure::from);
        let mut each = |layer: usize, sequence: usize, found: HostRows<'_>| {
            rows.hand_over(first + layer, at(sequence), found, Some(fallback.format()))
        };
        model
            .and_then(|model| model.forward(&sequences, &pass, &mut each))
            .map(|_| ())
            .map_err(of_batch)
    }
}

impl Engine for GpuEngine {
    fn config(&self) -> &EsmConfig {
        self.model.config()
    }

    fn capacity(&self, request: &Request) -> Capacity {
        let varying = self
            .fallback
            .as_ref()
            .filter(|model| !model.shares_passes());
        Capacity {
            tokens: self.batch_tokens(request),
            lanes: Some(self.model.lanes()),
            shares_passes: self.model.has_same_bits(),
            varying_fallback: varying.map(FallbackModel::format),
        }
    }

    fn about(&self) -> About {
        About {
            inv_freq: self.model.inv_freq(),
            gpus: Some(self.model.facts()),
            notice: self.model.notice(),
            details: self.model.choices(),
        }
    }

    fn run(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        self.with_pass(batch, request, cancel, out, |sequences, pass, rows| {
            self.run_all(sequences, pass, rows)
        })
    }

    fn run_in_fallback(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        self.with_pass(batch, request, cancel, out, |sequences, pass, rows| {
            let all: Vec<usize> = (0..sequences.len()).collect();
            self.run_some_in_fallback(sequences, &all, 0, pass, rows)
        })
    }
}

/// Where rows go.
struct RowsOut<'a, 'b> {
    request: &'a Request,
    layers: &'a [usize],
    config: &'a EsmConfig,
    out: Out<'b>,
}

impl RowsOut<'_, '_> {
    /// Hands over what is requested of one layer, by its position in `layers`.
    fn hand_over(
        &mut self,
        layer: usize,
        sequence: usize,
        rows: HostRows<'_>,
        fallback: Option<Fallback>,
    ) -> ControlFlow<()> {
        let wanted = self.layers.get(layer).copied();
        let is_last = wanted == Some(self.config.layers);
        let logits = match self.request.products().contains(&Product::Logits) && is_last {
            true => logits(self.config, rows.logits, self.request.has_ends()),
            false => Vec::new(),
        };
        for &product in self.request.products() {
            let values = match product {
                Product::Residues { layer } if Some(layer) == wanted => match rows.halves {
                    [] => Values::F32(rows.residues),
                    halves => Values::F16(halves),
                },
                Product::Pooled { layer, pool } if Some(layer) == wanted => {
                    Values::F32(match pool {
                        Pool::Mean => rows.mean,
                        Pool::Bos => rows.bos,
                        Pool::Max => rows.max,
                    })
                }
                Product::Logits if is_last => Values::F32(&logits),
                _ => continue,
            };
            (self.out)(Computed {
                sequence,
                product,
                values,
                fallback,
            })?;
        }
        ControlFlow::Continue(())
    }
}

/// The logits of residues, or of all tokens, without the columns that are padding.
fn logits(config: &EsmConfig, all: &[f32], has_ends: bool) -> Vec<f32> {
    let columns = columns(config);
    let tokens = all.len() / columns;
    let rows = match has_ends {
        true => 0..tokens,
        false => 1..tokens.saturating_sub(1),
    };
    let rows = all.get(rows.start * columns..rows.end * columns);
    let rows = rows.unwrap_or_default().chunks_exact(columns);
    let kept = rows.filter_map(|row| row.get(..config.logits()));
    kept.flatten().copied().collect()
}

/// How a pass ended, in the terms of the contract.
fn ended(done: Result<(), Failure>) -> Result<(), EngineError> {
    match done {
        Ok(()) | Err(Failure::Broken) => Ok(()),
        Err(Failure::Cancelled) => Err(EngineError::Cancelled),
        Err(Failure::NotFinite { sequence }) => Err(EngineError::NotFinite { sequence }),
        Err(Failure::Overflow { sequence }) => Err(EngineError::Overflow { sequence }),
        Err(Failure::Cuda { sequence, error }) => Err(EngineError::Device { sequence, error }),
    }
}
