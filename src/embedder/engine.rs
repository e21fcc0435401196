//! The contract between a loaded model and everything above it: packed sequences and a request go in,
//! the requested products come out. Whether a CPU or a GPU computes them is not visible here.

use super::EngineError;
use crate::cancel::Cancel;
use crate::checkpoint::{EsmConfig, InvFreqSource};
use crate::model::Packed;
use crate::product::{Fallback, Product, Request, Values};
use crate::run_record::CudaFacts;
use std::ops::ControlFlow;

/// A model that is loaded up to some layer of it. All threads share it.
///
/// The bits of a product depend on its sequence only: not on the rest of the batch, on what else is
/// requested, or on the number of threads.
pub trait Engine: Send + Sync {
    /// The shape of the model.
    fn config(&self) -> &EsmConfig;

    /// How much it computes at a time, for batches with this request.
    fn capacity(&self, request: &Request) -> Capacity;

    /// What computes, as far as that can change bits.
    fn about(&self) -> About;

    /// Computes the products of `request` for every sequence of `batch`. `out` receives each product
    /// once. Those of one sequence arrive in the order of the request; sequences may take turns.
    /// A product that [is streamed](Product::is_streamed) arrives in parts, while others do.
    ///
    /// After [`ControlFlow::Break`], `out` is not called again and the result is `Ok`: the caller
    /// knows why it stopped. `cancel` is checked before every block of the model.
    ///
    /// # Errors
    /// A request that [`check`] refuses, a cancelled pass, a batch that the model or the device cannot
    /// take, or values that are not finite. What `out` received before that is valid.
    fn run(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError>;

    /// The same with the fallback for every sequence, as if none fitted f16. It is called only on
    /// engines that return products with a [`Computed::fallback`].
    ///
    /// # Errors
    /// As [`Engine::run`].
    fn run_in_fallback(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        self.run(batch, request, cancel, out)
    }
}

/// Receives products while a pass runs.
pub type Out<'a> = &'a mut dyn FnMut(Computed<'_>) -> ControlFlow<()>;

/// One product of one sequence, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Computed<'a> {
    /// Index of the sequence in the batch.
    pub sequence: usize,
    /// Which product it is.
    pub product: Product,
    /// Its numbers, in the shape of [`Product::shape`]. Where [`Product::is_streamed`], these are the
    /// next of them.
    pub values: Values<'a>,
    /// The format in which it was computed because numbers of the sequence do not fit f16.
    pub fallback: Option<Fallback>,
}

/// How much an engine computes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Tokens of a batch: as many as were set at load, or as the device has memory for.
    pub tokens: usize,
    /// Batches that it works on at the same time; None if every thread that calls it works.
    pub lanes: Option<usize>,
    /// Whether the sequences of a batch share passes. A device on which bits would then depend on the
    /// batch gives each sequence its own pass.
    pub shares_passes: bool,
    /// The format of sequences that do not fit f16, if each of them has its own pass because bits in
    /// that format depend on the batch.
    pub varying_fallback: Option<Fallback>,
}

/// What computes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// Where the rotary frequencies came from; None for learned positions.
    pub inv_freq: Option<InvFreqSource>,
    /// GPUs with their libraries and algorithms; None on the CPU.
    pub gpus: Option<CudaFacts>,
    /// What is missing for full speed, and what to do about it.
    pub notice: Option<String>,
    /// How that was chosen, in lines for people.
    pub details: Vec<String>,
}

/// Checks a request before a pass.
///
/// # Errors
/// A product other than hidden states and what is pooled from them (logits are made of those by the
/// [`Embedder`](super::Embedder)), or a layer above `loaded`.
pub fn check(request: &Request, loaded: usize) -> Result<(), EngineError> {
    for &product in request.products() {
        match product {
            Product::Pooled { layer, .. } | Product::Residues { layer } if layer > loaded => {
                return Err(EngineError::NotLoaded { layer, loaded });
            }
            Product::Pooled { .. } | Product::Residues { .. } => {}
            Product::Logits => return Err(EngineError::NoLmHead),
            product => return Err(EngineError::NotComputed { product }),
        }
    }
    Ok(())
}
