//! The published ESM models and their shapes.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use crate::checkpoint::json;
use crate::tokenizer::Alphabet;

/// A published ESM model: its name in fair-esm or EvolutionaryScale's SDK, and its repository on the Hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownModel {
    /// The name that its authors give it, such as `esm2_t33_650M_UR50D`.
    pub name: &'static str,
    /// The short form, such as `650M`; only the ESM-2 sizes have one.
    pub short: Option<&'static str>,
    /// The repository on the Hub, such as `facebook/esm2_t33_650M_UR50D`.
    pub repo: &'static str,
    /// Transformer layers.
    pub layers: u32,
    /// Length of a residue's representation.
    pub dim: u32,
    /// Attention heads per layer.
    pub heads: u32,
    /// Which models it belongs to.
    pub family: Family,
    /// Weights with the language-model head and without the contact head, counted from the shapes for
    /// estimates of size.
    pub parameters: u64,
}

/// The shape of a model, as a `config.json` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ModelShape {
    /// Transformer layers.
    #[serde(rename = "num_hidden_layers", alias = "n_layers", default = "twelve")]
    layers: u64,
    /// Length of a residue's representation.
    #[serde(rename = "hidden_size", alias = "d_model", default = "default_width")]
    dim: u64,
    /// Attention heads per layer.
    #[serde(rename = "num_attention_heads", alias = "n_heads", default = "twelve")]
    heads: u64,
}

fn twelve() -> u64 {
    12
}

fn default_width() -> u64 {
    768
}

impl fmt::Display for ModelShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        write!(
            f,
            "{} layer{} of {} with {} head{}",
            self.layers,
            plural(self.layers),
            self.dim,
            self.heads,
            plural(self.heads)
        )
    }
}

/// Models that were trained in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// ESM-2.
    Esm2,
    /// ESM-1b.
    Esm1b,
    /// ESM-1v.
    Esm1v,
    /// ESM C (ESM Cambrian).
    EsmC,
    /// DPLM: ESM-2's architecture, trained to generate proteins by discrete diffusion.
    Dplm,
    /// SaProt: ESM-2's architecture over pairs of an amino acid and a letter of its structure.
    SaProt,
}

impl Family {
    /// All of them, in the order of the list.
    pub const ALL: [Family; 6] = [
        Family::Esm2,
        Family::Esm1b,
        Family::Esm1v,
        Family::EsmC,
        Family::Dplm,
        Family::SaProt,
    ];

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Family::Esm2 => "ESM-2",
            Family::Esm1b => "ESM-1b",
            Family::Esm1v => "ESM-1v",
            Family::EsmC => "ESM C",
            Family::Dplm => "DPLM",
            Family::SaProt => "SaProt",
        }
    }

    /// The licence of its weights, as their repositories name it.
    pub fn licence(self) -> &'static str {
        match self {
            Family::Esm2 | Family::Esm1b | Family::Esm1v | Family::EsmC | Family::SaProt => "MIT",
            Family::Dplm => "Apache-2.0",
        }
    }

    /// What it is used for.
    pub fn use_for(self) -> &'static str {
        match self {
            Family::Esm2 => {
                "embeddings of any protein, contacts and variant scores; 650M is the usual choice, \
                 8M and 35M are for many sequences or slow machines"
            }
            Family::Esm1b => "comparison with earlier work; up to 1,022 residues",
            Family::Esm1v => {
                "variant scores by the mean of its five models, as in ProteinGym; up to 1,022 residues"
            }
            Family::EsmC => {
                "embeddings of any protein, better than ESM-2 of the same size; it has no contact head"
            }
            Family::Dplm => "embeddings of a model that also generates proteins",
            Family::SaProt => {
                "embeddings of sequences with their structure: each residue is an amino acid and its 3Di \
                 letter by Foldseek (Md), or # where it is unknown (M#)"
            }
        }
    }
}

const LEARNED_POSITIONS: u64 = 1026;

/// Rows of the embedding of ESM C.
const ROWS_OF_ESM_C: u64 = 64;

const fn parameters(family: Family, layers: u32, dim: u32) -> u64 {
    let d = dim as u64;
    if let Family::EsmC = family {
        // 8/3 of the width, rounded up to 256.
        let inner = (8 * d / 3).div_ceil(256) * 256;
        let layer = 4 * d * d + 3 * d * inner + 6 * d;
        let head = d * d + d + 2 * d + ROWS_OF_ESM_C * d + ROWS_OF_ESM_C;
        return ROWS_OF_ESM_C * d + layers as u64 * layer + d + head;
    }
    let layer_norm = 2 * d;
    let attention = 4 * (d * d + d);
    let feed_forward = (4 * d * d + 4 * d) + (4 * d * d + d);
    let layer = attention + feed_forward + 2 * layer_norm;
    let alphabet = match family {
        Family::SaProt => Alphabet::SaProt,
        _ => Alphabet::Esm,
    };
    let vocabulary = alphabet.rows().len() as u64;
    let head = d * d + d + layer_norm + vocabulary;
    let before = match family {
        Family::Esm2 | Family::EsmC | Family::Dplm | Family::SaProt => 0,
        Family::Esm1b => LEARNED_POSITIONS * d + layer_norm,
        Family::Esm1v => LEARNED_POSITIONS * d,
    };
    vocabulary * d + before + layers as u64 * layer + layer_norm + head
}

