//! The architecture of a fair-esm `.pt`: from its tensors, and from the arguments saved with it.

use std::path::Path;

use super::config::{EsmConfig, Positions, contradiction};
use super::error::CheckpointError;
use super::names::Names;
use super::pickle::{Pickle, Value};
use super::tensors::TensorSet;
use crate::ops::Activation;
use crate::tokenizer::Alphabet;

/// Which loader of fair-esm reads this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FairEsmLoader {
    /// `{"args": Namespace, …}`: ESM-1b and ESM-1v.
    Version1,
    /// `{"cfg": {"model": Namespace}, …}`: ESM-2; `{"config": dict, …}`: SaProt, for the class of ESM-2.
    Version2,
}

/// The arguments that a fair-esm file carries beside its weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// None where only the hyper-parameters of a training program say something.
    pub(super) loader: Option<FairEsmLoader>,
    arch: Option<String>,
    layers: Option<i64>,
    dim: Option<i64>,
    heads: Option<i64>,
    intermediate: Option<i64>,
    positions: Option<i64>,
    token_dropout: Option<bool>,
}

/// The architectures that fair-esm's loader of ESM-1b and 1v knows.
const ARCHITECTURES: [&str; 3] = ["roberta_large", "protein_bert_base", "msa_transformer"];
/// Arguments by which such a file without an architecture is known.
const OF_VERSION_1: [&str; 2] = ["encoder_attention_heads", "encoder_embed_dim"];
/// Settings that fair-esm's loader of ESM-2 reads.
const OF_VERSION_2: [&str; 3] = [
    "encoder_layers",
    "encoder_embed_dim",
    "encoder_attention_heads",
];

/// Settings that SaProt's loader reads.
const OF_SAPROT: [&str; 4] = [
    "num_layers",
    "embed_dim",
    "attention_heads",
    "token_dropout",
];

/// Where training programs keep what a model was made with.
const HYPER_PARAMETERS: [&str; 3] = ["hyper_parameters", "hparams", "hyperparameters"];

/// Layers and width of the published ESM-1b and 1v, and their attention heads.
const PUBLISHED_ESM1: (usize, usize) = (33, 1280);
const PUBLISHED_ESM1_HEADS: usize = 20;

fn has_any(pickle: &Pickle<'_>, holder: Value, names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| pickle.setting(holder, name).is_some())
}

impl Settings {
    /// The settings in the `cfg.model` or `args` of one of these dicts. Other programs save
    /// settings of their own under these names; those count as none.
    pub(super) fn from_pickle(pickle: &Pickle<'_>, holders: &[Value]) -> Option<Self> {
        let of_fair_esm = holders.iter().find_map(|holder| {
            let cfg = pickle
                .get(*holder, "cfg")
                .and_then(|cfg| pickle.setting(cfg, "model"))
                .filter(|cfg| has_any(pickle, *cfg, &OF_VERSION_2));
            if let Some(cfg) = cfg {
                return Some(Self::of(pickle, FairEsmLoader::Version2, cfg));
            }
            let config = pickle.get(*holder, "config").filter(|config| {
                let mut names = OF_SAPROT.iter();
                names.all(|name| pickle.setting(*config, name).is_some())
            });
            if let Some(config) = config {
                return Some(Self::of(pickle, FairEsmLoader::Version2, config));
            }
            let args = pickle.get(*holder, "args")?;
            let arch = pickle.setting(args, "arch");
            let is_fair_esm = match arch.and_then(|arch| pickle.text(arch)) {
                Some(arch) => ARCHITECTURES.contains(&arch) || arch.contains("gvp"),
                None => has_any(pickle, args, &OF_VERSION_1),
            };
            is_fair_esm.then(|| Self::of(pickle, FairEsmLoader::Version1, args))
        });
        of_fair_esm.or_else(|| Self::of_training(pickle, holders))
    }

    /// Whether token dropout is on, where the hyper-parameters of a training program say so.
    fn of_training(pickle: &Pickle<'_>, holders: &[Value]) -> Option<Self> {
        let said = holders.iter().find_map(|holder| {
            let parameters = HYPER_PARAMETERS
                .iter()
                .find_map(|name| pickle.get(*holder, name))?;
            pickle.setting(parameters, "token_dropout")
        });
        let Some(Value::Bool(token_dropout)) = said else {
            return None;
        };
        Some(Self {
            loader: None,
            arch: None,
            layers: None,
            dim: None,
            heads: None,
            intermediate: None,
            positions: None,
            token_dropout: Some(token_dropout),
        })
    }

