//! FASTA to output folder: read, plan, embed, write.

mod job;
mod reporter;

pub use job::{Job, Long, Model, OnInvalid, USUAL_LIMIT};
pub use reporter::{Level, Reporter, Silent, Totals};

use std::fmt;

/// How a finished run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records with a row.
    pub records: u64,
    /// Records listed in `skipped.tsv`.
    pub skipped: u64,
}

/// What a run would do.
#[derive(Clone, Debug)]
pub struct Forecast {}

impl fmt::Display for Forecast {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Carries a job out.
///
/// # Errors
/// Everything that keeps the output folder from being complete; nothing finished is touched.
pub fn run(_job: &Job, _reporter: &dyn Reporter) -> anyhow::Result<Outcome> {
    anyhow::bail!("not built into this revision")
}

/// Says what a job would do, without doing it.
///
/// # Errors
/// What would stop the run before its first batch.
pub fn dry_run(_job: &Job, _reporter: &dyn Reporter) -> anyhow::Result<Forecast> {
    anyhow::bail!("not built into this revision")
}
