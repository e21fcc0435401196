//! What `merge` is given.

use super::{ShowArgs, out};
use std::path::PathBuf;

/// Arguments of `merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// Folders that `run --shard I/N` wrote, one for each I from 1 to N, in any order
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,

    /// Folder to write, byte for byte as one run over the whole input writes it
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Replace an existing output
    #[arg(long)]
    pub force: bool,

    /// Remove the shards once the whole is complete
    ///
    /// Files of single records (--residues files) are then renamed instead of copied, where shards and
    /// output are on one file system. A file keeps its old name too until the whole is complete.
    #[arg(long = "move")]
    pub remove: bool,

    /// Print a report on the whole as one JSON document
    ///
    /// Fields: out, shards (their number) and run, which is the contents of the run.json of the
    /// whole.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub show: ShowArgs,
}

impl MergeArgs {
    /// What contradicts itself in the arguments.
    pub(super) fn contradiction(&self) -> Option<String> {
        out::not_a_folder(&self.out)
    }
}
