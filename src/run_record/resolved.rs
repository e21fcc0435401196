//! What the options of a run resolved to on its machine.

use super::{CudaFacts, keep_gaps};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The part `resolved` of `run.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// Architecture of the processor. Only version 0.1.0, whose bits depend on it, recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Blocks whose attention maps are written, from 0, ascending; empty without attention maps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attention_layers: Vec<usize>,
    /// Instructions of the processor that computed. Only version 0.1.0, whose bits depend on them,
    /// recorded them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_path: Option<String>,
    /// What computed on GPUs; `None` on the CPU, and before the model is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<CudaFacts>,
    /// `cpu`, or the kinds of GPUs.
    pub device: String,
    /// Number format of the computation.
    pub dtype: String,
    /// What happened to the gaps of an alignment.
    #[serde(default = "keep_gaps")]
    pub gaps: String,
    /// The inputs in order; empty before they have been read.
    pub inputs: Vec<InputFacts>,
    /// Layers, ascending, each once; 0 is the scaled embedding.
    pub layers: Vec<usize>,
    /// The tokens that the columns of logits belong to; empty without logits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub letters: Vec<String>,
    /// What happened to long sequences.
    pub long: String,
    /// The model.
    pub model: ModelFacts,
    /// Keys of a newer version.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFacts {
    /// Bytes, decompressed.
    pub bytes: u64,
    /// The path as given; `-` is standard input.
    pub path: String,
    /// Records, including those that were left out.
    pub records: u64,
    /// SHA-256 of the decompressed bytes.
    pub sha256: String,
}

/// The model of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The adapter that its weights include.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterFacts>,
    /// What proves that the alphabet is ESM's. Version 0.1.0 did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alphabet_proof: Option<String>,
    /// Tokens of the alphabet. Version 0.1.0 did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alphabet_size: Option<usize>,
    /// Width of a hidden state.
    pub dim: usize,
    /// Rows of the embedding, padding included. Version 0.1.0 did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_rows: Option<usize>,
    /// The files of the checkpoint; empty before their checksums are known.
    pub files: Vec<ModelFile>,
    /// Attention heads of a block.
    pub heads: usize,
    /// Where the rotary frequencies are from: `checkpoint` or `computed`.
    pub inv_freq: Option<String>,
    /// Transformer blocks.
    pub layers: usize,
    /// How the checkpoint names its weights.
    pub layout: String,
    /// `rotary` or `learned`.
    pub positions: String,
    /// Repository on the Hub.
    pub repo: Option<String>,
    /// Commit of the repository.
    pub revision: Option<String>,
    /// Number format of the weights in the checkpoint.
    pub stored_dtype: String,
    /// Whether embeddings are scaled for token dropout.
    pub token_dropout: bool,
    /// Keys of a newer version.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// An adapter that was added to the weights of its base; its files are among those of the model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterFacts {
    /// The model that it was trained on, as its configuration names it.
    pub base: Option<String>,
    /// `LoRA`.
    pub method: String,
    /// Repository on the Hub, if it came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Commit of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Number of weights that it changes.
    pub weights: usize,
}

/// A file of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Its size.
    pub bytes: u64,
    /// Its name without folders.
    pub name: String,
    /// Its SHA-256.
    pub sha256: String,
}
