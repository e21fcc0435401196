//! Token embedding with token-dropout scaling, and learned positions where the model has them.
//!
//! `x = E[token]`, rows of `<mask>` set to zero, then `x · (1 − 0.15·0.8) / (1 − m/n)` with m
//! `<mask>` tokens among n tokens of the sequence (`<cls>` and `<eos>` counted). Training masked
//! 15 % of the tokens and zeroed 80 % of those; this keeps the expected scale. Without a mask
//! in the sequence it is ×0.88, not ×1.

use super::Packed;
use crate::ops::LayerNorm;
use crate::tokenizer::TokenId;
use candle_core::{Device, Tensor};

/// Row of the position table that `<cls>` uses: padding_idx + 1.
const FIRST_POSITION: usize = 2;

pub(super) struct Embedding {
    pub(super) dim: usize,
    /// `[vocab, D]`.
    pub(super) tokens: Vec<f32>,
    /// `[rows, D]`; None for rotary models.
    pub(super) positions: Option<Vec<f32>>,
    /// `emb_layer_norm_before`, ESM-1b only.
    pub(super) norm: Option<LayerNorm>,
    /// `<mask>`, if there is token dropout.
    pub(super) dropped: Option<TokenId>,
}

impl Embedding {
    /// Representation 0: `[T, D]`.
    pub(super) fn forward(&self, batch: &Packed) -> candle_core::Result<Tensor> {
        let dim = self.dim;
        let mut x = Vec::with_capacity(batch.token_ids().len() * dim);
        for range in batch.ranges() {
            let tokens = &batch.token_ids()[range];
            let scale = TokenScale::new(tokens, self.dropped);
            for (i, &token) in tokens.iter().enumerate() {
                let Some(row) = self.tokens.chunks_exact(dim).nth(usize::from(token)) else {
                    candle_core::bail!("token {token} is outside the vocabulary");
                };
                match scale.dropout {
                    Some((mask, _)) if token == mask => x.extend(std::iter::repeat_n(0.0, dim)),
                    Some((_, factor)) => x.extend(row.iter().map(|x| x * factor)),
                    None => x.extend_from_slice(row),
                }
                if let Some(table) = &self.positions {
                    let Some(position) = table.chunks_exact(dim).nth(i + FIRST_POSITION) else {
                        candle_core::bail!(
                            "a sequence of {} tokens is longer than the model's {} positions",
                            tokens.len(),
                            table.len() / dim - FIRST_POSITION
                        );
                    };
                    let start = x.len() - dim;
                    for (x, p) in x[start..].iter_mut().zip(position) {
                        *x += p;
                    }
                }
            }
        }
        let x = Tensor::from_vec(x, (batch.token_ids().len(), dim), &Device::Cpu)?;
        match &self.norm {
            Some(norm) => x.apply_op1_no_bwd(&norm),
            None => Ok(x),
        }
    }
}

/// The factor of the embeddings of a sequence's tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TokenScale {
    /// `<mask>` and the factor of the others; None without token dropout.
    dropout: Option<(TokenId, f32)>,
}

impl TokenScale {
    /// The factor of one sequence, computed in f32 in the same steps as fair-esm:
    /// `x · (1 − 0.12) / (1 − ratio)`. `dropped` is `<mask>`, if there is token dropout.
    pub(crate) fn new(tokens: &[TokenId], dropped: Option<TokenId>) -> TokenScale {
        let dropout = dropped.map(|mask| {
            let masks = tokens.iter().filter(|&&token| token == mask).count();
            let observed = masks as f32 / tokens.len() as f32;
            (mask, (1.0 - 0.15 * 0.8) / (1.0 - observed))
        });
        TokenScale { dropout }
    }

    /// The factor of one token: zero for `<mask>`, if there is token dropout.
    #[cfg(any(target_os = "linux", test))]
    pub(crate) fn of(self, token: TokenId) -> f32 {
        match self.dropout {
            Some((mask, _)) if token == mask => 0.0,
            Some((_, factor)) => factor,
            None => 1.0,
        }
    }
}
