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

    /// Print the report as one JSON document
    ///
    /// Fields: dir, complete, sound, unfinished, checked, problem_count, problems (file, what; the
    /// first 50) and run, which is the contents of run.json, or null if it cannot be read.
    #[arg(long)]
    pub json: bool,
}
