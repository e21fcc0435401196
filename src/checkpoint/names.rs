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
    /// BioNeMo's `.nemo` of ESM2nv: `model.language_model.encoder.layers.0.self_attention.dense.weight`, with
    /// query, key and value in one matrix.
    NeMo,
    /// ESM C in the transformers library: `esmc.layers.0.self_attn.q_proj.weight`.
    EsmC,
    /// ESM C in EvolutionaryScale's SDK, and ESM++: `transformer.blocks.0.attn.layernorm_qkv.1.weight`,
    /// with query, key and value in one matrix.
    EsmCSdk,
    /// ESM C as Biohub publishes it: `esmc.transformer.blocks.0.attn.layernorm_qkv.weight`.
    EsmCResearch,
}

impl Naming {
    /// All of them.
    pub(super) const ALL: [Self; 7] = [
        Self::HuggingFace,
        Self::FairEsm,
        Self::TransformerEngine,
        Self::NeMo,
        Self::EsmC,
        Self::EsmCSdk,
        Self::EsmCResearch,
    ];

    /// Whether this is a layout of ESM C.
    pub fn is_esm_c(self) -> bool {
        matches!(self, Self::EsmC | Self::EsmCSdk | Self::EsmCResearch)
    }

    /// The model that errors about its tensors name, if it is not ESM-1b, ESM-1v or ESM-2.
    pub(super) fn model(self) -> &'static str {
        if self.is_esm_c() { " of ESM C" } else { "" }
    }
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HuggingFace => "huggingface",
            Self::FairEsm => "fair-esm",
            Self::TransformerEngine => "transformer-engine",
            Self::NeMo => "nemo",
            Self::EsmC => "esm-c",
            Self::EsmCSdk => "esm-c-sdk",
            Self::EsmCResearch => "esm-c-research",
        })
    }
}

