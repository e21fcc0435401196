//! The options of a run as they were given.

use super::keep_gaps;
use crate::product::{MapHeads, OutDtype, Pool, Product, Residues};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The part `asked` of `run.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// An adapter: a path or a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Which attention maps of each block.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attention_heads: MapHeads,
    /// Blocks whose attention maps are written; empty for all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attention_layers: Vec<AskedLayer>,
    /// File of the contact regression; `None` for the one of the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_regression: Option<String>,
    /// Number format of the computation; `None` for the device's default.
    pub dtype: Option<String>,
    /// What happens to the gaps of an alignment.
    #[serde(default = "keep_gaps")]
    pub gaps: String,
    /// Products that do not belong to one layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Product>,
    /// Paths of the FASTA files; `-` is standard input.
    pub inputs: Vec<String>,
    /// Layers; empty for the last one.
    pub layer: Vec<AskedLayer>,
    /// What happens to long sequences; `None` for the model's default.
    pub long: Option<String>,
    /// The model: a name, a repository or a path.
    pub model: String,
    /// What happens to records that cannot be embedded.
    pub on_invalid: String,
    /// Number format of the files.
    pub out_dtype: OutDtype,
    /// Pooled rows.
    pub pool: Vec<Pool>,
    /// Where residue rows go.
    pub residues: Residues,
    /// Whether the pooled rows of all layers are one array.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stack_layers: bool,
    /// What happens to characters outside the alphabet.
    pub unknown: String,
    /// Keys of a newer version.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

fn is_default(heads: &MapHeads) -> bool {
    *heads == MapHeads::default()
}

/// Layers as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AskedLayer {
    /// One; negative numbers count from the end.
    Index(i64),
    /// Several: `all`, `2-last`.
    Span(String),
}
