//! Whether folders are shards of one run, and whether any shard is missing.

use super::MergeError;
use crate::numerals::grouped;
use crate::output::counts::Counts;
use crate::output::error::OutputError;
use crate::output::layout::{INDEX_TSV, SHARD_TSV};
use crate::output::manifest::{FileEntry, Manifest};
use crate::output::read::inspect::inspect;
use crate::output::shard::ShardEntry;
use crate::printable;
use crate::run_record::{Difference, RunRecord, can_be_merged, differences};
use std::path::{Path, PathBuf};

/// Differences and missing shards that are named.
const NAMED: usize = 20;

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
            .ok_or_else(|| self.damaged(name, "is not listed in run.json"))
    }

    /// Something wrong with one of its files.
    pub(super) fn damaged(&self, name: &str, what: impl Into<String>) -> MergeError {
        MergeError::Damaged {
            path: self.dir.join(name),
            what: what.into(),
        }
    }

    /// A file that the operating system cannot read.
    pub(super) fn unreadable(&self, name: &str, cause: std::io::Error) -> MergeError {
        OutputError::io("reading", &self.dir.join(name), cause).into()
    }
}

/// Opens all shards in the order of their numbers, and checks that they are the shards of one run.
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
            numbers: (1..=of).filter(|n| !is_there(n)).take(NAMED).collect(),
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
    if !can_be_merged(&manifest.esm_embed) {
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
    let mut all: Vec<String> = [
        ("the number of shards", one.shard.of, other.shard.of),
        (
            "the records of the input",
            one.shard.input_records,
            other.shard.input_records,
        ),
    ]
    .into_iter()
    .filter(|(_, this, that)| this != that)
    .map(|(what, this, that)| format!("{what} ({} and {})", grouped(this), grouped(that)))
    .collect();
    let whole = |part: &Part| RunRecord {
        shard: None,
        ..part.manifest.record()
    };
    for Difference { what, before, now } in differences(&whole(one), &whole(other)) {
        all.push(printable::text(&format!("{what} ({before} and {now})")));
    }
    if all.is_empty() && one.manifest.layout != other.manifest.layout {
        all.push("the layout in run.json".into());
    }
    if all.is_empty() {
        return Ok(());
    }
    all.truncate(NAMED);
    Err(MergeError::Differ {
        first: one.dir.clone(),
        second: other.dir.clone(),
        differences: all,
    })
}

/// Checks that all shards together hold the records of the input.
pub(super) fn check_counts(parts: &[Part], met: u64, merged: &Counts) -> Result<(), MergeError> {
    let Some(last) = parts.last() else {
        return Ok(());
    };
    if met != last.shard.input_records {
        let due = last.shard.input_records;
        return Err(last.damaged(
            SHARD_TSV,
            format!(
                "the shards together list {} of the {} records of the input",
                grouped(met),
                grouped(due)
            ),
        ));
    }
    let mut due = Counts::default();
    for part in parts {
        due.include(&part.manifest.counts);
    }
    // A sequence in two shards was counted as new in both.
    due.unique_sequences = merged.unique_sequences;
    due.known = merged.known;
    due.duplicates = merged.duplicates;
    // An identifier and its reuse may be in different shards.
    due.reused_ids = merged.reused_ids;
    // The tables do not list them.
    (due.in_bf16, due.in_f32) = (merged.in_bf16, merged.in_f32);
    if due != *merged {
        let what = format!(
            "the tables of all shards add up to {merged:?}, but their run.json files to {due:?}"
        );
        return Err(last.damaged(INDEX_TSV, what));
    }
    Ok(())
}
