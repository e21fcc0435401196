//! A batch of items → their arrays, by the engine.

use super::item::{Array, Arrays, Item, Outcome};
use crate::admission::{Gate, PassCost};
use crate::cancel::Cancel;
use crate::embedder::{Computed, Embedder, EngineError, Sequence};
use crate::product::{OutDtype, Product, Request, Values};
use crate::server::refusal::{Kind, Refusal};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A loaded model and the memory for its passes.
pub struct Computer {
    /// The model.
    pub embedder: Embedder,
    /// Lets passes begin while they fit in memory together.
    pub gate: Gate,
    /// The memory of a pass.
    pub cost: PassCost,
}

impl Computer {
    /// The outcome of each item. One that fails does not keep the others from being computed.
    pub fn compute(&self, items: &[Arc<Item>], cancel: &Cancel) -> Vec<Outcome> {
        let unfinished = || Err(Refusal::new(Kind::Failed, "the pass ended early"));
        let mut outcomes: Vec<Outcome> = items.iter().map(|_| unfinished()).collect();
        let mut groups: Vec<Vec<usize>> = vec![(0..items.len()).collect()];
        while let Some(group) = groups.pop() {
            let batch: Vec<&Item> = group
                .iter()
                .filter_map(|&i| Some(&**items.get(i)?))
                .collect();
            let mut set = |at: &usize, outcome: Outcome| {
                if let Some(to) = outcomes.get_mut(*at) {
                    *to = outcome;
                }
            };
            let error = match self.pass(&batch, cancel) {
                Ok(found) => {
                    for (at, arrays) in group.iter().zip(found) {
                        set(at, Ok(Arc::new(arrays)));
                    }
                    continue;
                }
                Err(error) => error,
            };
            let of_one = match group.len() {
                1 => Some(0),
                _ => error.sequence(),
            };
            match of_one.and_then(|one| group.get(one)) {
                // The others have their own pass.
                Some(failed) => {
                    set(failed, Err(refusal(&error)));
                    let others: Vec<usize> =
                        group.iter().filter(|at| *at != failed).copied().collect();
                    groups.extend((!others.is_empty()).then_some(others));
                }
                None if matches!(error, EngineError::Cancelled) => {
                    group.iter().for_each(|at| set(at, Err(refusal(&error))));
                }
                None => groups.extend(group.iter().map(|&at| vec![at])),
            }
        }
        outcomes
    }

    fn pass(&self, batch: &[&Item], cancel: &Cancel) -> Result<Vec<Arrays>, EngineError> {
        let each = batch.iter().map(|item| (item.tokens.len(), &*item.windows));
        // Items of a batch ask for the same of what costs memory.
        let products = batch.first().map_or(&[][..], |item| &item.products);
        let cost = self.cost.for_products(products);
        let _entered = self.gate.enter(cost.batch(each));
        let sequences: Vec<Sequence<'_>> = batch
            .iter()
            .map(|item| Sequence {
                tokens: &item.tokens,
                windows: &item.windows,
            })
            .collect();
        let products = batch.iter().flat_map(|item| item.products.iter().copied());
        let request = Request::new(products, OutDtype::F32);
        let mut found = vec![Arrays::default(); batch.len()];
        let mut not_finite = None;
        let mut out = |computed: Computed<'_>| {
            let Computed {
                sequence,
                product,
                values,
                fallback,
            } = computed;
            let (Some(item), Some(arrays)) = (batch.get(sequence), found.get_mut(sequence)) else {
                return ControlFlow::Continue(());
            };
            let Values::F32(values) = values else {
                return ControlFlow::Continue(());
            };
            if !item.products.contains(&product) {
                return ControlFlow::Continue(());
            }
            if !values.iter().all(|value| value.is_finite()) {
                not_finite = Some(sequence);
                return ControlFlow::Break(());
            }
            arrays.fallback = arrays.fallback.or(fallback);
            arrays.arrays.push(Array {
                product,
                values: values.to_vec(),
            });
            ControlFlow::Continue(())
        };
        let done = self.embedder.embed(&sequences, &request, cancel, &mut out);
        match not_finite {
            Some(sequence) => Err(EngineError::NotFinite { sequence }),
            None => done.map(|()| found),
        }
    }
}

/// The refusal that a client gets: the error without hints, which name settings of the server.
fn refusal(error: &EngineError) -> Refusal {
    let text = error.to_string();
    Refusal::new(Kind::Failed, text.lines().next().unwrap_or_default())
}

/// Whether an outcome has every product of its item.
pub fn is_complete(item: &Item, arrays: &Arrays) -> bool {
    let has = |product: &Product| arrays.arrays.iter().any(|array| array.product == *product);
    item.products.iter().all(has)
}