    fn of(pickle: &Pickle<'_>, loader: FairEsmLoader, source: Value) -> Self {
        // ESM-1b's loader drops `encoder_` from the names, so files may spell either.
        let get = |name: &str| {
            let long = pickle.setting(source, &format!("encoder_{name}"));
            long.or_else(|| pickle.setting(source, name))
        };
        let int = |name| match get(name) {
            Some(Value::Int(value)) => Some(value),
            _ => None,
        };
        Self {
            loader: Some(loader),
            arch: get("arch")
                .and_then(|arch| pickle.text(arch))
                .map(str::to_owned),
            layers: int("layers").or_else(|| int("num_layers")),
            dim: int("embed_dim"),
            heads: int("attention_heads"),
            intermediate: int("ffn_embed_dim"),
            positions: int("max_positions"),
            token_dropout: match get("token_dropout") {
                Some(Value::Bool(value)) => Some(value),
                Some(Value::Int(value)) => Some(value != 0),
                _ => None,
            },
        }
    }

    /// The model's name where it is one of fair-esm's that this program does not run.
    pub(super) fn unsupported(&self) -> Option<&'static str> {
        match self.arch.as_deref() {
            Some("protein_bert_base") => Some("ESM-1 (the model before ESM-1b)"),
            Some("msa_transformer") => Some("MSA Transformer"),
            Some(arch) if arch.contains("gvp") => Some("ESM-IF (inverse folding)"),
            _ => None,
        }
    }
}

/// What is taken for granted of a model with learned positions that came without settings.
pub(super) fn warning(
    config: &EsmConfig,
    settings: Option<&Settings>,
    path: &Path,
) -> Option<String> {
    let is_silent = settings.is_none() && config.positions != Positions::Rotary;
    is_silent.then(|| {
        format!(
            "{}: the file holds weights without their settings; token dropout is taken to be on, \
             as in every published ESM-1b and ESM-1v",
            path.display()
        )
    })
}

/// The architecture of the tensors, in which the settings must agree.
pub(super) fn config(
    tensors: &TensorSet,
    names: &Names,
    settings: Option<&Settings>,
    path: &Path,
) -> Result<EsmConfig, CheckpointError> {
    let file = File {
        tensors,
        names,
        path,
    };
    let [vocab, dim] = file.matrix("embed_tokens.weight")?;
    let layers = names.layers(tensors);
    let [intermediate, _] = match layers {
        0 => return Err(contradiction(path, "holds an embedding, but not one layer")),
        _ => file.matrix("layers.0.fc1.weight")?,
    };
    let rotary = file.has("layers.0.self_attn.rot_emb.inv_freq");
    let positions = file.positions(rotary, settings)?;
    let config = EsmConfig {
        layers,
        dim,
        heads: file.heads(settings, dim, layers)?,
        intermediate,
        activation: Activation::Gelu,
        vocab,
        alphabet: Alphabet::Esm,
        positions,
        emb_layer_norm_before: file.has("emb_layer_norm_before.weight"),
        token_dropout: file.token_dropout(settings),
        biases: true,
        qk_norm: false,
        residual_scale: 1.0,
        layer_norm_eps: 1e-5,
    };
    config.check(path)?;
    if let Some(settings) = settings {
        agree(settings, &config, path)?;
    }
    Ok(config)
}

struct File<'a> {
    tensors: &'a TensorSet,
    names: &'a Names,
    path: &'a Path,
}

