//! Opens a job's checkpoint.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::pipeline::job::Job;
use crate::pipeline::reporter::{Level, Reporter};

/// Opens the checkpoint and reports its warnings.
///
/// # Errors
/// Whatever makes the checkpoint unusable.
pub fn open(job: &Job, reporter: &dyn Reporter) -> Result<Checkpoint, CheckpointError> {
    let checkpoint = job.model.open()?;
    tell_of_checkpoint(&checkpoint, reporter);
    Ok(checkpoint)
}

/// Reports what a user should know of a checkpoint.
pub fn tell_of_checkpoint(checkpoint: &Checkpoint, reporter: &dyn Reporter) {
    for warning in checkpoint.warnings() {
        reporter.message(Level::Warning, warning);
    }
    for note in checkpoint.notes() {
        reporter.message(Level::Info, note);
    }
}
