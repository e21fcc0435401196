//! From the rows of one layer to the products that a request names.

use super::engine::{Computed, Out};
use crate::pooling;
use crate::product::{Fallback, Pool, Product, Request, Values};
use std::ops::ControlFlow;

/// One layer of one sequence of n residues.
#[derive(Clone, Copy)]
pub(super) struct LayerRows<'a> {
    pub(super) sequence: usize,
    pub(super) layer: usize,
    /// The `<cls>` row, `[D]`.
    pub(super) bos: &'a [f32],
    /// Residue rows, `[n, D]`.
    pub(super) residues: &'a [f32],
    pub(super) fallback: Option<Fallback>,
}

impl LayerRows<'_> {
    /// Pools the rows as requested and hands every product of this layer over.
    pub(super) fn hand_over(&self, request: &Request, dim: usize, out: Out<'_>) -> ControlFlow<()> {
        for &product in request.products() {
            let pooled;
            let values = match product {
                Product::Residues { layer } if layer == self.layer => self.residues,
                Product::Pooled { layer, pool } if layer == self.layer => match pool {
                    Pool::Bos => self.bos,
                    Pool::Mean => {
                        pooled = pooling::mean(self.residues, dim);
                        &pooled
                    }
                    Pool::Max => {
                        pooled = pooling::max(self.residues, dim);
                        &pooled
                    }
                },
                _ => continue,
            };
            out(Computed {
                sequence: self.sequence,
                product,
                values: Values::F32(values),
                fallback: self.fallback,
            })?;
        }
        ControlFlow::Continue(())
    }
}
