//! The architecture of an ESM model: the numbers that the model code is built from.

use std::path::Path;

use super::error::CheckpointError;
use crate::ops::Activation;
use crate::tokenizer::{Alphabet, TokenId, VOCABULARY};

/// Bounds on each number, several times those of the largest published models (80 layers of ESM C,
/// width 5120 of ESM-2): whatever a file claims, loops and buffers made from it stay small.
const MOST_LAYERS: usize = 512;
const MOST_DIM: usize = 1 << 16;
const MOST_INTERMEDIATE: usize = 1 << 18;
const MOST_VOCAB: usize = 1 << 16;
const MOST_POSITIONS: usize = 1 << 20;

/// Tokens of the ESM alphabet; embedding matrices may be padded beyond them.
pub(crate) const ALPHABET_SIZE: usize = VOCABULARY.len();

/// Residues of the longest sequences that ESM-1b, ESM-1v and ESM-2 were trained on.
pub const TRAINING_MAXIMUM: usize = 1022;

/// How the model encodes the position of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Rotary embeddings of queries and keys (ESM-2, ESM C): no limit on the length.
    Rotary,
    /// A learned table (ESM-1b, ESM-1v), of which the first two rows are never used.
    Learned {
        /// Rows of the table: 1026 for the published models, so at most 1024 tokens.
        rows: usize,
    },
}

impl Positions {
    /// Residues that have positions: rows 0 and 1 of a learned table are not used, and `<cls>` and
    /// `<eos>` take a position each. None if there is no limit.
    pub fn max_residues(self) -> Option<usize> {
        match self {
            Positions::Rotary => None,
            Positions::Learned { rows } => Some(rows.saturating_sub(4)),
        }
    }
}

/// The architecture of a model, checked against the weights it came with.
///
/// ESM-1b, ESM-1v, ESM-2 and ESM C are one transformer with switches. SaProt is ESM-2 with 446 tokens:
///
/// | | ESM-1b | ESM-1v | ESM-2 | ESM C |
/// |---|---|---|---|---|
/// | positions | learned | learned | rotary | rotary |
/// | norm of the embedding | yes | | | |
/// | token dropout (embeddings × 0.88 without masks) | yes | yes | yes | |
/// | biases of linear layers, and of the final norm | yes | yes | yes | |
/// | norm of queries and keys, over the whole width | | | | yes |
/// | feed-forward network | GELU | GELU | GELU | SwiGLU |
/// | factor of what a block adds | 1 | 1 | 1 | √(36 / layers) |
/// | logits | 33 | 33 | 33 | 64 |
///
/// Layers are counted alike in all of them: 0 is the embedding, i is the residual stream after block i,
/// and the last one is after the final norm. These are the `hidden_states` of transformers. Biohub's SDK
/// counts the layers of ESM C in another way: its `hidden_states[k]` is layer k + 1 here, except its last
/// one, which is the stream before the final norm; its `embeddings` are the last layer here.
#[derive(Clone, Debug, PartialEq)]
pub struct EsmConfig {
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the hidden states.
    pub dim: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Width inside the feed-forward network: 4·`dim` in the published ESM-1b, ESM-1v and ESM-2, 8/3·`dim`
    /// in ESM C.
    pub intermediate: usize,
    /// What is between the two layers of the feed-forward network.
    pub activation: Activation,
    /// Rows of the embedding matrix in the file: at least 33, more where it is padded.
    pub vocab: usize,
    /// What the rows are.
    pub alphabet: Alphabet,
    /// How positions are encoded.
    pub positions: Positions,
    /// Whether a LayerNorm follows the embedding (ESM-1b).
    pub emb_layer_norm_before: bool,
    /// Whether embeddings are scaled by (1 − 0.12) / (1 − masked fraction) and `<mask>` rows are
    /// zero. True for every published ESM-1b, ESM-1v and ESM-2.
    pub token_dropout: bool,
    /// Whether the linear layers of the blocks and the final norm have biases.
    pub biases: bool,
    /// Whether queries and keys are normalised, over the whole width.
    pub qk_norm: bool,
    /// The factor of what a block adds to the residual stream, by attention and by the feed-forward
    /// network.
    pub residual_scale: f32,
    /// ε of every LayerNorm: 1e-5 in the published models.
    pub layer_norm_eps: f32,
}

impl EsmConfig {
    /// The token whose rows of the embedding are zero, if there is token dropout.
    pub(crate) fn dropped_token(&self) -> Option<TokenId> {
        self.token_dropout.then(|| self.alphabet.mask())
    }

    /// Tokens that have a logit, V.
    pub fn logits(&self) -> usize {
        self.alphabet.rows().len()
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.dim.checked_div(self.heads).unwrap_or(0)
    }

