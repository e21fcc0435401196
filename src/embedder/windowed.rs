//! Long sequences: passes over windows, and their rows blended.

use super::engine::{Engine, Out, check};
use super::rows::LayerRows;
use super::{Computed, EngineError, Sequence};
use crate::batching;
use crate::cancel::Cancel;
use crate::model::Packed;
use crate::product::{Fallback, OutDtype, Pool, Product, Request, Values};
use crate::tokenizer::{CLS, EOS, TokenId};
use crate::windows::Blend;
use std::ops::ControlFlow;

/// A sequence that is embedded window by window.
pub(super) struct Windowed<'a> {
    pub(super) engine: &'a dyn Engine,
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) sequence: &'a Sequence<'a>,
    pub(super) request: &'a Request,
    pub(super) cancel: &'a Cancel,
}

impl Windowed<'_> {
    /// Hands the products over when all windows are done.
    pub(super) fn embed(&self, out: Out<'_>) -> Result<ControlFlow<()>, EngineError> {
        // Only what has a row for each residue can be blended.
        let of_rows = |product: &&Product| !matches!(product, Product::Logits);
        let rows = self.request.products().iter().filter(of_rows).copied();
        check(&Request::new(rows, OutDtype::F32), usize::MAX).map_err(|error| match error {
            EngineError::NotComputed { product } => EngineError::NotInWindows { product },
            other => other,
        })?;
        let blended = match self.blend(false) {
            // All windows have one number format, or their rows would not fit together.
            Ok(blended) if blended.mixed => self.blend(true),
            other => other,
        }
        .map_err(|error| error.of_sequence(self.index))?;
        let dim = self.engine.config().dim;
        for rows in blended.layers {
            let rows_of_layer = LayerRows {
                sequence: self.index,
                layer: rows.layer,
                bos: &rows.bos,
                residues: &rows.residues.finish(),
                fallback: blended.fallback,
            };
            if rows_of_layer.hand_over(self.request, dim, out).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        match blended.logits {
            None => Ok(ControlFlow::Continue(())),
            Some(logits) => Ok(out(Computed {
                sequence: self.index,
                product: Product::Logits,
                values: Values::F32(&logits.finish()),
                fallback: blended.fallback,
            })),
        }
    }

    /// Passes over all windows, or over those before the first that is in another number format.
    fn blend(&self, in_fallback: bool) -> Result<Blended, EngineError> {
        let Sequence { tokens, windows } = *self.sequence;
        let dim = self.engine.config().dim;
        let length = tokens.len().saturating_sub(2);
        let layers = self.request.layers();
        let has_logits = self.request.products().contains(&Product::Logits);
        let of_layer = |&layer: &usize| BlendedLayer {
            layer,
            residues: Blend::new(length, dim),
            bos: Vec::new(),
        };
        let mut blended = Blended {
            layers: layers.iter().map(of_layer).collect(),
            logits: has_logits.then(|| Blend::new(length, self.engine.config().logits())),
            fallback: None,
            mixed: false,
        };
        let request = rows_of(&layers, has_logits);
        let pieces: Vec<Vec<TokenId>> = windows
            .iter()
            .map(|window| {
                let residues = tokens.get(window.start + 1..window.end + 1);
                let mut piece = vec![CLS];
                piece.extend_from_slice(residues.unwrap_or_default());
                piece.push(EOS);
                piece
            })
            .collect();
        // Windows of one sequence have one length: batches keep their order.
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        let budget = self.engine.capacity(&request).tokens;
        for group in batching::batches(&lengths, budget, false) {
            let batch = Packed::new(group.iter().map(|&window| pieces[window].as_slice()));
            let mut add = |computed: Computed<'_>| {
                blended.fallback = computed.fallback;
                blended.mixed |= computed.fallback.is_some() != in_fallback;
                let Values::F32(values) = computed.values else {
                    return ControlFlow::Continue(());
                };
                let window = windows[group[computed.sequence]].clone();
                match computed.product {
                    Product::Residues { layer } => {
                        if let Some(rows) = blended.layer(layer) {
                            rows.residues.add(window, values);
                        }
                    }
                    Product::Logits => {
                        if let Some(logits) = &mut blended.logits {
                            logits.add(window, values);
                        }
                    }
                    Product::Pooled { layer, .. } => match blended.layer(layer) {
                        Some(rows) if rows.bos.is_empty() => rows.bos = values.to_vec(),
                        _ => {}
                    },
                    _ => {}
                }
                ControlFlow::Continue(())
            };
            match in_fallback {
                false => self.engine.run(&batch, &request, self.cancel, &mut add),
                true => self
                    .engine
                    .run_in_fallback(&batch, &request, self.cancel, &mut add),
            }?;
            if blended.mixed {
                break;
            }
        }
        Ok(blended)
    }
}

/// The rows that are needed of each window: everything else is pooled from the blended rows.
fn rows_of(layers: &[usize], has_logits: bool) -> Request {
    let products = layers.iter().flat_map(|&layer| {
        let pool = Pool::Bos;
        [Product::Pooled { layer, pool }, Product::Residues { layer }]
    });
    let logits = has_logits.then_some(Product::Logits);
    Request::new(products.chain(logits), OutDtype::F32)
}

/// The windows of a sequence, blended.
struct Blended {
    layers: Vec<BlendedLayer>,
    logits: Option<Blend>,
    /// The format in which it was computed because it does not fit f16.
    fallback: Option<Fallback>,
    /// Whether some of it is in the fallback although that was not requested, or the other way round.
    mixed: bool,
}

struct BlendedLayer {
    layer: usize,
    residues: Blend,
    /// The `<cls>` row of the first window.
    bos: Vec<f32>,
}

impl Blended {
    fn layer(&mut self, layer: usize) -> Option<&mut BlendedLayer> {
        self.layers.iter_mut().find(|rows| rows.layer == layer)
    }
}
