//! `merge`: the folders of all shards → that of the whole.

use super::Exit;
use super::args::MergeArgs;
use super::progress::Progress;
use anyhow::ensure;
use esm_embed::output::{self, IDS_NPY, Shards};
use esm_embed::pipeline::{Level, Reporter, warn_of_notes};

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
    let manifest = output::merge(&args.dirs, &args.out, shards, args.force)?;
    let counts = &manifest.counts;
    if counts.skipped > 0 {
        let text = format!(
            "records that the shards skipped, listed in skipped.tsv: {}",
            counts.skipped
        );
        progress.message(Level::Warning, &text);
    }
    warn_of_notes(&manifest, &progress);
    if manifest.files.iter().all(|file| file.name != IDS_NPY) {
        let text = format!(
            "{IDS_NPY} is not written: an id has more than 1,024 characters, or the file would have \
             more than 1 GiB; index.tsv has every id"
        );
        progress.message(Level::Warning, &text);
    }
    let text = format!(
        "{}: {} records ({} distinct sequences), {} residues, from {} shards",
        args.out.display(),
        counts.records,
        counts.unique_sequences,
        counts.residues,
        args.dirs.len()
    );
    progress.message(Level::Info, &text);
    Ok(Exit::Done)
}
