//! Merges the folders of all shards of an input into the folder that a single run over the whole input
//! would have written, byte for byte.
//!
//! The records of the shards are entered into a new ledger in the order of the input, as a run enters
//! them: this gives rows, offsets, file names and duplicates. Then the values of one shard after the
//! other are copied to their places and verified against the checksums of the shard as they are read.
//! Memory does not grow with the number of records, and the shards are not changed until `run.json`
//! of the merged output is in its place.

mod agree;
mod copy;
mod destinations;
mod error;
mod hashed;
mod link;
mod shard_tables;

pub use error::MergeError;

use crate::output::counts::InFallback;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::ids::Ids;
use crate::output::index::{Entry, Skip};
use crate::output::link::LinkWriter;
use crate::output::manifest::{Listed, Manifest};
use crate::output::place::Place;
use crate::output::publish;
use crate::output::resume::run_identity::RunIdentity;
use crate::output::write::folder::OutputFolder;
use crate::output::write::target::{Existing, Target};
use crate::run_record::same_bits;
use crate::threads::Threads;
use agree::Part;
use destinations::Destinations;
use shard_tables::{Reading, ShardRecord, ShardTables};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

/// What happens to the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// They stay.
    Keep,
    /// They stay, and the merged output has only tables: its `run.json` refers to their arrays.
    Link,
    /// They are removed once the merged output is complete. The files of single records are linked
    /// instead of copied, where the file system allows it.
    Remove,
}

/// The merged output.
#[derive(Debug)]
pub struct Merged {
    /// The contents of its `run.json`.
    pub manifest: Manifest,
    /// Its identifiers, which tell whether `ids.npy` is written.
    pub ids: Ids,
    /// How many shards there were.
    pub shards: usize,
}

/// Merges the shards in `dirs`, in any order, into `out`. A linked folder counts as the folders of its
/// shards.
///
/// With `force`, existing output in `out` is replaced, as by [`OutputFolder::create`]. `threads`
/// threads compute the checksums at the end.
///
/// # Errors
/// When shards do not belong together, are missing, given twice, incomplete or damaged, or when `out`
/// cannot be written. Then `out` does not look complete, and no shard is changed.
pub fn merge(
    dirs: &[PathBuf],
    out: &Path,
    shards: Shards,
    force: bool,
    threads: usize,
) -> Result<Merged, MergeError> {
    let dirs = link::shard_folders(dirs, shards)?;
    let parts = agree::open(&dirs)?;
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
    let reading = Reading::of(parts.len());

    let mut folder = match shards {
        Shards::Link => target.begin_linked()?,
        Shards::Keep | Shards::Remove => target.begin(RunIdentity::default())?,
    };
    folder.set_threads(Threads::new(threads));
    if shards == Shards::Link {
        let mut links = LinkWriter::create(folder.partial(), parts.len())?;
        enter_all(&parts, reading, &mut folder, |number, _| {
            Ok(links.push(number)?)
        })?;
        links.close()?;
        folder.links = link::links(&parts, out)?;
    } else {
        let mut destinations = Destinations::create(folder.partial(), layout.has_files(), &parts)?;
        enter_all(&parts, reading, &mut folder, |number, place| {
            destinations.push(number, place)
        })?;
        destinations.close()?;
        for (number, part) in parts.iter().enumerate() {
            copy::copy(part, destinations.of(number)?, &folder, shards)?;
        }
    }
    // Shards of 0.1.0 record less of the model.
    let mut manifests = parts.iter().map(|part| &part.manifest);
    let fullest = manifests.find(|manifest| manifest.resolved.model.alphabet_proof.is_some());
    let Manifest {
        esm_embed,
        asked,
        resolved,
        ..
    } = fullest.unwrap_or(&first.manifest).clone();
    let counts = || parts.iter().map(|part| &part.manifest.counts);
    folder.in_fallback = InFallback {
        bf16: counts().map(|counts| counts.in_bf16).sum(),
        f32: counts().map(|counts| counts.in_f32).sum(),
    };
    folder.known = counts().map(|counts| counts.known).sum();
    let ids = folder.split().0.ids();
    // The merged values have the bits of the version that computed them.
    let version = match same_bits(&esm_embed, env!("CARGO_PKG_VERSION")) {
        true => env!("CARGO_PKG_VERSION"),
        false => &esm_embed,
    };
    let manifest = folder.finish_as(version, asked, resolved)?;
    if shards == Shards::Remove {
        for part in &parts {
            publish::remove_run(&part.dir, &Listed::of(&part.manifest))?;
            // A folder with anything else in it stays.
            let _ = std::fs::remove_dir(&part.dir);
        }
    }
    Ok(Merged {
        manifest,
        ids,
        shards: parts.len(),
    })
}

/// Refuses to merge into the folder of a shard, which `force` would overwrite.
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
        if shards == Shards::Link {
            let tables = files.iter().filter(|file| link::is_table(&file.name));
            return tables.map(|file| file.bytes).sum();
        }
        let matrices: u64 = files.iter().map(|file| file.bytes).sum();
        let single: u64 = folders.iter().map(|folder| folder.bytes).sum();
        match shards {
            Shards::Keep => matrices.saturating_add(single),
            Shards::Link | Shards::Remove => matrices,
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

/// Enters all records in the order of the input, and reports the shard, from 0, and the place in the
/// whole of each.
fn enter_all(
    parts: &[Part],
    reading: Reading,
    folder: &mut OutputFolder,
    mut entered: impl FnMut(usize, &Place) -> Result<(), MergeError>,
) -> Result<(), MergeError> {
    let (ledger, _) = folder.split();
    let mut sources = parts
        .iter()
        .map(|part| ShardTables::open(part, reading))
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
                format!("has record {ordinal} of the input where record {due} is expected"),
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
                let record = ledger.enter(&Entry {
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
                entered(number, &record.place)?;
            }
        }
        waiting.extend(
            source
                .next_ordinal()?
                .map(|ordinal| Reverse((ordinal, number))),
        );
    }
    sources.into_iter().try_for_each(ShardTables::close)?;
    agree::check_counts(parts, due, ledger.counts())
}