/// A weight's place in a file: a tensor, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorPlace {
    pub(super) tensor: String,
    /// Which part of how many: 0, 1 or 2 of 3 for query, key and value; 0 or 1 of 2 for the factors of
    /// SwiGLU.
    pub(super) part: Option<(usize, usize)>,
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
/// In BioNeMo's `.nemo`.
const NEMO_EMBEDDING: &str = "embedding.word_embeddings.weight";
const FAIR_EMBEDDING: &str = "embed_tokens.weight";
/// In ESM C, except in transformers.
const ESM_C_EMBEDDING: &str = "embed.weight";
/// What follows the prefix of ESM C's blocks in the SDK, and in transformers.
const ESM_C_BLOCKS: [&str; 2] = ["transformer.blocks.", "layers."];
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
    [
        HF_EMBEDDING,
        FAIR_EMBEDDING,
        ESM_C_EMBEDDING,
        NEMO_EMBEDDING,
    ]
    .iter()
    .any(|end| {
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
    /// The names of an encoder with this prefix, and of heads without one.
    pub(super) fn with_prefix(naming: Naming, prefix: &str) -> Self {
        Self {
            naming,
            prefix: prefix.to_owned(),
            lm_head: String::new(),
            contact_head: String::new(),
        }
    }

    /// Finds the embedding matrix, and with it layout and prefix. An error is the end of the
    /// sentence "the checkpoint …".
    pub(super) fn detect(tensors: &TensorSet) -> Result<Self, String> {
        if let Some(names) = Self::of_esm_c(tensors) {
            return Ok(names);
        }
        let mut embeddings: Vec<(&str, &str)> = tensors
            .names()
            .filter_map(|name| {
                let hf = name.strip_suffix(HF_EMBEDDING);
                let fair = || name.strip_suffix(FAIR_EMBEDDING);
                let prefix = hf.or_else(fair);
                let prefix = prefix.or_else(|| name.strip_suffix(NEMO_EMBEDDING))?;
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
        } else if name.ends_with(NEMO_EMBEDDING) {
            Naming::NeMo
        } else if tensors.names().any(|name| name.starts_with(&fused)) {
            Naming::TransformerEngine
        } else {
            Naming::HuggingFace
        };
        Ok(Self {
            naming,
            prefix: prefix.to_owned(),
            lm_head: beside(tensors, prefix, "lm_head."),
            contact_head: beside(tensors, prefix, "contact_head."),
        })
    }

    /// The names of an ESM C that has no blocks by which it would be known.
    pub(super) fn esm_c(tensors: &TensorSet) -> Self {
        let ends = [FAIR_EMBEDDING, ESM_C_EMBEDDING];
        let prefixes = tensors.names().filter_map(|name| {
            let mut ends = ends.into_iter().zip([Naming::EsmC, Naming::EsmCResearch]);
            ends.find_map(|(end, naming)| Some((name.strip_suffix(end)?, naming)))
        });
        let (prefix, naming) = prefixes
            .min_by_key(|(prefix, _)| *prefix)
            .unwrap_or(("esmc.", Naming::EsmC));
        Self {
            naming,
            prefix: prefix.to_owned(),
            lm_head: beside(tensors, prefix, "lm_head."),
            contact_head: prefix.to_owned(),
        }
    }

    /// The names of ESM C, which is known by its blocks even if other tensors are missing.
    fn of_esm_c(tensors: &TensorSet) -> Option<Self> {
        // The smallest, so that a damaged file gives the same error each time.
        let found = tensors.names().filter_map(esm_c_prefix).min()?;
        let (prefix, is_sdk) = (found.0.to_owned(), found.1);
        let part = format!("{prefix}transformer.blocks.");
        let is_research = |name: &str| {
            let Some(rest) = name.strip_prefix(&part) else {
                return false;
            };
            [
                "layernorm_qkv.layer_norm_weight",
                "layernorm_qkv.weight",
                "ffn.fc1_weight",
            ]
            .iter()
            .any(|end| rest.ends_with(end))
        };
        let naming = match is_sdk {
            false => Naming::EsmC,
            true if tensors.names().any(is_research) => Naming::EsmCResearch,
            true => Naming::EsmCSdk,
        };
        let head = match naming {
            Naming::EsmCSdk => "sequence_head.",
            _ => "lm_head.",
        };
        Some(Self {
            naming,
            lm_head: beside(tensors, &prefix, head),
            contact_head: prefix.clone(),
            prefix,
        })
    }

    /// Layers that the tensors belong to: the highest number plus one.
    pub(super) fn layers(&self, tensors: &TensorSet) -> usize {
        let layers = match self.naming {
            Naming::HuggingFace => "encoder.layer.",
            Naming::FairEsm => "layers.",
            Naming::TransformerEngine | Naming::NeMo => "encoder.layers.",
            Naming::EsmC => "layers.",
            Naming::EsmCSdk | Naming::EsmCResearch => "transformer.blocks.",
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
            Naming::NeMo => &["embedding.", "encoder.", "rotary_pos_emb."],
            Naming::FairEsm => &["embed_", "emb_layer_norm_", "layers."],
            Naming::EsmC => &["embed_", "layers.", "norm."],
            Naming::EsmCSdk | Naming::EsmCResearch => &["embed.", "transformer."],
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
        let of_esm_c = ESM_C_SPELLINGS.iter().find(|(ours, _)| *ours == module);
        let of_nemo = NEMO_SPELLINGS.iter().find(|(ours, _)| *ours == module);
        let patterns = match (self.naming, spelling, of_esm_c) {
            (Naming::NeMo, ..) if let Some((_, nemo)) = of_nemo => nemo,
            (Naming::HuggingFace, Some((_, hf, _)), _) => hf,
            (Naming::TransformerEngine, Some((.., te)), _) => te,
            (Naming::EsmC, _, Some((_, [n, _, _]))) => n,
            (Naming::EsmCSdk, _, Some((_, [_, sdk, _]))) => sdk,
            (Naming::EsmCResearch, _, Some((_, [.., research]))) => research,
            _ => weight,
        };
        let greek = if part == "weight" { "gamma" } else { "beta" };
        let place = |pattern: &str| {
            let (pattern, fused) = pattern.split_once('#').unwrap_or((pattern, ""));
            let name = pattern.replace("{n}", number).replace("{part}", part);
            TensorPlace {
                tensor: format!("{prefix}{}", name.replace("{greek}", greek)),
                part: match fused {
                    "q" => Some((0, 3)),
                    "k" => Some((1, 3)),
                    "v" => Some((2, 3)),
                    "a" => Some((0, 2)),
                    "g" => Some((1, 2)),
                    _ => None,
                },
            }
        };
        patterns.split(' ').map(place).collect()
    }
}

/// Each module as fair-esm, Hugging Face and TransformerEngine spell it, the last two with all places
/// to look in. `{n}` is the number of the layer and `{part}` is `weight`, `bias` or `inv_freq`; `#q`, `#k`
/// and `#v` are parts of a tensor that holds all three.
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
        "encoder.layers.{n}.self_attention.layernorm_qkv.{part}#q encoder.layers.{n}.self_attention.layernorm_qkv.query_{part}"),
    ("layers.{n}.self_attn.k_proj", "encoder.layer.{n}.attention.self.key.{part}",
        "encoder.layers.{n}.self_attention.layernorm_qkv.{part}#k encoder.layers.{n}.self_attention.layernorm_qkv.key_{part}"),
    ("layers.{n}.self_attn.v_proj", "encoder.layer.{n}.attention.self.value.{part}",
        "encoder.layers.{n}.self_attention.layernorm_qkv.{part}#v encoder.layers.{n}.self_attention.layernorm_qkv.value_{part}"),
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

/// The same for BioNeMo's `.nemo` of ESM2nv, in which query, key and value follow one another head by head.
#[rustfmt::skip]
const NEMO_SPELLINGS: [(&str, &str); 14] = [
    ("embed_tokens", "embedding.word_embeddings.{part}"),
    ("layers.{n}.self_attn_layer_norm", "encoder.layers.{n}.input_layernorm.{part}"),
    ("layers.{n}.self_attn.q_proj", "encoder.layers.{n}.self_attention.query_key_value.{part}#q"),
    ("layers.{n}.self_attn.k_proj", "encoder.layers.{n}.self_attention.query_key_value.{part}#k"),
    ("layers.{n}.self_attn.v_proj", "encoder.layers.{n}.self_attention.query_key_value.{part}#v"),
    ("layers.{n}.self_attn.rot_emb", "rotary_pos_emb.{part}"),
    ("layers.{n}.self_attn.out_proj", "encoder.layers.{n}.self_attention.dense.{part}"),
    ("layers.{n}.final_layer_norm", "encoder.layers.{n}.post_attention_layernorm.{part}"),
    ("layers.{n}.fc1", "encoder.layers.{n}.mlp.dense_h_to_4h.{part}"),
    ("layers.{n}.fc2", "encoder.layers.{n}.mlp.dense_4h_to_h.{part}"),
    ("emb_layer_norm_after", "encoder.final_layernorm.{part}"),
    ("lm_head.dense", "lm_head.dense.{part}"),
    ("lm_head.layer_norm", "lm_head.layernorm.{part}"),
    ("lm_head", "lm_head.{part}"),
];

/// The same for ESM C: as transformers, the SDK and the research folders spell it. `#a` and `#g` are the
/// halves of the first layer of SwiGLU, `silu(a)·g`.
#[rustfmt::skip]
const ESM_C_SPELLINGS: [(&str, [&str; 3]); 16] = [
    ("embed_tokens", ["embed_tokens.{part}", "embed.{part}", "embed.{part}"]),
    ("layers.{n}.self_attn_layer_norm", ["layers.{n}.input_layernorm.{part}",
        "transformer.blocks.{n}.attn.layernorm_qkv.0.{part}", "transformer.blocks.{n}.attn.layernorm_qkv.layer_norm_{part}"]),
    ("layers.{n}.self_attn.q_proj", ["layers.{n}.self_attn.q_proj.{part}",
        "transformer.blocks.{n}.attn.layernorm_qkv.1.{part}#q", "transformer.blocks.{n}.attn.layernorm_qkv.{part}#q"]),
    ("layers.{n}.self_attn.k_proj", ["layers.{n}.self_attn.k_proj.{part}",
        "transformer.blocks.{n}.attn.layernorm_qkv.1.{part}#k", "transformer.blocks.{n}.attn.layernorm_qkv.{part}#k"]),
    ("layers.{n}.self_attn.v_proj", ["layers.{n}.self_attn.v_proj.{part}",
        "transformer.blocks.{n}.attn.layernorm_qkv.1.{part}#v", "transformer.blocks.{n}.attn.layernorm_qkv.{part}#v"]),
    ("layers.{n}.self_attn.q_norm", ["layers.{n}.self_attn.q_norm.{part}",
        "transformer.blocks.{n}.attn.q_ln.{part}", "transformer.blocks.{n}.attn.q_ln.{part}"]),
    ("layers.{n}.self_attn.k_norm", ["layers.{n}.self_attn.k_norm.{part}",
        "transformer.blocks.{n}.attn.k_ln.{part}", "transformer.blocks.{n}.attn.k_ln.{part}"]),
    ("layers.{n}.self_attn.out_proj", ["layers.{n}.self_attn.o_proj.{part}",
        "transformer.blocks.{n}.attn.out_proj.{part}", "transformer.blocks.{n}.attn.out_proj.{part}"]),
    ("layers.{n}.final_layer_norm", ["layers.{n}.post_attention_layernorm.{part}",
        "transformer.blocks.{n}.ffn.0.{part}", "transformer.blocks.{n}.ffn.layer_norm_{part}"]),
    ("layers.{n}.fc1_silu", ["layers.{n}.mlp.gate_proj.{part}",
        "transformer.blocks.{n}.ffn.1.{part}#a", "transformer.blocks.{n}.ffn.fc1_{part}#a"]),
    ("layers.{n}.fc1_gate", ["layers.{n}.mlp.up_proj.{part}",
        "transformer.blocks.{n}.ffn.1.{part}#g", "transformer.blocks.{n}.ffn.fc1_{part}#g"]),
    ("layers.{n}.fc2", ["layers.{n}.mlp.down_proj.{part}",
        "transformer.blocks.{n}.ffn.3.{part}", "transformer.blocks.{n}.ffn.fc2_{part}"]),
    ("emb_layer_norm_after", ["norm.{part}", "transformer.norm.{part}", "transformer.norm.{part}"]),
    ("lm_head.dense", ["lm_head.dense.{part}", "sequence_head.0.{part}", "lm_head.0.{part}"]),
    ("lm_head.layer_norm", ["lm_head.layer_norm.{part}", "sequence_head.2.{part}", "lm_head.2.{part}"]),
    ("lm_head", ["lm_head.decoder.{part}", "sequence_head.3.{part}", "lm_head.3.{part}"]),
];

/// What precedes the names of ESM C's encoder, if this is a tensor of one of its blocks that no other
/// layout has; and whether the names are those of the SDK.
fn esm_c_prefix(name: &str) -> Option<(&str, bool)> {
    if name.len() > MOST_NAME {
        return None;
    }
    let [sdk, transformers] = ESM_C_BLOCKS;
    let of = |blocks: &str, is_block: &dyn Fn(&str) -> bool| {
        let at = name.find(blocks)?;
        let (prefix, rest) = (name.get(..at)?, name.get(at + blocks.len()..)?);
        let (number, rest) = rest.split_once('.')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let is_whole = prefix.is_empty() || prefix.ends_with('.');
        (is_number && is_whole && is_block(rest)).then_some(prefix)
    };
    let is_sdk = |rest: &str| rest.starts_with("attn.") || rest.starts_with("ffn.");
    let is_new = |rest: &str| {
        ["self_attn.q_norm.", "self_attn.k_norm."]
            .iter()
            .any(|start| rest.starts_with(start))
    };
    let found = of(sdk, &is_sdk).map(|prefix| (prefix, true));
    found.or_else(|| Some((of(transformers, &is_new)?, false)))
}

/// What precedes the names of a head of this name: that of the encoder, one level up, or nothing.
fn beside(tensors: &TensorSet, prefix: &str, module: &str) -> String {
    let up = prefix
        .strip_suffix('.')
        .map_or("", |prefix| match prefix.rfind('.') {
            Some(dot) => prefix.get(..=dot).unwrap_or_default(),
            None => "",
        });
    let found = [prefix, up, ""].into_iter().find(|prefix| {
        let start = format!("{prefix}{module}");
        tensors.names().any(|name| name.starts_with(&start))
    });
    found.unwrap_or(up).to_owned()
}

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
    if any(&|name| name.starts_with("language_model.base_z_")) {
        Some("ESMFold2")
    } else if any(&|name| name.starts_with("trunk.") || name.starts_with("esm_s_combine")) {
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
        name.contains("transformer.blocks.") && name.contains(".geom_attn.")
            || name.ends_with("encoder.sequence_embed.weight")
    }) {
        // Its other blocks are named as those of ESM C.
        Some("ESM3")
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
