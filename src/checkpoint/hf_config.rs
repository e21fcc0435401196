//! `config.json` of a Hugging Face folder, also of NVIDIA's TransformerEngine export.

use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::config::{ALPHABET_SIZE, EsmConfig, Positions, contradiction};
use super::error::CheckpointError;
use super::json;
use crate::ops::Activation;
use crate::printable;
use crate::tokenizer::Alphabet;

/// Vocabulary that the TransformerEngine export pads to when its configuration does not say.
const TE_PADDED_VOCAB: usize = 64;

/// What is read from `config.json`; the names are the file's, and missing fields have the
/// defaults of transformers' `EsmConfig`. Unknown fields are skipped: many concern only training.
#[derive(Debug, Deserialize)]
pub(super) struct HfConfig {
    model_type: Option<String>,
    #[serde(default = "twelve")]
    num_hidden_layers: usize,
    #[serde(default = "default_width")]
    hidden_size: usize,
    #[serde(default = "twelve")]
    num_attention_heads: usize,
    #[serde(default = "default_intermediate")]
    intermediate_size: usize,
    vocab_size: Option<usize>,
    padded_vocab_size: Option<usize>,
    #[serde(default = "default_positions")]
    max_position_embeddings: usize,
    /// `null` is neither kind of position, and so not the default.
    #[serde(default = "absolute", deserialize_with = "text_or_null")]
    position_embedding_type: String,
    emb_layer_norm_before: Option<bool>,
    token_dropout: Option<bool>,
    #[serde(default = "default_eps")]
    layer_norm_eps: f32,
    #[serde(flatten)]
    ids: TokenIds,
    vocab_list: Option<Vec<String>>,
    is_folding_model: Option<bool>,
    is_decoder: Option<bool>,
    rope_theta: Option<f64>,
    qkv_weight_interleaved: Option<bool>,
    tie_word_embeddings: Option<bool>,
}

/// The numbers of special tokens in `config.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TokenIds {
    mask_token_id: Option<i64>,
    pad_token_id: Option<i64>,
    #[serde(default)]
    cls_token_id: Value,
    #[serde(default)]
    bos_token_id: Value,
    #[serde(default)]
    eos_token_id: Value,
    #[serde(default)]
    unk_token_id: Value,
}

impl TokenIds {
    /// What contradicts ESM's alphabet, even if another file lists the tokens.
    pub(super) fn against(&self, alphabet: Alphabet) -> Option<String> {
        let ids = [
            ("mask_token_id", self.mask_token_id, alphabet.mask().into()),
            ("pad_token_id", self.pad_token_id, 1),
        ];
        ids.into_iter().find_map(|(name, found, ours)| {
            let found = found.filter(|found| *found != ours)?;
            Some(format!("{name} is {found}, not {ours}"))
        })
    }

    /// What contradicts ESM's alphabet if no other file lists the tokens.
    pub(super) fn contrary(&self) -> Option<String> {
        let ids = [
            ("cls_token_id", &self.cls_token_id, 0),
            ("bos_token_id", &self.bos_token_id, 0),
            ("eos_token_id", &self.eos_token_id, 2),
            ("unk_token_id", &self.unk_token_id, 3),
        ];
        ids.into_iter().find_map(|(name, value, ours)| {
            let found = value.as_i64().filter(|found| *found != ours)?;
            Some(format!("{name} is {found}, not {ours}"))
        })
    }
}

fn twelve() -> usize {
    12
}

fn default_width() -> usize {
    768
}

fn default_intermediate() -> usize {
    3072
}

fn default_positions() -> usize {
    1026
}

fn default_eps() -> f32 {
    1e-12
}

fn absolute() -> String {
    "absolute".into()
}

fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.unwrap_or_else(|| "null".into()))
}

