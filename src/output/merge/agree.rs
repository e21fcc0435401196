//! Which folders are shards of one run, and whether all of them are there.

use super::MergeError;
use super::differences::differences;
use crate::output::counts::Counts;
use crate::output::error::OutputError;
use crate::output::layout::{INDEX_TSV, SHARD_TSV};
use crate::output::manifest::{FileEntry, Manifest};
use crate::output::read::inspect::inspect;
use crate::output::shard::ShardEntry;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Differences and missing shards that are named one by one.
const TOLD: usize = 20;

/// What may differ between shards of one run: where a node sees input and model, which are known to
/// be the same from their checksums, and which release of one driver it has.
const PLACES: [&str; 3] = [
    "asked.inputs",
    "asked.model",
    "resolved.cuda.cards.0.driver_version",
];

/// A sound folder of one shard.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) dir: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) shard: ShardEntry,
}

impl Part {
    /// What `run.json` says of one of its files.
    pub(super) fn entry(&self, name: &str) -> Result<&FileEntry, MergeError> {
        let mut files = self.manifest.files.iter();
        files
            .find(|file| file.name == name)
            .ok_or_else(|| self.damaged(name, "does not stand in run.json"))
    }

    /// Something wrong with one of its files.
    pub(super) fn damaged(&self, name: &str, what: impl Into<String>) -> MergeError {
        MergeError::Damaged {
            path: self.dir.join(name),
            what: what.into(),
        }
    }

    /// A file of it that the operating system does not give.
    pub(super) fn unreadable(&self, name: &str, cause: std::io::Error) -> MergeError {
        OutputError::io("reading", &self.dir.join(name), cause).into()
    }
}

/// Opens all shards, in the order of their numbers, and checks that they are all shards of one
/// run.
pub(super) fn open(dirs: &[PathBuf]) -> Result<Vec<Part>, MergeError> {
    let mut parts = dirs
        .iter()
        .map(|dir| open_one(dir))
        .collect::<Result<Vec<_>, _>>()?;
    parts.sort_by_key(|part| part.shard.number);
    for (one, next) in parts.iter().zip(parts.iter().skip(1)) {
        agree(one, next)?;
    }
    for (one, next) in parts.iter().zip(parts.iter().skip(1)) {
        if one.shard.number == next.shard.number {
            return Err(MergeError::Doubled {
                shard: one.shard,
                first: one.dir.clone(),
                second: next.dir.clone(),
            });
        }
    }
    let of = parts.first().map_or(0, |part| part.shard.of);
    let count = of.saturating_sub(parts.len() as u64);
    if count > 0 {
        let is_there = |n: &u64| {
            parts
                .binary_search_by_key(n, |part| part.shard.number)
                .is_ok()
        };
        return Err(MergeError::Missing {
            numbers: (1..=of).filter(|n| !is_there(n)).take(TOLD).collect(),
            count,
            of,
        });
    }
    Ok(parts)
}

fn open_one(dir: &Path) -> Result<Part, MergeError> {
    let report = inspect(dir, false)?;
    let not_sound = |what: String| MergeError::NotSound {
        dir: dir.to_path_buf(),
        what,
    };
    if let Some(problem) = report.problems.first() {
        return Err(not_sound(problem.to_string()));
    }
    let manifest = report
        .manifest
        .ok_or_else(|| not_sound("run.json is missing".into()))?;
    let Some(shard) = manifest.shard else {
        return Err(MergeError::NotAShard {
            dir: dir.to_path_buf(),
        });
    };
    if manifest.esm_embed != env!("CARGO_PKG_VERSION") {
        return Err(MergeError::OtherVersion {
            dir: dir.to_path_buf(),
            found: manifest.esm_embed,
        });
    }
    Ok(Part {
        dir: dir.to_path_buf(),
        manifest,
        shard,
    })
}

fn agree(one: &Part, other: &Part) -> Result<(), MergeError> {
    let (these, those) = (facts(one), facts(other));
    let differences = differences(&these, &those, TOLD);
    if differences.is_empty() {
        return Ok(());
    }
    Err(MergeError::Differ {
        first: one.dir.clone(),
        second: other.dir.clone(),
        differences,
    })
}

/// Everything that has to be the same, one value for each key spelt from the top.
fn facts(part: &Part) -> BTreeMap<String, String> {
    let Manifest {
        format_version,
        asked,
        resolved,
        layout,
        ..
    } = &part.manifest;
    let mut facts = BTreeMap::new();
    for (key, value) in [
        ("format_version", &json!(format_version)),
        ("number of shards", &json!(part.shard.of)),
        ("records of the input", &json!(part.shard.input_records)),
        ("asked", asked),
        ("resolved", resolved),
        ("layout", &json!(layout)),
    ] {
        flatten(key, value, &mut facts);
    }
    // A shard from before there was a choice kept gaps.
    for key in ["asked.gaps", "resolved.gaps"] {
        facts.entry(key.into()).or_insert_with(|| "keep".into());
    }
    facts
}

fn flatten(key: &str, value: &Value, facts: &mut BTreeMap<String, String>) {
    if PLACES.contains(&key) {
        return;
    }
    match value {
        Value::Object(object) => {
            for (inner, value) in object.iter().filter(|(inner, _)| *inner != "path") {
                flatten(&format!("{key}.{inner}"), value, facts);
            }
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            for (i, value) in values.iter().enumerate() {
                flatten(&format!("{key}.{i}"), value, facts);
            }
        }
        Value::String(text) => {
            facts.insert(key.into(), text.clone());
        }
        other => {
            facts.insert(key.into(), other.to_string());
        }
    }
}

/// Checks that the records of all shards are those of the whole input.
pub(super) fn check_counts(parts: &[Part], met: u64, merged: &Counts) -> Result<(), MergeError> {
    let Some(last) = parts.last() else {
        return Ok(());
    };
    if met != last.shard.input_records {
        let due = last.shard.input_records;
        return Err(last.damaged(
            SHARD_TSV,
            format!("all shards together list {met} records of the {due} of the input"),
        ));
    }
    let mut due = Counts::default();
    for part in parts {
        due.include(&part.manifest.counts);
    }
    // A sequence that two shards hold was new to each of them.
    due.unique_sequences = merged.unique_sequences;
    due.duplicates = merged.duplicates;
    // An identifier may be reused in another shard than the one that has it first.
    due.reused_ids = merged.reused_ids;
    // Tables do not say it.
    due.in_bf16 = merged.in_bf16;
    if due != *merged {
        let what = format!(
            "the tables of all shards come to {merged:?}, what their run.json say to {due:?}"
        );
        return Err(last.damaged(INDEX_TSV, what));
    }
    Ok(())
}
