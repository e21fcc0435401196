//! Opens a job's checkpoint.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::pipeline::job::Job;
use crate::pipeline::reporter::{Level, Reporter};

/// Opens the checkpoint and reports its warnings.
///
/// # Errors
/// Whatever makes the checkpoint unusable.
pub fn open(job: &Job, reporter: &dyn Reporter) -> Result<Checkpoint, CheckpointError> {
    let checkpoint =
        Checkpoint::open_with(&job.model.path, job.model.contact_regression.as_deref())?;
    for warning in checkpoint.warnings() {
        reporter.message(Level::Warning, warning);
    }
    Ok(checkpoint)
}
