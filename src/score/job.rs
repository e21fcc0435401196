//! What is scored, with what, and where the scores go.

use super::method::{Method, Window};
use crate::pipeline::{ComputeOptions, Model, OnInvalid};
use std::path::PathBuf;

/// One `score` as requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreJob {
    /// FASTA file with the proteins.
    pub sequences: PathBuf,
    /// Variants of them; None to score the proteins themselves.
    pub variants: Option<VariantTable>,
    /// What happens to rows and records that cannot be scored.
    pub on_invalid: OnInvalid,
    /// Table that is written.
    pub out: Option<PathBuf>,
    /// Folder for the scores of all letters at all positions.
    pub landscape: Option<PathBuf>,
    /// Models, each with the name of its column.
    pub models: Vec<(String, Model)>,
    /// How variants are scored.
    pub method: Method,
    /// What the models see of long sequences; None for each model's default.
    pub window: Option<Window>,
    /// How it is computed.
    pub compute: ComputeOptions,
    /// Continue an interrupted run.
    pub resume: bool,
    /// Replace what exists.
    pub force: bool,
}

/// A table of variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantTable {
    /// The file.
    pub path: PathBuf,
    /// The column of mutations.
    pub mutation_col: String,
    /// The column of the identifiers of proteins; None if there is one protein.
    pub sequence_col: Option<String>,
    /// Number of the first residue.
    pub offset: i64,
}
