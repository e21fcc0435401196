//! What each layout calls a weight.
//!
//! The names that this program uses are fair-esm's own: `embed_tokens.weight`,
//! `layers.0.self_attn.q_proj.weight`, `emb_layer_norm_after.bias`, `lm_head.dense.weight`.

use std::borrow::Cow;
use std::fmt;

use super::tensors::TensorSet;
use crate::printable;

/// The way a checkpoint names and arranges its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The transformers library: `esm.encoder.layer.0.attention.self.query.weight`.
    HuggingFace,
    /// fair-esm: `encoder.sentence_encoder.layers.0.self_attn.q_proj.weight`.
    FairEsm,
    /// NVIDIA's TransformerEngine export of ESM-2, with query, key and value in one matrix.
    TransformerEngine,
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HuggingFace => "huggingface",
            Self::FairEsm => "fair-esm",
            Self::TransformerEngine => "transformer-engine",
        })
    }
}

/// A weight's place in a file: a tensor, or the query, key or value third of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorPlace {
    pub(super) tensor: String,
    /// 0 for query, 1 for key, 2 for value of a fused tensor.
    pub(super) third: Option<usize>,
}

/// The names of one checkpoint: its layout and what it puts before every name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) naming: Naming,
    /// Before the names of the encoder: `esm.`, `encoder.sentence_encoder.` or nothing.
    prefix: String,
    /// Before the names of the LM head, up to and with `lm_head.`.
    head: String,
    /// Before `contact_head.`.
    contact: String,
}

/// Where a tensor stands, seen from the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In the module of the encoder; where names have no prefix, among the embeddings or in a layer.
    Inside,
    /// In another module.
    Outside,
}

const HF_EMBEDDING: &str = "embeddings.word_embeddings.weight";
const FAIR_EMBEDDING: &str = "embed_tokens.weight";
/// Bytes of a name in which an embedding is looked for; those of models have about 70.
const MOST_NAME: usize = 1000;

/// Modules that torch.compile, FSDP and activation checkpointing put around others. They stand
/// anywhere in a name and mean nothing.
const WRAPPERS: [&str; 4] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
];

/// Whether this is the name of an ESM embedding matrix, under any prefix.
pub(super) fn is_embedding(name: &str) -> bool {
    // Any number of entries may share one name, however long.
    if name.len() > MOST_NAME {
        return false;
    }
    let name = unwrapped(name);
    [HF_EMBEDDING, FAIR_EMBEDDING].iter().any(|end| {
        let prefix = name.strip_suffix(end);
        prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
    })
}

/// A name without the modules that only wrap others.
pub(super) fn unwrapped(name: &str) -> Cow<'_, str> {
    if !WRAPPERS.iter().any(|wrapper| name.contains(wrapper)) {
        return Cow::Borrowed(name);
    }
    let parts: Vec<&str> = name
        .split('.')
        .filter(|part| !WRAPPERS.contains(part))
        .collect();
    Cow::Owned(parts.join("."))
}

impl Names {
    /// Finds the embedding matrix, and with it layout and prefix. An error is the end of the
    /// sentence "the checkpoint …".
    pub(super) fn detect(tensors: &TensorSet) -> Result<Self, String> {
        let mut embeddings: Vec<(&str, &str)> = tensors
            .names()
            .filter_map(|name| {
                let hf = name.strip_suffix(HF_EMBEDDING);
                let prefix = hf.or_else(|| name.strip_suffix(FAIR_EMBEDDING))?;
                (prefix.is_empty() || prefix.ends_with('.')).then_some((name, prefix))
            })
            .collect();
        embeddings.sort_unstable();
        if embeddings.len() > 1 {
            // Of several encoders in one file, ESM's has a LayerNorm after its last layer.
            let is_esm = |prefix: &str| {
                ["encoder.", ""].iter().any(|part| {
                    let norm = format!("{prefix}{part}emb_layer_norm_after.weight");
                    tensors.get(&norm).is_some()
                })
            };
            let esm: Vec<_> = embeddings
                .iter()
                .filter(|(_, prefix)| is_esm(prefix))
                .collect();
            if let [one] = esm.as_slice() {
                embeddings = vec![**one];
            }
        }
        let (name, prefix) = match embeddings.as_slice() {
            [one] => *one,
            [] => return Err(nothing_found(tensors)),
            several => {
                let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
                return Err(format!(
                    "holds {} embedding matrices, {}",
                    several.len(),
                    printable::list(&names)
                ));
            }
        };
        let fused = format!("{prefix}encoder.layers.");
        let naming = if name.ends_with(FAIR_EMBEDDING) {
            Naming::FairEsm
        } else if tensors.names().any(|name| name.starts_with(&fused)) {
            Naming::TransformerEngine
        } else {
            Naming::HuggingFace
        };
        // The head stands beside the encoder: one level up, or where the names start.
        let up = prefix
            .strip_suffix('.')
            .map_or("", |prefix| match prefix.rfind('.') {
                Some(dot) => prefix.get(..=dot).unwrap_or_default(),
                None => "",
            });
        let beside = |module: &str| {
            let found = [prefix, up, ""].into_iter().find(|prefix| {
                let start = format!("{prefix}{module}");
                tensors.names().any(|name| name.starts_with(&start))
            });
            format!("{}{module}", found.unwrap_or(up))
        };
        Ok(Self {
            naming,
            prefix: prefix.to_owned(),
            head: beside("lm_head."),
            contact: beside("contact_head."),
        })
    }

