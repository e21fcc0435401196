//! The architecture of ESM C: its tensors tell it, and `config.json`, where there is one, has to agree.

use std::path::Path;

use serde::Deserialize;

use super::config::{EsmConfig, Positions, contradiction};
use super::error::CheckpointError;
use super::foreign;
use super::hf_config::TokenIds;
use super::json;
use super::locate::Located;
use super::names::{Names, Naming};
use super::tensors::TensorSet;
use crate::numerals::count;
use crate::ops::Activation;
use crate::printable;
use crate::tokenizer::Alphabet;

/// Width of a head where no configuration says it: that of all published sizes.
const HEAD_DIM: usize = 64;
/// Layers for which the factor of what a block adds is 1.
const UNSCALED_LAYERS: f64 = 36.0;
/// The base of the rotary frequencies.
const THETA: f64 = 10_000.0;

/// What is read of `config.json`, as transformers, the research folders and ESM++ write it. Every field
/// may be missing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct EsmCConfig {
    hidden_size: Option<usize>,
    d_model: Option<usize>,
    num_hidden_layers: Option<usize>,
    n_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    n_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    vocab_size: Option<usize>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
    #[serde(flatten)]
    pub(super) tokens: TokenIds,
}

#[derive(Debug, Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

impl EsmCConfig {
    /// The base of the rotary frequencies.
    pub(super) fn rope_theta(&self) -> f64 {
        let rope = self.rope_parameters.as_ref();
        rope.and_then(|rope| rope.rope_theta)
            .or(self.rope_theta)
            .unwrap_or(THETA)
    }

    /// Settings that ESM C does not have.
    fn check(&self, path: &Path) -> Result<(), CheckpointError> {
        let other = |found: String| {
            Err(CheckpointError::Unsupported {
                path: path.to_path_buf(),
                found: format!("ESM C with {found}"),
            })
        };
        if let Some(act) = self.hidden_act.as_deref().filter(|act| *act != "silu") {
            return other(format!("hidden_act \"{}\"", printable::name(act)));
        }
        if self.attention_bias == Some(true) || self.mlp_bias == Some(true) {
            return other("biases of its linear layers".into());
        }
        let rope = self.rope_parameters.as_ref();
        let kind = rope.and_then(|rope| rope.rope_type.as_deref());
        if let Some(kind) = kind.filter(|kind| *kind != "default") {
            return other(format!("rope_type \"{}\"", printable::name(kind)));
        }
        let theta = self.rope_theta();
        match theta.is_finite() && theta > 1.0 {
            true => Ok(()),
            false => Err(contradiction(
                path,
                format!("rope_theta {theta} is not a base above 1"),
            )),
        }
    }

    fn heads(&self) -> Option<usize> {
        self.num_attention_heads.or(self.n_heads)
    }
}

/// The `config.json` beside the weights, if there is one. Beside a `.pth` of the SDK it may belong to
/// something else, and then counts as none.
pub(super) fn read(
    located: &Located,
    names: &Names,
    main: &Path,
) -> Result<Option<EsmCConfig>, CheckpointError> {
    let Some(path) = &located.config else {
        return Ok(None);
    };
    let kind = foreign::model_type(path);
    let is_other = kind.is_some() && !foreign::describes_esm_c(path);
    let is_torch = main
        .extension()
        .is_none_or(|end| end != "safetensors" && end != "json");
    if names.naming == Naming::EsmCSdk && is_torch && is_other {
        return Ok(None);
    }
    if is_other {
        let kind = kind.unwrap_or_default();
        return Err(CheckpointError::Unsupported {
            path: path.clone(),
            found: format!(
                "the model type \"{}\" with the tensors of ESM C",
                printable::name(&kind)
            ),
        });
    }
    let config: EsmCConfig = json::read(path)?;
    config.check(path)?;
    Ok(Some(config))
}

/// The architecture of the tensors, in which the configuration must agree.
pub(super) fn config(
    tensors: &TensorSet,
    names: &Names,
    described: Option<(&EsmCConfig, &Path)>,
    main: &Path,
) -> Result<EsmConfig, CheckpointError> {
    let layers = names.layers(tensors);
    if layers == 0 {
        return Err(contradiction(
            main,
            "holds tensors of ESM C, but not one block",
        ));
    }
    let [vocab, dim] = matrix(tensors, names, "embed_tokens.weight")?;
    let [_, intermediate] = matrix(tensors, names, "layers.0.fc2.weight")?;
    let said = described.and_then(|(config, _)| config.heads());
    let heads = match said {
        Some(heads) => heads,
        None if dim.is_multiple_of(HEAD_DIM) => dim / HEAD_DIM,
        None => {
            let found = format!(
                "has the tensors of ESM C and a width of {dim}, which is not a multiple of its head \
                 width, {HEAD_DIM}"
            );
            return Err(contradiction(main, found));
        }
    };
    let config = EsmConfig {
        layers,
        dim,
        heads,
        intermediate,
        activation: Activation::SwiGlu,
        vocab,
        alphabet: Alphabet::EsmC,
        positions: Positions::Rotary,
        emb_layer_norm_before: false,
        token_dropout: false,
        biases: false,
        qk_norm: true,
        residual_scale: (UNSCALED_LAYERS / layers as f64).sqrt() as f32,
        layer_norm_eps: 1e-5,
    };
    config.check(described.map_or(main, |(_, path)| path))?;
    if let Some((said, path)) = described {
        agree(said, &config, path, main)?;
    }
    Ok(config)
}

/// Rows and columns of a weight.
fn matrix(tensors: &TensorSet, names: &Names, weight: &str) -> Result<[usize; 2], CheckpointError> {
    let tensor = names.first(weight);
    let path = tensors.home(&tensor).to_path_buf();
    let found = tensors.get(&tensor).map(|tensor| tensor.shape.as_slice());
    match found {
        Some([rows, columns]) => Ok([*rows, *columns]),
        Some(other) => Err(CheckpointError::Unreadable {
            tensor,
            path,
            found: format!("has shape {other:?}, which is not a matrix"),
        }),
        None => Err(CheckpointError::MissingTensor {
            of: names.naming.model(),
            tensor,
            path,
        }),
    }
}

/// A configuration that contradicts the tensors.
fn agree(
    said: &EsmCConfig,
    config: &EsmConfig,
    path: &Path,
    main: &Path,
) -> Result<(), CheckpointError> {
    for (name, said, found) in [
        ("hidden_size", said.hidden_size, config.dim),
        ("d_model", said.d_model, config.dim),
        ("num_hidden_layers", said.num_hidden_layers, config.layers),
        ("n_layers", said.n_layers, config.layers),
        (
            "intermediate_size",
            said.intermediate_size,
            config.intermediate,
        ),
        ("vocab_size", said.vocab_size, config.vocab),
    ] {
        if let Some(said) = said.filter(|said| *said != found) {
            let found = format!(
                "{name} is {said}, but by the tensors of {} it is {found}",
                main.display()
            );
            return Err(contradiction(path, found));
        }
    }
    for (name, said, found) in [
        ("n_heads", said.n_heads, config.heads),
        (
            "num_key_value_heads",
            said.num_key_value_heads,
            config.heads,
        ),
        ("head_dim", said.head_dim, config.head_dim()),
    ] {
        if let Some(said) = said.filter(|said| *said != found) {
            let found = format!(
                "{name} is {said}, but with a width of {} and {} it is {found}",
                config.dim,
                count(config.heads as u64, "attention head")
            );
            return Err(contradiction(path, found));
        }
    }
    Ok(())
}
