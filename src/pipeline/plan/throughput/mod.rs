//! How long a run will take, from samples of its work on this machine.

mod cpu;
mod gpu;
mod probe;
mod samples;
mod speeds;

use crate::checkpoint::Checkpoint;
use crate::pipeline::input::scan::Scan;
use crate::pipeline::job::{Caches, Job};
use crate::pipeline::plan::Plan;
use crate::product::Extent;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// Seconds that any run takes: its start, and syncing the files that it always writes.
const ANY: f64 = 0.1;
/// Seconds for each record besides its computation: index, journal, places in the output.
const RECORD: f64 = 20e-6;
/// Seconds for each array that a record is written to.
const ROWS: f64 = 3e-6;
/// Seconds for each file of a record: making, writing, syncing and reading it.
const FILE: f64 = 150e-6;
/// Bytes per second that one thread writes.
const WRITING: f64 = 1.5e9;

/// Time that a run will take, if it takes `reading` to read the input.
///
/// # Errors
/// A checkpoint that is damaged where samples need it.
pub(super) fn forecast(
    job: &Job,
    caches: &Caches,
    plan: &Plan,
    checkpoint: &Arc<Checkpoint>,
    scan: &Scan,
    reading: Duration,
) -> Result<Duration> {
    let computing = match (plan.top(), plan.device.is_gpu()) {
        _ if scan.left.records == 0 => 0.0,
        (1.., true) => gpu::seconds(job, plan, checkpoint, scan)?,
        _ => cpu::seconds(job, caches, plan, checkpoint, scan)?,
    };
    // The input is read before the model is loaded, and again while records are embedded.
    let reading = reading.as_secs_f64();
    let work = computing + writing(job, plan, scan) + reading / workers(job.compute.threads) as f64;
    let seconds = ANY + reading + work.max(reading);
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// Threads that can work at the same time.
fn workers(threads: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    threads.min(processors).max(1)
}

/// Seconds for writing rows.
fn writing(job: &Job, plan: &Plan, scan: &Scan) -> f64 {
    let layout = &plan.layout;
    let arrays = layout.arrays();
    let files = layout.file_arrays().len();
    let each = RECORD + ROWS * (arrays.len() - files) as f64;
    // Rows that are already written are read to verify them, which takes about as long.
    let made = scan.records.saturating_sub(scan.restored.records) as f64 * FILE * files as f64;
    let per_residue = arrays
        .iter()
        .filter(|a| a.product.extent() != Extent::Record);
    let bytes: f64 = per_residue
        .map(|a| a.value_bytes(&scan.elements) as f64)
        .sum();
    let workers = workers(job.compute.threads) as f64;
    (scan.records as f64 * each + made) / workers + bytes / WRITING
}
