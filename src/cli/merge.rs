//! `merge`: the folders of all shards → one folder.

use super::Exit;
use super::options::{DisplayArgs, folders};
use super::progress::Progress;
use super::stdout::{self, print_json};
use esm_embed::device::available_threads;
use esm_embed::numerals::count;
use esm_embed::output::{self, Manifest, Merged, Shards};
use esm_embed::pipeline::{Level, Reporter, warn_of_ids, warn_of_notes};
use serde::Serialize;
use std::path::PathBuf;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Example:
  for i in 1 2 3; do
    esm-embed run proteins.fasta --shard $i/3 --out shard-$i/
  done
  esm-embed merge shard-1/ shard-2/ shard-3/ --out emb/

Without a copy of the arrays:
  esm-embed merge --link shard-*/ --out emb/";

/// Arguments of `merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// Folders that `run --shard I/N` wrote, one for each I from 1 to N, in any order
    ///
    /// A folder that `merge --link` wrote stands for its shards: merging it without --link copies the
    /// arrays.
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,

    /// Output folder, byte for byte as one run over the whole input would write it
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Replace an existing output
    #[arg(long)]
    pub force: bool,

    /// Leave the arrays in the folders of the shards
    ///
    /// The output then has the tables of the whole, the same bytes as without --link, and a run.json
    /// that refers to the shards by relative paths and checksums. links.npy, [records, 2], gives for
    /// each row the number of its shard and its row there. inspect, export, plot, report and Python's
    /// open_folder read such a folder as any other. Keep the shards, and move them only together with
    /// the output.
    #[arg(long, conflicts_with = "remove")]
    pub link: bool,

    /// Remove the shards once the merged output is complete
    ///
    /// With --residues files, the files of records are then moved instead of copied if shards and
    /// output are on the same file system. Until the merged output is complete, each file also keeps
    /// its old name.
    #[arg(long = "move")]
    pub remove: bool,

    /// Print a report as one JSON document
    ///
    /// Fields: out, shards (their number) and run, the contents of the merged run.json.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub display: DisplayArgs,
}

impl MergeArgs {
    /// What is contradictory in the arguments, with hints.
    pub fn contradiction(&self) -> Option<String> {
        folders::not_a_folder(&self.out)
    }
}

/// What `merge --json` prints.
#[derive(Debug, Serialize)]
struct MergeReport<'a> {
    /// The merged folder.
    out: String,
    /// How many shards were merged.
    shards: usize,
    /// The contents of its `run.json`.
    run: &'a Manifest,
}

/// Merges shards.
pub fn execute(args: &MergeArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.display);
    for dir in &args.dirs {
        folders::check_is_folder(dir, "give the folders that `run --shard` wrote")?;
    }
    let shards = match (args.link, args.remove) {
        (true, _) => Shards::Link,
        (false, true) => Shards::Remove,
        (false, false) => Shards::Keep,
    };
    let threads = available_threads();
    let Merged {
        manifest,
        ids,
        shards,
    } = output::merge(&args.dirs, &args.out, shards, args.force, threads)?;
    let counts = &manifest.counts;
    if counts.skipped > 0 {
        let text = format!(
            "the shards skipped {}, listed in skipped.tsv",
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
        count(shards as u64, "shard")
    );
    progress.message(Level::Info, &text);
    if args.json {
        print_json(&MergeReport {
            out: stdout::path(&args.out),
            shards,
            run: &manifest,
        })?;
    }
    Ok(Exit::Done)
}
