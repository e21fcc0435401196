//! `merge`: the folders of all shards → that of the whole.

use super::Exit;
use super::args::MergeArgs;
use super::progress::Progress;
use anyhow::ensure;
use esm_embed::device::available_threads;
use esm_embed::numerals::{count, grouped};
use esm_embed::output::{self, Shards};
use esm_embed::pipeline::{Level, Reporter};

/// Joins shards.
pub fn execute(args: &MergeArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.show);
    for dir in &args.dirs {
        ensure!(
            dir.exists(),
            "{} does not exist. Give the folder that `run --shard` was told to write (--out)",
            dir.display()
        );
    }
    let shards = if args.remove {
        Shards::Remove
    } else {
        Shards::Keep
    };
    let threads = available_threads();
    let manifest = output::merge(&args.dirs, &args.out, shards, args.force, threads)?;
    let counts = &manifest.counts;
    if counts.skipped > 0 {
        let text = format!(
            "records that the shards skipped, listed in skipped.tsv: {}",
            grouped(counts.skipped)
        );
        progress.message(Level::Warning, &text);
    }
    let text = format!(
        "{}: {} ({}), {}, from {}",
        args.out.display(),
        count(counts.records, "record"),
        count(counts.unique_sequences, "distinct sequence"),
        count(counts.residues, "residue"),
        count(args.dirs.len() as u64, "shard")
    );
    progress.message(Level::Info, &text);
    Ok(Exit::Done)
}