    /// The index of a layer, 0 to [`Self::layers`]; negative numbers count from the end, -1 being
    /// the last. None if the model does not have it.
    pub fn layer_index(&self, layer: i64) -> Option<usize> {
        let layer = match layer {
            ..0 => layer.checked_add(self.layers as i64 + 1)?,
            0.. => layer,
        };
        let index = usize::try_from(layer).ok()?;
        (index <= self.layers).then_some(index)
    }

    /// Refuses numbers that no ESM model can have, before anything is sized by them. `path` is
    /// the file they came from.
    pub(super) fn check(&self, path: &Path) -> Result<(), CheckpointError> {
        let within = [
            ("layers", self.layers, 1..=MOST_LAYERS),
            ("width", self.dim, 1..=MOST_DIM),
            ("attention heads", self.heads, 1..=self.dim.max(1)),
            (
                "feed-forward width",
                self.intermediate,
                1..=MOST_INTERMEDIATE,
            ),
            ("vocabulary size", self.vocab, ALPHABET_SIZE..=MOST_VOCAB),
        ];
        for (what, value, range) in within {
            if !range.contains(&value) {
                return Err(contradiction(
                    path,
                    format!(
                        "{what} {value} is outside {} to {}",
                        range.start(),
                        range.end()
                    ),
                ));
            }
        }
        if !self.dim.is_multiple_of(self.heads) {
            let found = format!(
                "{} attention heads do not divide the width {}",
                self.heads, self.dim
            );
            return Err(contradiction(path, found));
        }
        match self.positions {
            Positions::Rotary if !self.head_dim().is_multiple_of(2) => {
                let found = format!(
                    "rotary embeddings need an even head width, not {}",
                    self.head_dim()
                );
                return Err(contradiction(path, found));
            }
            Positions::Learned { rows } if !(3..=MOST_POSITIONS).contains(&rows) => {
                let found =
                    format!("a position table of {rows} rows is outside 3 to {MOST_POSITIONS}");
                return Err(contradiction(path, found));
            }
            _ => {}
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps <= 0.1) {
            let found = format!(
                "a LayerNorm ε of {} is outside 0 to 0.1",
                self.layer_norm_eps
            );
            return Err(contradiction(path, found));
        }
        Ok(())
    }
}

/// A configuration error of this file.
pub(super) fn contradiction(path: &Path, found: impl Into<String>) -> CheckpointError {
    CheckpointError::Config {
        path: path.to_path_buf(),
        found: found.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn esm2_8m() -> EsmConfig {
        EsmConfig {
            layers: 6,
            dim: 320,
            heads: 20,
            intermediate: 1280,
            activation: Activation::Gelu,
            vocab: 33,
            alphabet: Alphabet::Esm,
            positions: Positions::Rotary,
            emb_layer_norm_before: false,
            token_dropout: true,
            biases: true,
            qk_norm: false,
            residual_scale: 1.0,
            layer_norm_eps: 1e-5,
        }
    }

    #[test]
    fn a_published_shape_passes() {
        esm2_8m().check(Path::new("c")).unwrap();
        assert_eq!(esm2_8m().head_dim(), 16);
    }

    #[test]
    fn impossible_numbers_are_named() {
        let good = esm2_8m();
        for (bad, says) in [
            (
                EsmConfig {
                    layers: 0,
                    ..good.clone()
                },
                "layers 0",
            ),
            (
                EsmConfig {
                    layers: usize::MAX,
                    ..good.clone()
                },
                "layers 18446744073709551615",
            ),
            (
                EsmConfig {
                    dim: 0,
                    ..good.clone()
                },
                "width 0",
            ),
            (
                EsmConfig {
                    heads: 0,
                    ..good.clone()
                },
                "attention heads 0",
            ),
            (
                EsmConfig {
                    heads: 21,
                    ..good.clone()
                },
                "21 attention heads do not divide the width 320",
            ),
            (
                EsmConfig {
                    heads: 64,
                    ..good.clone()
                },
                "even head width, not 5",
            ),
            (
                EsmConfig {
                    vocab: 32,
                    ..good.clone()
                },
                "vocabulary size 32",
            ),
            (
                EsmConfig {
                    positions: Positions::Learned { rows: 2 },
                    ..good.clone()
                },
                "position table of 2 rows",
            ),
            (
                EsmConfig {
                    layer_norm_eps: f32::NAN,
                    ..good.clone()
                },
                "LayerNorm",
            ),
        ] {
            let found = bad.check(Path::new("config.json")).unwrap_err().to_string();
            assert!(
                found.starts_with("config.json: ") && found.contains(says),
                "{found}"
            );
        }
    }
}
