//! Token embedding with token-dropout scaling, and learned positions where the model has them.
//!
//! `x = E[token]`, rows of `<mask>` set to zero, then `x · (1 − 0.15·0.8) / (1 − m/n)` with m
//! `<mask>` tokens among n tokens of the sequence (`<cls>` and `<eos>` counted). Training masked
//! 15 % of the tokens and zeroed 80 % of those; this keeps the expected scale. Without a mask
//! in the sequence it is ×0.88, not ×1.

use super::Packed;
use crate::ops::LayerNorm;
use crate::tokenizer::{MASK, TokenId};
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
    pub(super) token_dropout: bool,
}

impl Embedding {
    /// Representation 0: `[T, D]`.
    pub(super) fn forward(&self, batch: &Packed) -> candle_core::Result<Tensor> {
        let dim = self.dim;
        let mut x = Vec::with_capacity(batch.token_ids().len() * dim);
        for range in batch.ranges() {
            let tokens = &batch.token_ids()[range];
            let scale = TokenScale::new(tokens, self.token_dropout).factor;
            for (i, &token) in tokens.iter().enumerate() {
                let Some(row) = self.tokens.chunks_exact(dim).nth(usize::from(token)) else {
                    candle_core::bail!("token {token} is outside the vocabulary");
                };
                match scale {
                    Some(_) if token == MASK => x.extend(std::iter::repeat_n(0.0, dim)),
                    Some(scale) => x.extend(row.iter().map(|x| x * scale)),
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
    /// None without token dropout.
    factor: Option<f32>,
}

impl TokenScale {
    /// The factor of one sequence, computed in f32 in the same steps as fair-esm:
    /// `x · (1 − 0.12) / (1 − ratio)`.
    pub(crate) fn new(tokens: &[TokenId], token_dropout: bool) -> TokenScale {
        let masks = tokens.iter().filter(|&&t| t == MASK).count();
        let observed = masks as f32 / tokens.len() as f32;
        TokenScale {
            factor: token_dropout.then_some((1.0 - 0.15 * 0.8) / (1.0 - observed)),
        }
    }

    /// The factor of one token: zero for `<mask>`, if there is token dropout.
    pub(crate) fn of(self, token: TokenId) -> f32 {
        match self.factor {
            Some(_) if token == MASK => 0.0,
            Some(factor) => factor,
            None => 1.0,
        }
    }
}