impl File<'_> {
    fn stored(&self, name: &str) -> String {
        self.names.first(name)
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.get(&self.stored(name)).is_some()
    }

    fn matrix(&self, name: &str) -> Result<[usize; 2], CheckpointError> {
        let tensor = self.stored(name);
        let path = self.tensors.home(&tensor).to_path_buf();
        match self
            .tensors
            .get(&tensor)
            .map(|tensor| tensor.shape.as_slice())
        {
            Some([rows, columns]) => Ok([*rows, *columns]),
            Some(other) => Err(CheckpointError::Unreadable {
                tensor,
                path,
                found: format!("has shape {other:?}, which is not a matrix"),
            }),
            None => Err(CheckpointError::MissingTensor {
                of: "",
                tensor,
                path,
            }),
        }
    }

    /// ESM-1b and 1v have a table of positions, ESM-2 rotates. A file that lost its table must
    /// not pass for a rotary model, so the settings or the frequencies have to say so.
    fn positions(
        &self,
        rotary: bool,
        settings: Option<&Settings>,
    ) -> Result<Positions, CheckpointError> {
        const TABLE: &str = "embed_positions.weight";
        let loader = settings.and_then(|settings| settings.loader);
        if loader == Some(FairEsmLoader::Version1) || (self.has(TABLE) && loader.is_none()) {
            if rotary {
                let found = "holds rotary frequencies, though it is saved as ESM-1b or ESM-1v";
                return Err(contradiction(self.path, found));
            }
            let [rows, _] = self.matrix(TABLE)?;
            return Ok(Positions::Learned { rows });
        }
        if self.has(TABLE) {
            let found = "holds a table of positions, though it is saved as ESM-2";
            return Err(contradiction(self.path, found));
        }
        if loader.is_none() && !rotary {
            let found = "holds neither `cfg` nor `args`, no table of positions and no rotary \
                         frequencies, so its architecture is unknown";
            return Err(contradiction(self.path, found));
        }
        Ok(Positions::Rotary)
    }

    /// Heads according to the settings and the length of the rotary frequencies (half a head), which must
    /// agree; without them, according to the width of the contact regression (layers · heads), which may
    /// be a file of another model.
    fn heads(
        &self,
        settings: Option<&Settings>,
        dim: usize,
        layers: usize,
    ) -> Result<usize, CheckpointError> {
        let length = |name: &str, dimension: usize| {
            self.tensors
                .get(&self.stored(name))
                .and_then(|tensor| tensor.shape.get(dimension))
        };
        let divided = |whole: usize, part: usize| match whole.checked_rem(part) {
            Some(0) => whole.checked_div(part),
            _ => Some(0),
        };
        let saved = settings.and_then(|settings| settings.heads);
        let frequencies = length("layers.0.self_attn.rot_emb.inv_freq", 0);
        let regression = length("contact_head.regression.weight", 1);
        let claims = [
            (
                "its arguments",
                saved.map(|heads| usize::try_from(heads).unwrap_or(0)),
            ),
            (
                "its rotary frequencies",
                frequencies.and_then(|half| divided(dim, half.saturating_mul(2))),
            ),
        ];
        let mut known = claims
            .into_iter()
            .filter_map(|(source, heads)| Some((source, heads?)));
        let Some((source, heads)) = known.next() else {
            if let Some(width) = regression {
                return Ok(divided(*width, layers).unwrap_or(0));
            }
            // ESM-1b and 1v without settings and regression: the published shape has one number.
            if settings.is_none_or(|settings| settings.loader.is_none())
                && (layers, dim) == PUBLISHED_ESM1
            {
                return Ok(PUBLISHED_ESM1_HEADS);
            }
            let found = "does not say how many attention heads it has";
            return Err(contradiction(self.path, found));
        };
        if let Some((other, differing)) = known.find(|(_, other)| *other != heads) {
            let found = format!("has {heads} attention heads by {source}, {differing} by {other}");
            return Err(contradiction(self.path, found));
        }
        Ok(heads)
    }

    /// As fair-esm's loaders do: on for ESM-2 unless switched off, off for ESM-1b's class unless
    /// switched on. Without settings it is taken to be on, as in every published model.
    fn token_dropout(&self, settings: Option<&Settings>) -> bool {
        settings.is_none_or(|settings| {
            settings
                .token_dropout
                .unwrap_or(settings.loader == Some(FairEsmLoader::Version2))
        })
    }
}