macro_rules! known {
    ($family:ident, $name:literal, $short:expr, $layers:literal, $dim:literal, $heads:literal) => {
        known!(
            $family,
            $name,
            $short,
            concat!("facebook/", $name),
            $layers,
            $dim,
            $heads
        )
    };
    ($family:ident, $name:literal, $short:expr, $repo:expr, $layers:literal, $dim:literal, $heads:literal) => {
        KnownModel {
            name: $name,
            short: $short,
            repo: $repo,
            layers: $layers,
            dim: $dim,
            heads: $heads,
            family: Family::$family,
            parameters: parameters(Family::$family, $layers, $dim),
        }
    };
}

static KNOWN: [KnownModel; 20] = [
    known!(Esm2, "esm2_t6_8M_UR50D", Some("8M"), 6, 320, 20),
    known!(Esm2, "esm2_t12_35M_UR50D", Some("35M"), 12, 480, 20),
    known!(Esm2, "esm2_t30_150M_UR50D", Some("150M"), 30, 640, 20),
    known!(Esm2, "esm2_t33_650M_UR50D", Some("650M"), 33, 1280, 20),
    known!(Esm2, "esm2_t36_3B_UR50D", Some("3B"), 36, 2560, 40),
    known!(Esm2, "esm2_t48_15B_UR50D", Some("15B"), 48, 5120, 40),
    known!(Esm1b, "esm1b_t33_650M_UR50S", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_1", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_2", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_3", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_4", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_5", None, 33, 1280, 20),
    known!(EsmC, "esmc_300m", None, "biohub/ESMC-300M", 30, 960, 15),
    known!(EsmC, "esmc_600m", None, "biohub/ESMC-600M", 36, 1152, 18),
    known!(EsmC, "esmc_6b", None, "biohub/ESMC-6B", 80, 2560, 40),
    known!(Dplm, "dplm_150m", None, "airkingbd/dplm_150m", 30, 640, 20),
    known!(Dplm, "dplm_650m", None, "airkingbd/dplm_650m", 33, 1280, 20),
    known!(Dplm, "dplm_3b", None, "airkingbd/dplm_3b", 36, 2560, 40),
    known!(
        SaProt,
        "saprot_35m",
        None,
        "westlake-repl/SaProt_35M_AF2",
        12,
        480,
        20
    ),
    known!(
        SaProt,
        "saprot_650m",
        None,
        "westlake-repl/SaProt_650M_AF2",
        33,
        1280,
        20
    ),
];

/// fair-esm's name for the ESM-1v ensemble loads its first member; so does this crate.
const ESM1V_ENSEMBLE: &str = "esm1v_t33_650M_UR90S";

/// Every model that has a name here: the six ESM-2 sizes, ESM-1b, the five ESM-1v, three ESM C,
/// three DPLM and two SaProt.
pub fn known_models() -> &'static [KnownModel] {
    &KNOWN
}

impl KnownModel {
    /// Bytes of its weights on the Hub, about: they are published as 32-bit floats.
    pub fn download_bytes(&self) -> u64 {
        4 * self.parameters
    }

