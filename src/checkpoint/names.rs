//! What each layout calls a weight: one table.
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

/// The names of one checkpoint: its layout and the prefixes of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) naming: Naming,
    /// What precedes the names of the encoder: `esm.`, `encoder.sentence_encoder.` or nothing.
    prefix: String,
    /// What precedes `lm_head.`.
    lm_head: String,
    /// What precedes `contact_head.`.
    contact_head: String,
}

/// Where a tensor is, relative to the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In the module of the encoder; where names have no prefix, among the embeddings or in a layer.
    Inside,
    /// In another module.
    Outside,
}

const HF_EMBEDDING: &str = "embeddings.word_embeddings.weight";
const FAIR_EMBEDDING: &str = "embed_tokens.weight";
/// Longest name that may be that of an embedding; names in models have about 70 bytes.
const MOST_NAME: usize = 1000;

/// Modules that torch.compile, FSDP and activation checkpointing put around others, anywhere in a name.
const WRAPPERS: [&str; 4] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
];

/// Whether this is the name of an ESM embedding matrix, under any prefix.
pub(super) fn is_embedding(name: &str) -> bool {
    // Many entries of a pickle may share one long name.
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
        // The head is beside the encoder: one level up, or at the start of the names.
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
            found.unwrap_or(up).to_owned()
        };
        Ok(Self {
            naming,
            prefix: prefix.to_owned(),
            lm_head: beside("lm_head."),
            contact_head: beside("contact_head."),
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

    /// Where a tensor of this name is, relative to the encoder.
    pub(super) fn location(&self, name: &str) -> Location {
        let Some(rest) = name.strip_prefix(&self.prefix) else {
            return Location::Outside;
        };
        let inside: &[&str] = match self.naming {
            Naming::HuggingFace | Naming::TransformerEngine => &["embeddings.", "encoder."],
            Naming::FairEsm => &["embed_", "emb_layer_norm_", "layers."],
        };
        // Without a prefix, the modules above the encoder are beside its parts.
        match !self.prefix.is_empty() || inside.iter().any(|start| rest.starts_with(start)) {
            true => Location::Inside,
            false => Location::Outside,
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

    /// Where this weight may be, in the order in which to look.
    pub(super) fn places(&self, weight: &str) -> Vec<TensorPlace> {
        let prefix = match weight.split_once('.') {
            Some(("lm_head", _)) => &self.lm_head,
            Some(("contact_head", _)) => &self.contact_head,
            _ => &self.prefix,
        };
        let (number, module, part) = split(weight);
        let spelling = SPELLINGS.iter().find(|(ours, ..)| *ours == module);
        let patterns = match (self.naming, spelling) {
            (Naming::HuggingFace, Some((_, hf, _))) => hf,
            (Naming::TransformerEngine, Some((.., te))) => te,
            (Naming::FairEsm, _) | (_, None) => weight,
        };
        let greek = if part == "weight" { "gamma" } else { "beta" };
        let place = |pattern: &str| {
            let name = pattern.replace("{n}", number).replace("{part}", part);
            let of_three = |ours: &&str| pattern.ends_with(FUSED) && module.ends_with(ours);
            TensorPlace {
                tensor: format!("{prefix}{}", name.replace("{greek}", greek)),
                third: ["q_proj", "k_proj", "v_proj"].iter().position(of_three),
            }
        };
        patterns.split(' ').map(place).collect()
    }
}

/// The end of the name of a tensor that holds query, key and value.
const FUSED: &str = "layernorm_qkv.{part}";

/// Each module as fair-esm, Hugging Face and TransformerEngine spell it, the last two with all places
/// to look in. `{n}` is the number of the layer and `{part}` is `weight`, `bias` or `inv_freq`.
///
/// Version 5 of transformers has one set of rotary frequencies for all layers. Saving a model that it
/// loaded from the older form applies its renaming rules backwards: it writes that name with a star,
/// and the LayerNorms as `gamma` and `beta` (`{greek}`).
#[rustfmt::skip]
const SPELLINGS: [(&str, &str, &str); 16] = [
    ("embed_tokens", "embeddings.word_embeddings.{part}", "embeddings.word_embeddings.{part}"),
    ("embed_positions", "embeddings.position_embeddings.{part}", "embeddings.position_embeddings.{part}"),
    ("emb_layer_norm_before", "embeddings.layer_norm.{part}", "embeddings.layer_norm.{part}"),
    ("layers.{n}.self_attn_layer_norm",
        "encoder.layer.{n}.attention.LayerNorm.{part} encoder.layer.{n}.attention.LayerNorm.{greek}",
        "encoder.layers.{n}.self_attention.layernorm_qkv.layer_norm_{part}"),
    ("layers.{n}.self_attn.q_proj", "encoder.layer.{n}.attention.self.query.{part}",
        "encoder.layers.{n}.self_attention.layernorm_qkv.{part} encoder.layers.{n}.self_attention.layernorm_qkv.query_{part}"),
    ("layers.{n}.self_attn.k_proj", "encoder.layer.{n}.attention.self.key.{part}",
        "encoder.layers.{n}.self_attention.layernorm_qkv.{part} encoder.layers.{n}.self_attention.layernorm_qkv.key_{part}"),
    ("layers.{n}.self_attn.v_proj", "encoder.layer.{n}.attention.self.value.{part}",
        "encoder.layers.{n}.self_attention.layernorm_qkv.{part} encoder.layers.{n}.self_attention.layernorm_qkv.value_{part}"),
    ("layers.{n}.self_attn.rot_emb",
        "encoder.layer.{n}.attention.self.rotary_embeddings.{part} rotary_embeddings.{part} encoder.layer.*.attention.self.rotary_embeddings.{part}",
        "encoder.rotary_embeddings.{part}"),
    ("layers.{n}.self_attn.out_proj", "encoder.layer.{n}.attention.output.dense.{part}", "encoder.layers.{n}.self_attention.proj.{part}"),
    ("layers.{n}.final_layer_norm",
        "encoder.layer.{n}.LayerNorm.{part} encoder.layer.{n}.LayerNorm.{greek}",
        "encoder.layers.{n}.layernorm_mlp.layer_norm_{part}"),
    ("layers.{n}.fc1", "encoder.layer.{n}.intermediate.dense.{part}", "encoder.layers.{n}.layernorm_mlp.fc1_{part}"),
    ("layers.{n}.fc2", "encoder.layer.{n}.output.dense.{part}", "encoder.layers.{n}.layernorm_mlp.fc2_{part}"),
    ("emb_layer_norm_after", "encoder.emb_layer_norm_after.{part}", "encoder.emb_layer_norm_after.{part}"),
    ("lm_head", "lm_head.{part} lm_head.decoder.{part}", "lm_head.decoder.{part}"),
    ("lm_head.layer_norm", "lm_head.layer_norm.{part}", "lm_head.decoder.layer_norm_{part}"),
    ("lm_head.dense", "lm_head.dense.{part}", "lm_head.dense.{part}"),
];

/// `layers.3.fc1.bias` → `3`, `layers.{n}.fc1`, `bias`.
fn split(weight: &str) -> (&str, Cow<'_, str>, &str) {
    let (module, part) = weight.rsplit_once('.').unwrap_or((weight, ""));
    let layer = module
        .strip_prefix("layers.")
        .and_then(|rest| rest.split_once('.'));
    match layer {
        Some((number, rest)) => (number, format!("layers.{{n}}.{rest}").into(), part),
        None => ("", module.into(), part),
    }
}

/// Models that are not supported and can be recognised by the names of their weights.
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