/// Settings that contradict the tensors.
fn agree(settings: &Settings, config: &EsmConfig, path: &Path) -> Result<(), CheckpointError> {
    let version1 = settings.loader == Some(FairEsmLoader::Version1);
    // fair-esm's ESM-2 class takes neither of these from the settings.
    let intermediate = settings.intermediate.filter(|_| version1);
    let rows = match config.positions {
        Positions::Learned { rows } => Some(rows),
        Positions::Rotary => None,
    };
    // Row 0 is unused and row 1 is padding.
    let positions = settings
        .positions
        .filter(|_| version1)
        .map(|count| count.saturating_add(2));
    for (name, said, found) in [
        ("encoder_layers", settings.layers, Some(config.layers)),
        ("encoder_embed_dim", settings.dim, Some(config.dim)),
        (
            "encoder_ffn_embed_dim",
            intermediate,
            Some(config.intermediate),
        ),
        ("max_positions + 2", positions, rows),
    ] {
        if let (Some(said), Some(found)) = (said, found)
            && usize::try_from(said).ok() != Some(found)
        {
            let found = format!("{name} is {said} by its arguments, but {found} by its tensors");
            return Err(contradiction(path, found));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::pickle;
    use super::*;

    fn of(bytes: &[u8]) -> Option<Settings> {
        let pickle = pickle::read(bytes).unwrap();
        Settings::from_pickle(&pickle, &[pickle.root])
    }

    #[test]
    fn arguments_of_other_programs_are_none_of_fair_esm() {
        // {"args": Namespace(lr=1)}, {"args": Namespace(arch="mine")} and {"cfg": {"model": {"name": 1}}}
        let lr = b"\x80\x02}X\x04\0\0\0argscargparse\nNamespace\n)\x81}X\x02\0\0\0lrK\x01sbs.";
        let arch = b"\x80\x02}X\x04\0\0\0args}X\x04\0\0\0archX\x04\0\0\0miness.";
        let cfg = b"\x80\x02}X\x03\0\0\0cfg}X\x05\0\0\0model}X\x04\0\0\0nameK\x01sss.";
        for bytes in [&lr[..], arch, cfg] {
            assert_eq!(of(bytes), None);
        }
    }

    #[test]
    fn hyper_parameters_say_whether_token_dropout_is_on() {
        // {"hyper_parameters": {"token_dropout": False}}
        let bytes = b"\x80\x02}X\x10\0\0\0hyper_parameters}X\x0d\0\0\0token_dropout\x89ss.";
        let settings = of(bytes).unwrap();
        assert_eq!(
            (settings.loader, settings.token_dropout),
            (None, Some(false))
        );
    }

    #[test]
    fn saprot_says_the_same_in_other_words() {
        // {"config": {"num_layers": 6, "embed_dim": 32, "attention_heads": 2, "token_dropout": False}}
        let bytes =
            b"\x80\x02}X\x06\0\0\0config}(X\x0a\0\0\0num_layersK\x06X\x09\0\0\0embed_dimK\x20\
            X\x0f\0\0\0attention_headsK\x02X\x0d\0\0\0token_dropout\x89us.";
        let settings = of(bytes).unwrap();
        assert_eq!(settings.loader, Some(FairEsmLoader::Version2));
        assert_eq!(
            (settings.layers, settings.dim, settings.heads),
            (Some(6), Some(32), Some(2))
        );
        assert_eq!(settings.token_dropout, Some(false));
        assert_eq!(of(b"\x80\x02}X\x06\0\0\0config}s."), None);
    }

    #[test]
    fn settings_of_both_loaders() {
        let v1 = b"\x80\x02}X\x04\0\0\0argscargparse\nNamespace\n)\x81}(X\x04\0\0\0archX\x0d\0\0\0roberta_largeX\x17\0\0\0encoder_attention_headsK\x14X\x0d\0\0\0token_dropout\x88ubs.";
        let settings = of(v1).unwrap();
        assert_eq!(settings.loader, Some(FairEsmLoader::Version1));
        assert_eq!(settings.heads, Some(20));
        assert_eq!(settings.token_dropout, Some(true));
        assert_eq!(settings.unsupported(), None);
        let v2 = b"\x80\x02}X\x03\0\0\0cfg}X\x05\0\0\0modelcargparse\nNamespace\n)\x81}(X\x0e\0\0\0encoder_layersK\x06X\x04\0\0\0archX\x0f\0\0\0msa_transformerubss.";
        let settings = of(v2).unwrap();
        assert_eq!(
            (settings.loader, settings.layers),
            (Some(FairEsmLoader::Version2), Some(6))
        );
        assert_eq!(settings.unsupported(), Some("MSA Transformer"));
    }
}
