//! What `merge` is given.

use super::{ShowArgs, out};
use std::path::PathBuf;

/// Arguments of `merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// Folders that `run --shard I/N` wrote, one for each I, in any order
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,

    /// Folder to write: byte for byte what one run over the whole input writes
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Replace an existing output
    #[arg(long)]
    pub force: bool,

    /// Remove the shards once the whole is complete
    ///
    /// Files of single records (--residues files) are then not copied but renamed, if shards and
    /// output are on one file system: they get their new name first and lose the old one when
    /// everything is in its place.
    #[arg(long = "move")]
    pub remove: bool,

    #[command(flatten)]
    pub show: ShowArgs,
}

impl MergeArgs {
    /// What contradicts itself in the arguments.
    pub(super) fn contradiction(&self) -> Option<String> {
        out::not_a_folder(&self.out)
    }
}
