//! The stages of a run: check, begin, embed, finish.

pub mod begin;
pub mod check;
pub mod describe;
pub mod embed;
pub mod feed;
pub mod finish;
pub mod finished_rows;
pub mod known;
pub mod model_files;
pub mod notices;
pub mod open;
pub mod pulse;
pub mod resume;
pub mod syncing;
pub mod work;

use crate::checkpoint::Checkpoint;
use crate::embedder::Capacity;
use crate::pipeline::input::planned::PlannedShard;
use crate::pipeline::job::{Caches, Job};
use crate::pipeline::reporter::Reporter;
use crate::pipeline::stop::Stop;
use crate::threads::Threads;
use std::sync::Arc;

/// What every stage uses.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// What was asked.
    pub job: &'a Job,
    /// Where its records are, if they were planned.
    pub planned: Option<&'a PlannedShard>,
    /// What earlier runs found out.
    pub caches: &'a Caches,
    /// The model's files.
    pub checkpoint: &'a Arc<Checkpoint>,
    /// Load the model, share long sequences and take checksums.
    pub threads: &'a Threads,
    /// Receives messages and progress.
    pub reporter: &'a dyn Reporter,
    /// Asks the run to stop.
    pub stop: &'a Stop,
}

/// Threads that embed and write.
pub fn workers(job: &Job, capacity: Capacity) -> usize {
    capacity.lanes.unwrap_or(job.compute.threads).max(1)
}