impl HfConfig {
    /// Reads the file and refuses models that are not ESM-2, ESM-1b, ESM-1v or ESM C.
    pub(super) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let config: Self = json::read(path)?;
        config.refuse_other_models(path)?;
        Ok(config)
    }

    fn refuse_other_models(&self, path: &Path) -> Result<(), CheckpointError> {
        let unsupported = |found: &str| {
            Err(CheckpointError::Unsupported {
                path: path.to_path_buf(),
                found: found.into(),
            })
        };
        match self.model_type.as_deref() {
            None | Some("esm" | "nv_esm") => {}
            Some(other) => {
                return unsupported(&format!("the model type \"{}\"", printable::name(other)));
            }
        }
        if self.is_folding_model == Some(true) {
            return unsupported("ESMFold (is_folding_model is true)");
        }
        if self.is_decoder == Some(true) {
            return unsupported("a decoder (is_decoder is true)");
        }
        Ok(())
    }

    /// Whether the decoder of the language-model head is the embedding, where the file holds none.
    pub(super) fn is_tied(&self) -> bool {
        self.tie_word_embeddings.unwrap_or(true)
    }

    /// How many of `rows` rows of the embedding are tokens: NVIDIA's export pads them.
    pub(super) fn tokens(&self, rows: usize) -> usize {
        match self.vocab_size {
            Some(vocab) if Some(rows) == self.padded_vocab() => vocab.min(rows),
            _ => rows,
        }
    }

    /// How the `config.json` beside a fair-esm file contradicts ESM's alphabet, if it can be read and
    /// belongs to an ESM model.
    pub(super) fn beside_fair_esm(path: &Path, rows: usize, alphabet: Alphabet) -> Option<String> {
        #[derive(Deserialize)]
        struct Beside {
            #[serde(default)]
            model_type: Value,
            #[serde(default)]
            mask_token_id: Value,
            #[serde(default)]
            vocab_size: Value,
        }
        let beside: Beside = json::read(path).ok()?;
        if beside
            .model_type
            .as_str()
            .is_some_and(|kind| !matches!(kind, "esm" | "nv_esm"))
        {
            return None;
        }
        let ours = i64::from(alphabet.mask());
        let mask = beside.mask_token_id.as_i64().filter(|mask| *mask != ours);
        let vocab = beside.vocab_size.as_u64().filter(|size| {
            let known = [ALPHABET_SIZE, TE_PADDED_VOCAB, rows];
            !usize::try_from(*size).is_ok_and(|size| known.contains(&size))
        });
        mask.map(|mask| format!("the config.json beside it has mask_token_id {mask}, not {ours}"))
            .or_else(|| {
                let vocab = vocab?;
                Some(format!("the config.json beside it has vocab_size {vocab}"))
            })
    }

    /// The numbers of its special tokens.
    pub(super) fn ids(&self) -> &TokenIds {
        &self.ids
    }

    /// The tokens that it lists.
    pub(super) fn vocab_list(&self) -> Option<&[String]> {
        self.vocab_list.as_deref()
    }

    /// The architecture, for an embedding matrix of `embedding_rows` rows and the rows of the
    /// position table, if the file has one.
    pub(super) fn esm_config(
        &self,
        path: &Path,
        embedding_rows: usize,
        position_rows: Option<usize>,
    ) -> Result<EsmConfig, CheckpointError> {
        self.check_vocabulary(path, embedding_rows)?;
        let config = EsmConfig {
            layers: self.num_hidden_layers,
            dim: self.hidden_size,
            heads: self.num_attention_heads,
            intermediate: self.intermediate_size,
            activation: Activation::Gelu,
            vocab: embedding_rows,
            alphabet: Alphabet::Esm,
            positions: self.positions(path, position_rows)?,
            emb_layer_norm_before: self.emb_layer_norm_before.unwrap_or(false),
            token_dropout: self.token_dropout.unwrap_or(false),
            biases: true,
            qk_norm: false,
            residual_scale: 1.0,
            layer_norm_eps: self.layer_norm_eps,
        };
        config.check(path)?;
        let theta = self.rope_theta();
        if !(theta.is_finite() && theta > 1.0) {
            return Err(contradiction(
                path,
                format!("rope_theta {theta} is not a base above 1"),
            ));
        }
        Ok(config)
    }

    fn check_vocabulary(&self, path: &Path, rows: usize) -> Result<(), CheckpointError> {
        let vocab = self.vocab_size.unwrap_or(rows);
        if vocab < ALPHABET_SIZE {
            let found =
                format!("vocab_size is {vocab}; the ESM alphabet has {ALPHABET_SIZE} tokens");
            return Err(contradiction(path, found));
        }
        if rows != vocab && Some(rows) != self.padded_vocab() {
            let found = format!("vocab_size is {vocab}, but the embedding matrix has {rows} rows");
            return Err(contradiction(path, found));
        }
        Ok(())
    }

    /// Rows that the embedding is padded to, if it is.
    fn padded_vocab(&self) -> Option<usize> {
        match self.model_type.as_deref() {
            Some("nv_esm") => Some(self.padded_vocab_size.unwrap_or(TE_PADDED_VOCAB)),
            _ => self.padded_vocab_size,
        }
    }

    fn positions(&self, path: &Path, rows: Option<usize>) -> Result<Positions, CheckpointError> {
        match self.position_embedding_type.as_str() {
            // Rotary files may still hold a position table; it is never used.
            "rotary" => Ok(Positions::Rotary),
            "absolute" => {
                let claimed = self.max_position_embeddings;
                if let Some(rows) = rows
                    && claimed != rows
                {
                    let found = format!(
                        "max_position_embeddings is {claimed}, but the position table has {rows} rows"
                    );
                    return Err(contradiction(path, found));
                }
                Ok(Positions::Learned {
                    rows: rows.unwrap_or(claimed),
                })
            }
            other => Err(CheckpointError::Unsupported {
                path: path.to_path_buf(),
                found: format!("position_embedding_type \"{}\"", printable::name(other)),
            }),
        }
    }

    /// Base of the rotary frequencies, used if the file does not hold them.
    pub(super) fn rope_theta(&self) -> f64 {
        self.rope_theta.unwrap_or(10_000.0)
    }

    /// Whether a fused query-key-value matrix holds q, k, v head by head (the default) or one
    /// after another.
    pub(super) fn qkv_interleaved(&self) -> bool {
        self.qkv_weight_interleaved.unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &str) -> HfConfig {
        let text = format!(
            r#"{{"num_hidden_layers": 6, "hidden_size": 320, "num_attention_heads": 20, "intermediate_size": 1280{extra}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn error(extra: &str, rows: usize, table: Option<usize>) -> String {
        let config = parse(extra);
        let path = Path::new("config.json");
        match config.refuse_other_models(path) {
            Err(error) => error.to_string(),
            Ok(()) => config
                .esm_config(path, rows, table)
                .unwrap_err()
                .to_string(),
        }
    }

    #[test]
    fn esm2_and_esm1b() {
        let path = Path::new("config.json");
        let esm2 = parse(
            r#", "model_type": "esm", "position_embedding_type": "rotary", "token_dropout": true, "vocab_size": 33, "layer_norm_eps": 1e-05, "vocab_list": null"#,
        );
        assert_eq!(
            esm2.esm_config(path, 33, Some(1026)).unwrap(),
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
        );
        let esm1b = parse(
            r#", "position_embedding_type": "absolute", "emb_layer_norm_before": true, "max_position_embeddings": 1026"#,
        );
        let config = esm1b.esm_config(path, 33, Some(1026)).unwrap();
        assert_eq!(config.positions, Positions::Learned { rows: 1026 });
        assert!(config.emb_layer_norm_before && !config.token_dropout);
    }

    #[test]
    fn what_the_file_leaves_out_has_the_default_of_transformers() {
        let bare: HfConfig = serde_json::from_str("{}").unwrap();
        let config = bare.esm_config(Path::new("config.json"), 33, None).unwrap();
        assert_eq!(
            config,
            EsmConfig {
                layers: 12,
                dim: 768,
                heads: 12,
                intermediate: 3072,
                activation: Activation::Gelu,
                vocab: 33,
                alphabet: Alphabet::Esm,
                positions: Positions::Learned { rows: 1026 },
                emb_layer_norm_before: false,
                token_dropout: false,
                biases: true,
                qk_norm: false,
                residual_scale: 1.0,
                layer_norm_eps: 1e-12,
            }
        );
        assert_eq!(bare.rope_theta(), 10_000.0);
        assert!(
            error(r#", "position_embedding_type": null"#, 33, None)
                .contains("position_embedding_type \"null\" is not supported")
        );
    }

    #[test]
    fn numbers_of_other_tokens_speak_against_the_alphabet() {
        for good in [
            "",
            r#", "eos_token_id": 2, "bos_token_id": null, "cls_token_id": 0"#,
        ] {
            assert_eq!(parse(good).ids().contrary(), None, "{good}");
        }
        assert_eq!(
            parse(r#", "eos_token_id": 3"#).ids().contrary().as_deref(),
            Some("eos_token_id is 3, not 2")
        );
        for (extra, says) in [
            ("", None),
            (
                r#", "mask_token_id": 4"#,
                Some("mask_token_id is 4, not 32"),
            ),
            (r#", "pad_token_id": 0"#, Some("pad_token_id is 0, not 1")),
        ] {
            assert_eq!(parse(extra).ids().against(Alphabet::Esm).as_deref(), says);
        }
    }

    #[test]
    fn a_padded_vocabulary_is_the_export_s() {
        let path = Path::new("config.json");
        let rotary = r#", "position_embedding_type": "rotary", "vocab_size": 33"#;
        let te = parse(&format!(r#"{rotary}, "model_type": "nv_esm""#));
        assert_eq!(te.esm_config(path, 64, None).unwrap().vocab, 64);
        assert_eq!((te.tokens(64), te.tokens(33), te.tokens(65)), (33, 33, 65));
        assert!(
            error(rotary, 64, None)
                .contains("vocab_size is 33, but the embedding matrix has 64 rows")
        );
    }

    #[test]
    fn other_models_and_contradictions() {
        for (extra, says) in [
            (
                r#", "model_type": "bert""#,
                "the model type \"bert\" is not supported",
            ),
            (r#", "is_folding_model": true"#, "ESMFold"),
            (r#", "is_decoder": true"#, "a decoder"),
            (
                r#", "position_embedding_type": "relative_key""#,
                "\"relative_key\" is not supported",
            ),
            (
                r#", "max_position_embeddings": 512"#,
                "the position table has 1026 rows",
            ),
            (r#", "vocab_size": 20"#, "vocab_size is 20"),
            (r#", "rope_theta": 0.0"#, "rope_theta 0"),
        ] {
            let found = error(extra, 33, Some(1026));
            assert!(found.contains(says), "{extra}: {found}");
        }
    }
}
