//! Logits on top of an engine that computes none itself: the language-model head runs on the CPU, over
//! the residue rows of the last representation that the engine hands over.

use super::EngineError;
use super::engine::{About, Capacity, Computed, Engine, Out};
use crate::cancel::Cancel;
use crate::checkpoint::EsmConfig;
use crate::model::{LmHead, Packed};
use crate::product::{OutDtype, Product, Request, Values};
use crate::threads::Threads;
use std::ops::ControlFlow;
use std::sync::Arc;

/// An engine, and the head that makes logits of its rows.
pub(super) struct WithLogits {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) head: LmHead,
    /// Threads that share a sequence of more than `shared_from` rows.
    pub(super) threads: Threads,
    pub(super) shared_from: usize,
}

impl WithLogits {
    /// What the engine has to compute. The head needs rows that are not rounded.
    fn without_logits(&self, request: &Request) -> Request {
        let layer = self.config().layers;
        let products = request.products().iter().map(|&product| match product {
            Product::Logits => Product::Residues { layer },
            other => other,
        });
        let inner = Request::new(products, OutDtype::F32).with_maps(request.maps().clone());
        match request.has_ends() {
            true => inner.with_ends(),
            false => inner,
        }
    }

    fn logits(&self, rows: &[f32]) -> candle_core::Result<Vec<f32>> {
        let part = LmHead::ROWS * self.config().dim;
        if rows.len() <= self.shared_from * self.config().dim {
            return self.head.logits(rows);
        }
        let parts: Vec<&[f32]> = rows.chunks(part.max(1)).collect();
        let logits = self.threads.map(parts.len(), |i| {
            self.head.logits(parts.get(i).copied().unwrap_or_default())
        })?;
        Ok(logits.concat())
    }

    /// Runs the engine and adds the logits that the request names.
    fn add_logits(
        &self,
        request: &Request,
        out: Out<'_>,
        run: impl FnOnce(&Request, Out<'_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        if !request.products().contains(&Product::Logits) {
            return run(request, out);
        }
        let last = Product::Residues {
            layer: self.config().layers,
        };
        let has_last = request.products().contains(&last);
        let mut failed = None;
        let mut each = |computed: Computed<'_>| {
            if computed.product != last {
                return out(computed);
            }
            if has_last {
                out(computed)?;
            }
            let Values::F32(rows) = computed.values else {
                return ControlFlow::Continue(());
            };
            match self.logits(rows) {
                Ok(logits) => out(Computed {
                    product: Product::Logits,
                    values: Values::F32(&logits),
                    ..computed
                }),
                Err(error) => {
                    failed = Some(EngineError::Model(error));
                    ControlFlow::Break(())
                }
            }
        };
        run(&self.without_logits(request), &mut each)?;
        failed.map_or(Ok(()), Err)
    }
}

impl Engine for WithLogits {
    fn config(&self) -> &EsmConfig {
        self.engine.config()
    }

    fn capacity(&self, request: &Request) -> Capacity {
        self.engine.capacity(&self.without_logits(request))
    }

    fn about(&self) -> About {
        self.engine.about()
    }

    fn run(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        self.add_logits(request, out, |request, out| {
            self.engine.run(batch, request, cancel, out)
        })
    }

    fn run_in_fallback(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        self.add_logits(request, out, |request, out| {
            self.engine.run_in_fallback(batch, request, cancel, out)
        })
    }
}