    /// The model of this name or short form, of which `esm1b` and `esm1v_1` to `esm1v_5` are some.
    /// Case is ignored; `esm1v_t33_650M_UR90S` is the first of its five members, as in fair-esm. ESM C
    /// may have hyphens, as on the Hub (`ESMC-300M`), and the date of its release (`esmc-300m-2024-12`);
    /// SaProt its training data (`SaProt_650M_AF2`).
    pub fn find(name: &str) -> Option<&'static KnownModel> {
        let lower = name.to_ascii_lowercase();
        let name = match lower.strip_prefix("esm1v_") {
            _ if lower == "esm1b" => "esm1b_t33_650M_UR50S".to_owned(),
            _ if lower == ESM1V_ENSEMBLE.to_ascii_lowercase() => format!("{ESM1V_ENSEMBLE}_1"),
            Some(number) if number.len() == 1 => format!("{ESM1V_ENSEMBLE}_{number}"),
            _ if lower.starts_with("esmc") => {
                let name = lower.replace('-', "_");
                let dated = ["_202412", "_2024_12"].iter();
                let short =
                    dated.fold(&*name, |name, date| name.strip_suffix(date).unwrap_or(name));
                short.to_owned()
            }
            _ if lower.starts_with("saprot") => {
                let name = lower.replace('-', "_");
                name.strip_suffix("_af2").unwrap_or(&name).to_owned()
            }
            _ => lower,
        };
        KNOWN.iter().find(|model| {
            model.name.eq_ignore_ascii_case(&name)
                || model.short.is_some_and(|s| s.eq_ignore_ascii_case(&name))
        })
    }

    /// The model that is meant by a name, short form or repository.
    pub(super) fn of_text(text: &str) -> Option<&'static KnownModel> {
        KnownModel::find(text).or_else(|| KnownModel::of_repo(text))
    }

    /// The shape in a `config.json`, if it is not this model's. Missing settings have transformers'
    /// defaults; a file that cannot be read has no shape.
    pub(super) fn other_shape(&self, config: &Path) -> Option<ModelShape> {
        let found: ModelShape = json::read(config).ok()?;
        (found != self.shape()).then_some(found)
    }

    /// Layers, width and heads.
    pub(super) fn shape(&self) -> ModelShape {
        ModelShape {
            layers: self.layers.into(),
            dim: self.dim.into(),
            heads: self.heads.into(),
        }
    }

    /// The model kept in this repository of the Hub.
    pub fn of_repo(repo: &str) -> Option<&'static KnownModel> {
        KNOWN.iter().find(|model| model.repo == repo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_weights_of_the_published_sizes() {
        let counts: Vec<u64> = known_models().iter().map(|m| m.parameters).collect();
        // The fair-esm 8M file holds 30,099,493 bytes of f32: 7.51 M weights and a few names.
        assert_eq!(counts[0], 7_512_353);
        assert_eq!(counts[3], 651_042_593);
        assert_eq!(counts[5], 15_129_098_273);
        // The SDK's file of 300M holds 1,332,095,738 bytes of f32.
        assert_eq!(counts[12], 332_997_184);
        assert_eq!(counts[13], 575_036_992);
        assert_eq!(counts[14], 6_352_005_184);
        // 413 tokens more than ESM-2, each with a row and a bias.
        assert_eq!(counts[18], counts[1] + 413 * 481);
        assert_eq!(counts[19], counts[3] + 413 * 1281);
    }

    #[test]
    fn names_in_any_case_and_short_ones() {
        let found = |name: &str| KnownModel::find(name).map(|model| model.name);
        for (name, model) in [
            ("650m", Some("esm2_t33_650M_UR50D")),
            ("ESM1B", Some("esm1b_t33_650M_UR50S")),
            ("esm1b_t33_650m_ur50s", Some("esm1b_t33_650M_UR50S")),
            ("esm1v_3", Some("esm1v_t33_650M_UR90S_3")),
            ("esm1v_t33_650M_UR90S", Some("esm1v_t33_650M_UR90S_1")),
            ("esm1v_t33_650M_UR90S_5", Some("esm1v_t33_650M_UR90S_5")),
            ("ESMC-300M", Some("esmc_300m")),
            ("esmc_600m", Some("esmc_600m")),
            ("esmc_600m_202412", Some("esmc_600m")),
            ("esmc-6b-2024-12", Some("esmc_6b")),
            ("SaProt_650M_AF2", Some("saprot_650m")),
            ("saprot-35m", Some("saprot_35m")),
            ("SaProt_1.3B_AF2", None),
            ("esmc_1b", None),
            ("esm1v_6", None),
            ("esm1v_", None),
        ] {
            assert_eq!(found(name), model, "{name}");
        }
    }

    #[test]
    fn a_configuration_of_another_shape_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let known = KnownModel::find("8M").unwrap();
        assert_eq!(known.shape().to_string(), "6 layers of 320 with 20 heads");
        let found = |text: &str| {
            std::fs::write(&path, text).unwrap();
            known.other_shape(&path).map(|shape| shape.to_string())
        };
        let same = r#"{"num_hidden_layers": 6, "hidden_size": 320, "num_attention_heads": 20}"#;
        assert_eq!(found(same), None);
        assert_eq!(
            found(&same.replace(": 20", ": 1")).as_deref(),
            Some("6 layers of 320 with 1 head")
        );
        assert_eq!(
            found("{}").as_deref(),
            Some("12 layers of 768 with 12 heads")
        );
        assert_eq!(found("no JSON"), None);
        let esm_c = KnownModel::find("esmc_300m").unwrap();
        std::fs::write(&path, r#"{"d_model": 960, "n_layers": 30, "n_heads": 15}"#).unwrap();
        assert_eq!(esm_c.other_shape(&path), None);
    }
}