    /// Layers that the tensors belong to: the highest number plus one.
    pub(super) fn layers(&self, tensors: &TensorSet) -> usize {
        let layers = match self.naming {
            Naming::HuggingFace => "encoder.layer.",
            Naming::FairEsm => "layers.",
            Naming::TransformerEngine => "encoder.layers.",
        };
        let start = format!("{}{layers}", self.prefix);
        let number = |name: &str| {
            let (number, _) = name.strip_prefix(&start)?.split_once('.')?;
            number.parse::<usize>().ok()
        };
        tensors
            .names()
            .filter_map(number)
            .max()
            .map_or(0, |last| last.saturating_add(1))
    }

    /// Where a tensor of this name stands, seen from the encoder.
    pub(super) fn standing(&self, name: &str) -> Standing {
        let Some(rest) = name.strip_prefix(&self.prefix) else {
            return Standing::Outside;
        };
        let inside: &[&str] = match self.naming {
            Naming::HuggingFace | Naming::TransformerEngine => &["embeddings.", "encoder."],
            Naming::FairEsm => &["embed_", "emb_layer_norm_", "layers."],
        };
        // Without a prefix, the modules above the encoder stand beside its parts.
        match !self.prefix.is_empty() || inside.iter().any(|start| rest.starts_with(start)) {
            true => Standing::Inside,
            false => Standing::Outside,
        }
    }

