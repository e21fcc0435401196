//! `merge`: the folders of all shards → that of the whole.

use super::Exit;
use super::args::MergeArgs;
use super::json::{self, print_json};
use super::progress::Progress;
use anyhow::ensure;
use esm_embed::device::available_threads;
use esm_embed::numerals::count;
use esm_embed::output::{self, Manifest, Merged, Shards};
use esm_embed::pipeline::{Level, Reporter, warn_of_ids, warn_of_notes};
use serde::Serialize;

/// What `merge --json` prints.
#[derive(Debug, Serialize)]
struct MergeReport<'a> {
    /// The folder of the whole.
    out: String,
    /// How many shards were joined.
    shards: usize,
    /// The contents of its `run.json`.
    run: &'a Manifest,
}

/// Joins shards.
pub fn execute(args: &MergeArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.show);
    for dir in &args.dirs {
        ensure!(
            dir.exists(),
            "{} does not exist: give the folders that `run --shard` wrote",
            dir.display()
        );
        ensure!(
            dir.is_dir(),
            "{} is not a folder: give the folders that `run --shard` wrote",
            dir.display()
        );
    }
    let shards = if args.remove {
        Shards::Remove
    } else {
        Shards::Keep
    };
    let threads = available_threads();
    let Merged { manifest, ids } =
        output::merge(&args.dirs, &args.out, shards, args.force, threads)?;
    let counts = &manifest.counts;
    if counts.skipped > 0 {
        let text = format!(
            "the shards left out {}, listed in skipped.tsv",
            count(counts.skipped, "record")
        );
        progress.message(Level::Warning, &text);
    }
    warn_of_notes(&manifest, &progress);
    warn_of_ids(ids, &progress);
    let text = format!(
        "{}: {} ({}), {}, from {}",
        args.out.display(),
        count(counts.records, "record"),
        count(counts.unique_sequences, "distinct sequence"),
        count(counts.residues, "residue"),
        count(args.dirs.len() as u64, "shard")
    );
    progress.message(Level::Info, &text);
    if args.json {
        print_json(&MergeReport {
            out: json::path(&args.out),
            shards: args.dirs.len(),
            run: &manifest,
        })?;
    }
    Ok(Exit::Done)
}
