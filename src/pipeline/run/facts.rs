//! What makes a run the same run: the facts that an interrupted or finished run is compared by.

use crate::checkpoint::Checkpoint;
use crate::output::{Begun, Fact, Layout, Needed, OutDtype, Residues};
use crate::pipeline::checksum_cache::ChecksumCache;
use crate::pipeline::input::shard::Shard;
use crate::pipeline::reporter::{Reporter, Silent};
use crate::pipeline::run::describe::{self, FileDigest};
use crate::pipeline::stop::Stop;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The facts of a run, from what stands or will stand in its `run.json`; the checkpoint's files
/// aside.
///
/// Inputs that are not known yet, because they are streams, have facts without a value; so have
/// algorithms of cards before they are chosen.
pub fn facts(
    version: &str,
    shard: Option<Shard>,
    layout: &Layout,
    asked: &Value,
    resolved: &Value,
) -> Vec<Fact> {
    let text = |part: &Value, key: &str| match part.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "none".into(),
    };
    let mut facts = vec![Fact::new("version of esm-embed", version)];
    facts.extend(inputs(asked, resolved));
    facts.extend([
        Fact::new(
            "--shard",
            shard.map_or("none".into(), |shard| shard.to_string()),
        ),
        Fact::new("--layer", list(&layout.layers)),
        Fact::new("--pool", list(layout.pools.iter().map(|pool| pool.name()))),
        Fact::new(
            "--residues",
            match layout.residues {
                Residues::Packed => "packed",
                Residues::Files => "files",
                Residues::None => "none",
            },
        ),
        Fact::new(
            "--out-dtype",
            match layout.dtype {
                OutDtype::F32 => "f32",
                OutDtype::F16 => "f16",
            },
        ),
        Fact::new("--dtype", text(resolved, "dtype")),
        Fact::new("--device", text(resolved, "device")),
        Fact::new("--cpu-path", text(resolved, "cpu_path")),
        Fact::new("processor", text(resolved, "arch")),
        Fact::new("--long", text(resolved, "long")),
        Fact::new("--unknown", text(asked, "unknown")),
        // A run from before there was a choice kept them.
        Fact::new(
            "--gaps",
            resolved
                .get("gaps")
                .and_then(Value::as_str)
                .unwrap_or("keep"),
        ),
        Fact::new("--on-invalid", text(asked, "on_invalid")),
    ]);
    if text(resolved, "device") != "cpu" {
        facts.push(Fact {
            what: "CUDA library and its algorithms".into(),
            value: resolved.get("cuda").map(of_cards),
        });
    }
    facts
}

/// What of the part `cuda` can change a bit: all but the release of the driver and the place of the
/// library.
fn of_cards(about: &Value) -> String {
    let mut about = about.clone();
    if let Some(about) = about.as_object_mut() {
        about.remove("cublaslt_path");
    }
    let cards = about.get_mut("cards").and_then(Value::as_array_mut);
    for card in cards.into_iter().flatten() {
        if let Some(card) = card.as_object_mut() {
            card.remove("driver_version");
        }
    }
    about.to_string()
}

/// One fact for each input, in order.
fn inputs(asked: &Value, resolved: &Value) -> Vec<Fact> {
    let array = |part: &Value| part.get("inputs").and_then(Value::as_array).cloned();
    let known = array(resolved).unwrap_or_default();
    let count = array(asked).unwrap_or_default().len();
    (0..count)
        .map(|i| Fact {
            what: format!("input {}", i + 1),
            value: known.get(i).map(|input| {
                let field = |key: &str| match input.get(key) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => String::new(),
                };
                format!("{} bytes with SHA-256 {}", field("bytes"), field("sha256"))
            }),
        })
        .collect()
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "none".into()
    } else {
        items.join(",")
    }
}

/// The files of a checkpoint with what tells, without reading them, whether they have changed.
///
/// # Errors
/// A file that cannot be examined.
pub fn needed(files: &[PathBuf]) -> Result<Vec<Needed>> {
    let examine = |path: &PathBuf| {
        let metadata = std::fs::metadata(path)
            .with_context(|| format!("{}: cannot be read", path.display()))?;
        let name = path.file_name().unwrap_or(Path::new("").as_os_str());
        Ok(Needed {
            name: name.to_string_lossy().into_owned(),
            bytes: metadata.len(),
            stamp: format!(
                "{} {}.{:09} {}.{:09}",
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ctime(),
                metadata.ctime_nsec()
            ),
            sha256: None,
        })
    };
    files.iter().map(examine).collect()
}

/// The same files, now that their checksums are known.
///
/// # Errors
/// Checksums that are not those of the interrupted run.
pub fn with_digests(needed: &[Needed], digests: &[FileDigest]) -> Result<Vec<Needed>> {
    let mut all = needed.to_vec();
    for (needed, digest) in all.iter_mut().zip(digests) {
        if needed
            .sha256
            .as_ref()
            .is_some_and(|old| *old != digest.sha256)
        {
            bail!(
                "{}: the model file has changed since the run began; put the old file back, or \
                 choose another folder with --out",
                digest.name
            );
        }
        needed.sha256 = Some(digest.sha256.clone());
    }
    Ok(all)
}

/// How the checkpoint of an interrupted run differs from this one. Its files are read only if they
/// may have changed.
///
/// # Errors
/// A file that cannot be read.
pub fn checkpoint_differences(
    checksums: Option<&ChecksumCache>,
    begun: &Begun,
    now: &[Needed],
    checkpoint: &Checkpoint,
) -> Result<Vec<String>> {
    let same_stamps = begun.needed.len() == now.len()
        && begun.needed.iter().zip(now).all(|(old, new)| {
            (&old.name, old.bytes, &old.stamp) == (&new.name, new.bytes, &new.stamp)
        });
    if same_stamps {
        return Ok(Vec::new());
    }
    let known: Option<Vec<(u64, String)>> = begun
        .needed
        .iter()
        .map(|old| Some((old.bytes, old.sha256.clone()?)))
        .collect();
    match known {
        // The run that goes on says where they are from.
        Some(known) => model_differences(checksums, &known, checkpoint, &Silent),
        None => Ok(vec![
            "the model's files are not those that the run began with, or have been moved or \
             touched, and it ended before it knew their checksums"
                .into(),
        ]),
    }
}

/// How a checkpoint whose files have these sizes and checksums differs from this one, whose files
/// are read for theirs unless they are remembered.
///
/// # Errors
/// A file that cannot be read.
pub fn model_differences(
    checksums: Option<&ChecksumCache>,
    known: &[(u64, String)],
    checkpoint: &Checkpoint,
    reporter: &dyn Reporter,
) -> Result<Vec<String>> {
    let files = checkpoint.files();
    if known.len() != files.len() {
        return Ok(vec![format!(
            "the model had {} files and has {}",
            known.len(),
            files.len()
        )]);
    }
    let digests = describe::digests(checksums, checkpoint, &Stop::default())?;
    describe::tell(&digests, reporter);
    let mut all = Vec::new();
    for (((bytes, sha256), path), found) in known.iter().zip(files).zip(&digests) {
        if (&found.sha256, found.bytes) != (sha256, *bytes) {
            all.push(format!(
                "model file {} was {bytes} bytes with SHA-256 {sha256} and is {} bytes with \
                 SHA-256 {}",
                path.display(),
                found.bytes,
                found.sha256
            ));
        }
    }
    Ok(all)
}
