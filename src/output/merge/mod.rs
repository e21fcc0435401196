//! Joins the folders of all shards of an input to the folder that one run over the whole of it
//! would have written, byte for byte.
//!
//! Records come from the shards in the order of the input and are entered into a new ledger, as a
//! run enters them: rows, offsets, names of files and duplicates are found anew. Then the rows of
//! one shard after the other are copied to their place, checked against the checksums of the
//! shard while they are read. Memory does not grow with the number of records, and the shards are
//! left as they are until `run.json` of the whole stands in its place.

mod agree;
mod copy;
mod destinations;
mod error;
mod hashed;
mod shard_tables;

pub use error::MergeError;

use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::ids::Ids;
use crate::output::index::{Entry, Skip};
use crate::output::layout::Layout;
use crate::output::manifest::{Listed, Manifest};
use crate::output::publish;
use crate::output::resume::run_identity::RunIdentity;
use crate::output::write::folder::OutputFolder;
use crate::output::write::target::{Existing, Target};
use crate::threads::Threads;
use agree::Part;
use destinations::Destinations;
use shard_tables::{ShardRecord, ShardTables};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

/// What becomes of the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// They stay as they are.
    Keep,
    /// The files of single records are linked instead of copied where the file system can do
    /// that, and the shards are removed once the whole is complete.
    Remove,
}

/// The whole that was made of shards.
#[derive(Debug)]
pub struct Merged {
    /// The contents of its `run.json`.
    pub manifest: Manifest,
    /// Its identifiers, which say whether there is an `ids.npy`, and why not.
    pub ids: Ids,
}

/// Joins the shards in `dirs`, given in any order, in `out`.
///
/// With `force` an existing output in `out` is replaced, as by [`OutputFolder::create`]. `threads`
/// take the checksums at the end.
///
/// # Errors
/// Shards that do not belong together, are missing, doubled, incomplete or damaged, and whatever
/// keeps `out` from being written. `out` does not look complete then, and no shard is changed.
pub fn merge(
    dirs: &[PathBuf],
    out: &Path,
    shards: Shards,
    force: bool,
    threads: usize,
) -> Result<Merged, MergeError> {
    let parts = agree::open(dirs)?;
    let Some(first) = parts.first() else {
        return Err(MergeError::NoShard);
    };
    let layout = first.manifest.layout.clone();
    check_out(&parts, out)?;
    let existing = match force {
        true => Existing::Replace,
        false => Existing::Refuse,
    };
    let target = Target::examine(out, &layout, existing)?;
    check_room(&parts, out, shards)?;
    // Three files of each shard are open at a time.
    disk::lift_open_files();

    let mut folder = target.begin(RunIdentity::default())?;
    folder.set_threads(Threads::new(threads));
    let destinations = enter_all(&parts, &mut folder, &layout)?;
    for (number, part) in parts.iter().enumerate() {
        copy::copy(part, destinations.of(number)?, &folder, shards)?;
    }
    // Shards of 0.1.0 record less of the model.
    let mut manifests = parts.iter().map(|part| &part.manifest);
    let fullest = manifests.find(|manifest| manifest.resolved.model.alphabet_proof.is_some());
    let Manifest {
        asked, resolved, ..
    } = fullest.unwrap_or(&first.manifest).clone();
    folder.in_bf16 = parts.iter().map(|part| part.manifest.counts.in_bf16).sum();
    let ids = folder.split().0.ids();
    let manifest = folder.finish(asked, resolved)?;
    if shards == Shards::Remove {
        for part in &parts {
            publish::remove_run(&part.dir, &Listed::of(&part.manifest))?;
            // Something of somebody else may be in it, and then it stays.
            let _ = std::fs::remove_dir(&part.dir);
        }
    }
    Ok(Merged { manifest, ids })
}

/// The place of the whole must not be that of a shard: with `force` it would be overwritten.
fn check_out(parts: &[Part], out: &Path) -> Result<(), MergeError> {
    let Ok(real) = out.canonicalize() else {
        return Ok(());
    };
    match parts
        .iter()
        .find(|part| part.dir.canonicalize().is_ok_and(|dir| dir == real))
    {
        None => Ok(()),
        Some(part) => Err(MergeError::OutIsShard {
            dir: part.dir.clone(),
            shard: part.shard,
        }),
    }
}

fn check_room(parts: &[Part], out: &Path, shards: Shards) -> Result<(), MergeError> {
    let bytes = |part: &Part| {
        let Manifest { files, folders, .. } = &part.manifest;
        let matrices: u64 = files.iter().map(|file| file.bytes).sum();
        let single: u64 = folders.iter().map(|folder| folder.bytes).sum();
        match shards {
            Shards::Keep => matrices.saturating_add(single),
            Shards::Remove => matrices,
        }
    };
    let needed = parts.iter().map(bytes).fold(0, u64::saturating_add);
    match disk::free_bytes(out) {
        Some(free) if free < needed => Err(MergeError::NoRoom {
            out: out.to_path_buf(),
            needed,
            free,
        }),
        _ => Ok(()),
    }
}

/// Enters all records in the order of the input; says where the rows of each shard belong.
fn enter_all(
    parts: &[Part],
    folder: &mut OutputFolder,
    layout: &Layout,
) -> Result<Destinations, MergeError> {
    let files = layout.has_files();
    let mut destinations = Destinations::create(folder.partial(), files, parts)?;
    let (ledger, _) = folder.split();
    let mut sources = parts
        .iter()
        .map(ShardTables::open)
        .collect::<Result<Vec<_>, _>>()?;
    let mut waiting = BinaryHeap::new();
    for (number, source) in sources.iter_mut().enumerate() {
        waiting.extend(
            source
                .next_ordinal()?
                .map(|ordinal| Reverse((ordinal, number))),
        );
    }
    let mut due = 0;
    while let Some(Reverse((ordinal, number))) = waiting.pop() {
        let (Some(source), Some(part)) = (sources.get_mut(number), parts.get(number)) else {
            continue;
        };
        if ordinal != due {
            return Err(part.damaged(
                crate::output::layout::SHARD_TSV,
                format!("record {ordinal} of the input comes where record {due} is due"),
            ));
        }
        due += 1;
        match source.record()? {
            ShardRecord::Skipped(line) => ledger.skip(&Skip {
                ordinal,
                file: &line.file,
                line: line.line,
                record: line.record,
                id: &line.id,
                reason: &line.reason,
            })?,
            ShardRecord::Embedded {
                line,
                sequence,
                masks,
            } => {
                let entered = ledger.enter(&Entry {
                    ordinal,
                    id: &line.id,
                    description: &line.description,
                    length: line.length,
                    sequence,
                    truncated_from: line.truncated_from,
                    windows: line.windows,
                    unknown: line.unknown,
                    lower: line.lower,
                    masks,
                    gaps: line.gaps,
                    invisible: line.invisible,
                    nucleotides: line.nucleotides,
                    stop: line.stop,
                })?;
                destinations.push(number, &entered.place)?;
            }
        }
        waiting.extend(
            source
                .next_ordinal()?
                .map(|ordinal| Reverse((ordinal, number))),
        );
    }
    sources.into_iter().try_for_each(ShardTables::close)?;
    agree::check_counts(parts, due, ledger.counts())?;
    destinations.close()?;
    Ok(destinations)
}
