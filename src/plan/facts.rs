//! `plan.json`: what was planned.

use super::PlanError;
use crate::sha256::sha256_of;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the format of the folder.
pub const FORMAT: u32 = 1;

/// The contents of `plan.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFacts {
    /// Version of the format of the folder.
    pub format: u32,
    /// Version of the program that planned.
    pub esm_embed: String,
    /// SHA-256 of what the records and their shards follow from: see [`PlanFacts::digest`].
    pub digest: String,
    /// Number of shards.
    pub shards: u64,
    /// How records are treated.
    pub settings: Settings,
    /// What the input holds.
    pub counts: Counts,
    /// The FASTA files in their order.
    pub inputs: Vec<PlannedInput>,
    /// The other files of the folder.
    pub files: Vec<PlanFile>,
}

/// How records are treated: the same in the plan and in every run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The model's tokens.
    pub alphabet: String,
    /// What happens to gaps.
    pub gaps: String,
    /// What happens to long sequences.
    pub long: String,
    /// What happens to records with the identifier of another.
    pub on_duplicate_id: String,
    /// What happens to records that cannot be embedded.
    pub on_invalid: String,
    /// What happens to characters outside the alphabet.
    pub unknown: String,
    /// Width of the model, for the cost of attention.
    pub dim: u64,
}

/// What the input holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that get a row.
    pub records: u64,
    /// Records that are skipped.
    pub skipped: u64,
    /// Different sequences.
    pub distinct: u64,
    /// Residues that are embedded, of all records.
    pub residues: u64,
    /// Tokens of the passes over different sequences.
    pub tokens: u64,
    /// What these passes cost, in tokens.
    pub cost: u64,
    /// Records with the identifier of an earlier one and another sequence.
    pub reused_ids: u64,
}

/// How a planned file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stored {
    /// As it is.
    Plain,
    /// In blocks of bgzip.
    Bgzip,
    /// Decompressed, in the folder of the plan.
    Rewritten,
}

/// One FASTA file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedInput {
    /// The path as given.
    pub path: String,
    /// The same from the root.
    pub absolute: String,
    /// How it is stored.
    pub stored: Stored,
    /// The file of the plan that has it decompressed, or the starts of its blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its bytes as it is stored.
    pub file_bytes: u64,
    /// When it was last written: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// Its bytes, decompressed.
    pub bytes: u64,
    /// SHA-256 of these bytes.
    pub sha256: String,
    /// Records in it.
    pub records: u64,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256, except for the index, whose parts have theirs in `shards.tsv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl PlanFacts {
    /// SHA-256 of the settings, the contents of the inputs and `shards.tsv`, which has the checksums of
    /// the index. It does not depend on where the inputs are or when they were written, so planning
    /// the same input again gives the same digest.
    pub fn digest_now(&self) -> String {
        #[derive(Serialize)]
        struct Input<'a>(u64, &'a str, u64);
        let inputs = self.inputs.iter();
        let inputs: Vec<Input<'_>> = inputs
            .map(|input| Input(input.bytes, &input.sha256, input.records))
            .collect();
        let table = self
            .files
            .iter()
            .find(|file| file.name == super::SHARDS_TSV);
        let all = (
            self.format,
            self.shards,
            &self.settings,
            inputs,
            table.and_then(|file| file.sha256.as_deref()),
        );
        // These types always have a JSON form.
        sha256_of(serde_json::to_vec(&all).unwrap_or_default())
    }

    /// Records of the whole input, those that are skipped included.
    pub fn input_records(&self) -> u64 {
        let records = self.inputs.iter().map(|input| input.records);
        records.fold(0, u64::saturating_add)
    }

    /// Numbers of the first record of each file, and of all records at the end.
    pub fn firsts(&self) -> Vec<u64> {
        firsts(self.inputs.iter().map(|input| input.records))
    }

    /// The paths as they were given.
    pub fn paths(&self) -> Vec<PathBuf> {
        let paths = self.inputs.iter().map(|input| PathBuf::from(&input.path));
        paths.collect()
    }

    /// Reads the bytes of the file at `path`.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<PlanFacts, PlanError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |what: String| PlanError::Damaged {
            path: path.to_path_buf(),
            what,
        };
        let wrong =
            |error: serde_json::Error| damaged(format!("is not what `plan` writes: {error}"));
        let version: Version = serde_json::from_slice(bytes).map_err(wrong)?;
        if version.format > FORMAT {
            return Err(PlanError::Newer {
                path: path.to_path_buf(),
                found: version.format,
            });
        }
        let facts: PlanFacts = serde_json::from_slice(bytes).map_err(wrong)?;
        if facts.digest != facts.digest_now() {
            return Err(damaged("does not have the digest that it records".into()));
        }
        Ok(facts)
    }
}

/// Numbers of the first record of each file with this many records, and of all records at the end.
pub fn firsts(records: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut sum = 0_u64;
    let mut firsts = vec![0];
    firsts.extend(records.map(|records| {
        sum = sum.saturating_add(records);
        sum
    }));
    firsts
}
