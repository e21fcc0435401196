//! What `inspect` is given.

use std::path::PathBuf;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Output folder of a run
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Recompute the checksum of every file
    #[arg(long)]
    pub check: bool,
}