    /// The rest of a name below the modules that hold both it and the encoder.
    pub(super) fn below_shared<'a>(&self, name: &'a str) -> &'a str {
        let mut rest = name;
        for module in self.prefix.split_terminator('.') {
            let below = rest.strip_prefix(module);
            match below.and_then(|below| below.strip_prefix('.')) {
                Some(below) => rest = below,
                None => break,
            }
        }
        rest
    }

    /// The first of [`Names::places`] as the file spells it.
    pub(super) fn first(&self, weight: &str) -> String {
        let first = self.places(weight).into_iter().next();
        first.map_or_else(|| weight.to_owned(), |place| place.tensor)
    }

    /// Where this weight may stand, in the order in which to look.
    pub(super) fn places(&self, weight: &str) -> Vec<TensorPlace> {
        let whole = |tensor| TensorPlace {
            tensor,
            third: None,
        };
        if let Some(rest) = weight.strip_prefix("lm_head.") {
            return vec![whole(format!("{}{}", self.head, self.in_head(rest)))];
        }
        if let Some(rest) = weight.strip_prefix("contact_head.") {
            return vec![whole(format!("{}{rest}", self.contact))];
        }
        let layer = weight
            .strip_prefix("layers.")
            .and_then(|rest| rest.split_once('.'));
        match (self.naming, layer) {
            (Naming::FairEsm, _) => vec![whole(format!("{}{weight}", self.prefix))],
            (Naming::HuggingFace, None) => vec![whole(self.hf_outside(weight))],
            (Naming::HuggingFace, Some((number, rest))) => self.hf_layer(number, rest),
            (Naming::TransformerEngine, None) => vec![whole(self.hf_outside(weight))],
            (Naming::TransformerEngine, Some((number, rest))) => self.te_layer(number, rest),
        }
    }

    fn in_head<'a>(&self, rest: &'a str) -> &'a str {
        match (self.naming, rest) {
            (Naming::TransformerEngine, "layer_norm.weight") => "decoder.layer_norm_weight",
            (Naming::TransformerEngine, "layer_norm.bias") => "decoder.layer_norm_bias",
            (Naming::TransformerEngine, "bias") => "decoder.bias",
            _ => rest,
        }
    }

    fn hf_outside(&self, weight: &str) -> String {
        let name = match weight.split_once('.') {
            Some(("embed_tokens", part)) => format!("embeddings.word_embeddings.{part}"),
            Some(("embed_positions", part)) => format!("embeddings.position_embeddings.{part}"),
            Some(("emb_layer_norm_before", part)) => format!("embeddings.layer_norm.{part}"),
            _ => format!("encoder.{weight}"),
        };
        format!("{}{name}", self.prefix)
    }

    fn hf_layer(&self, number: &str, rest: &str) -> Vec<TensorPlace> {
        let (module, part) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let module = match module {
            "self_attn.q_proj" => "attention.self.query",
            "self_attn.k_proj" => "attention.self.key",
            "self_attn.v_proj" => "attention.self.value",
            "self_attn.out_proj" => "attention.output.dense",
            "self_attn.rot_emb" => "attention.self.rotary_embeddings",
            "self_attn_layer_norm" => "attention.LayerNorm",
            "fc1" => "intermediate.dense",
            "fc2" => "output.dense",
            "final_layer_norm" => "LayerNorm",
            other => other,
        };
        let layers = format!("{}encoder.layer", self.prefix);
        let mut names = vec![format!("{layers}.{number}.{module}.{part}")];
        match part {
            // Version 5 of transformers has one set of frequencies for all layers. Saving a model
            // that was loaded from the older form turns its renaming rules around, and writes
            // this name with a star, and the LayerNorms as gamma and beta.
            "inv_freq" => names.extend([
                format!("{}rotary_embeddings.{part}", self.prefix),
                format!("{layers}.*.{module}.{part}"),
            ]),
            "weight" if module.ends_with("LayerNorm") => {
                names.push(format!("{layers}.{number}.{module}.gamma"));
            }
            "bias" if module.ends_with("LayerNorm") => {
                names.push(format!("{layers}.{number}.{module}.beta"));
            }
            _ => {}
        }
        names
            .into_iter()
            .map(|tensor| TensorPlace {
                tensor,
                third: None,
            })
            .collect()
    }

    fn te_layer(&self, number: &str, rest: &str) -> Vec<TensorPlace> {
        let layer = format!("{}encoder.layers.{number}", self.prefix);
        let (module, part) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let qkv = format!("{layer}.self_attention.layernorm_qkv");
        let split = |name: &str, third| {
            vec![
                TensorPlace {
                    tensor: format!("{qkv}.{part}"),
                    third: Some(third),
                },
                TensorPlace {
                    tensor: format!("{qkv}.{name}_{part}"),
                    third: None,
                },
            ]
        };
        let name = match module {
            "self_attn.q_proj" => return split("query", 0),
            "self_attn.k_proj" => return split("key", 1),
            "self_attn.v_proj" => return split("value", 2),
            "self_attn.out_proj" => format!("{layer}.self_attention.proj.{part}"),
            "self_attn.rot_emb" => format!("{}encoder.rotary_embeddings.{part}", self.prefix),
            "self_attn_layer_norm" => format!("{qkv}.layer_norm_{part}"),
            "fc1" => format!("{layer}.layernorm_mlp.fc1_{part}"),
            "fc2" => format!("{layer}.layernorm_mlp.fc2_{part}"),
            "final_layer_norm" => format!("{layer}.layernorm_mlp.layer_norm_{part}"),
            other => format!("{layer}.{other}.{part}"),
        };
        vec![TensorPlace {
            tensor: name,
            third: None,
        }]
    }
}

/// Models whose weights have telling names and that this program does not run.
pub(super) fn unsupported(tensors: &TensorSet) -> Option<&'static str> {
    let any = |test: &dyn Fn(&str) -> bool| tensors.names().any(test);
    if any(&|name| name.starts_with("trunk.") || name.starts_with("esm_s_combine")) {
        Some("ESMFold")
    } else if any(&|name| {
        name.contains("msa_position_embedding") || name.contains(".row_self_attention.")
    }) {
        Some("MSA Transformer")
    } else if any(&|name| {
        name.ends_with("embed_out") || name.starts_with("decoder.sentence_encoder.")
    }) {
        Some("ESM-1 (the model before ESM-1b)")
    } else if any(&|name| name.contains("embed_gvp") || name.contains("gvp_encoder")) {
        Some("ESM-IF (inverse folding)")
    } else if any(&|name| {
        let name = unwrapped(name);
        name.starts_with("transformer.blocks.") || name.contains(".transformer.blocks.")
    }) {
        Some("ESM C or ESM3")
    } else if any(&|name| {
        name.contains(".self_attn.q_norm.") || name.ends_with("self_attn.q_ln.weight")
    }) {
        // Its layers are named as those of fair-esm, but have a norm of queries.
        Some("ESM C")
    } else {
        None
    }
}

fn nothing_found(tensors: &TensorSet) -> String {
    let mut names: Vec<&str> = tensors.names().collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => "holds no tensors".into(),
        names => format!(
            "holds no ESM embedding matrix; its tensors are {}",
            printable::list(names)
        ),
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
