//! `config.json` of a Hugging Face folder, also of NVIDIA's TransformerEngine export.

use std::path::Path;

use serde::Deserialize;

use super::config::{ALPHABET_SIZE, EsmConfig, Positions, contradiction};
use super::error::CheckpointError;
use super::{json, shown};

/// Vocabulary that the TransformerEngine export pads to when its configuration does not say.
const TE_PADDED_VOCAB: usize = 64;

/// What is read from `config.json`; the names are the file's. Unknown fields are skipped: many
/// concern training alone.
#[derive(Debug, Deserialize)]
pub(super) struct HfConfig {
    model_type: Option<String>,
    num_hidden_layers: usize,
    hidden_size: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: Option<usize>,
    padded_vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    position_embedding_type: Option<String>,
    emb_layer_norm_before: Option<bool>,
    token_dropout: Option<bool>,
    layer_norm_eps: Option<f32>,
    mask_token_id: Option<i64>,
    pad_token_id: Option<i64>,
    is_folding_model: Option<bool>,
    is_decoder: Option<bool>,
    rope_theta: Option<f64>,
    qkv_weight_interleaved: Option<bool>,
}

impl HfConfig {
    /// Reads the file and refuses models that are not ESM-2, ESM-1b or ESM-1v.
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
                return unsupported(&format!("the model type \"{}\"", shown::name(other)));
            }
        }
        if self.is_folding_model == Some(true) {
            return unsupported("ESMFold (is_folding_model is true)");
        }
        if self.is_decoder == Some(true) {
            return unsupported("a decoder (is_decoder is true)");
        }
        for (name, found, ours) in [
            ("mask_token_id", self.mask_token_id, 32),
            ("pad_token_id", self.pad_token_id, 1),
        ] {
            if found.is_some_and(|id| id != ours) {
                return unsupported(&format!("another alphabet ({name} is not {ours})"));
            }
        }
        Ok(())
    }

    /// The architecture, for an embedding matrix of `embedding_rows` rows and the rows of the
    /// position table where the file holds one.
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
            vocab: embedding_rows,
            positions: self.positions(path, position_rows)?,
            emb_layer_norm_before: self.emb_layer_norm_before.unwrap_or(false),
            // The library's own default where the file is silent.
            token_dropout: self.token_dropout.unwrap_or(false),
            layer_norm_eps: self.layer_norm_eps.unwrap_or(1e-5),
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
        let padded = match self.model_type.as_deref() {
            Some("nv_esm") => Some(self.padded_vocab_size.unwrap_or(TE_PADDED_VOCAB)),
            _ => self.padded_vocab_size,
        };
        let vocab = self.vocab_size.unwrap_or(rows);
        if vocab < ALPHABET_SIZE {
            let found =
                format!("vocab_size is {vocab}; the ESM alphabet has {ALPHABET_SIZE} tokens");
            return Err(contradiction(path, found));
        }
        if rows != vocab && Some(rows) != padded {
            let found = format!("vocab_size is {vocab}, but the embedding matrix has {rows} rows");
            return Err(contradiction(path, found));
        }
        Ok(())
    }

    fn positions(&self, path: &Path, rows: Option<usize>) -> Result<Positions, CheckpointError> {
        match self.position_embedding_type.as_deref() {
            // Rotary files may still hold a position table; it is never used.
            Some("rotary") => Ok(Positions::Rotary),
            Some("absolute") | None => {
                let claimed = self.max_position_embeddings;
                if let (Some(claimed), Some(rows)) = (claimed, rows)
                    && claimed != rows
                {
                    let found = format!(
                        "max_position_embeddings is {claimed}, but the position table has {rows} rows"
                    );
                    return Err(contradiction(path, found));
                }
                Ok(Positions::Learned {
                    rows: rows.or(claimed).unwrap_or(1026),
                })
            }
            Some(other) => Err(CheckpointError::Unsupported {
                path: path.to_path_buf(),
                found: format!("position_embedding_type \"{}\"", shown::name(other)),
            }),
        }
    }

    /// Base of the rotary frequencies, used where the file does not hold them.
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
                vocab: 33,
                positions: Positions::Rotary,
                emb_layer_norm_before: false,
                token_dropout: true,
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
    fn a_padded_vocabulary_is_the_export_s() {
        let path = Path::new("config.json");
        let rotary = r#", "position_embedding_type": "rotary", "vocab_size": 33"#;
        let te = parse(&format!(r#"{rotary}, "model_type": "nv_esm""#));
        assert_eq!(te.esm_config(path, 64, None).unwrap().vocab, 64);
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
                r#", "mask_token_id": 4"#,
                "another alphabet (mask_token_id is not 32)",
            ),
            (
                r#", "pad_token_id": 0"#,
                "another alphabet (pad_token_id is not 1)",
            ),
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
