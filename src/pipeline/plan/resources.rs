//! What a run takes: files, bytes on disk, memory.

use super::Plan;
use super::batches::LEAST_TOKENS;
use crate::embedder::shared_from;
use crate::numerals::bytes;
use crate::output::{HEADER_BYTES, free_bytes};
use crate::pipeline::input::scan::Scan;
use crate::pipeline::job::Job;
use anyhow::{Result, bail};

/// Refuses a run whose files would not fit on the disk; `held` bytes of them are already there.
///
/// # Errors
/// Too little space.
pub fn check_space(job: &Job, plan: &Plan, scan: &Scan, held: u64) -> Result<()> {
    let needed = disk(plan, scan, job.inputs.shard.is_some()).saturating_sub(held);
    if let Some(free) = free_bytes(&job.output.folder)
        && free < needed
    {
        bail!(
            "{}: the output needs {}, but only {} are free there\n\
             hint: choose another folder with `out`, fewer layers with `layer`, `residues=none` or \
             `out_dtype=f16`",
            job.output.folder.display(),
            bytes(needed),
            bytes(free)
        );
    }
    Ok(())
}

/// The number of files of a run.
pub fn files(plan: &Plan, scan: &Scan) -> u64 {
    let arrays = plan.layout.arrays();
    let values = arrays.iter().map(|array| array.files(&scan.elements));
    values.fold(tables(plan, scan), u64::saturating_add)
}

/// The other files: `run.json`, `index.tsv`, and those that not every run has.
fn tables(plan: &Plan, scan: &Scan) -> u64 {
    let lists = plan.layout.file_arrays().len() as u64;
    2 + u64::from(scan.ids.bytes().is_ok()) + u64::from(scan.skipped > 0) + lists
}

/// Bytes of the files of a run.
pub fn disk(plan: &Plan, scan: &Scan, is_shard: bool) -> u64 {
    let lists = plan.layout.file_arrays().len() as u64;
    // Lines of the index: numbers, tabs and the header. Names of files repeat the identifier, and
    // a checksum has 64 digits.
    let lines = 24 * scan.records + scan.headers;
    let named = scan.records * 120 + scan.headers;
    let shard = u64::from(is_shard) * 44 * (scan.records + scan.skipped);
    let tables = tables(plan, scan) * HEADER_BYTES as u64
        + lines
        + scan.ids.bytes().unwrap_or(0)
        + lists * named
        + shard;
    plan.layout.bytes(&scan.elements).saturating_add(tables)
}

/// The largest amount of memory that is in use at any time.
pub fn memory(job: &Job, plan: &Plan, scan: &Scan) -> u64 {
    working_memory(job, plan, scan).saturating_add(plan.tables.of(scan))
}

/// Bytes for all passes that run at the same time; None if nothing limits them. Beside them, there is memory
/// for the model and for what is remembered of the records.
pub fn memory_for_passes(plan: &Plan, scan: Option<&Scan>) -> Option<u64> {
    let budget = plan.admission.memory?.bytes;
    Some(scan.map_or(budget, |scan| {
        budget
            .saturating_add(plan.tables.expected())
            .saturating_sub(plan.tables.of(scan))
    }))
}

/// The memory of the model, its threads and their passes.
fn working_memory(job: &Job, plan: &Plan, scan: &Scan) -> u64 {
    let longest = scan.longest_left();
    if plan.device.is_gpu() {
        // Rows on their way from the GPU.
        let row = plan.layout.dim as u64 * 4;
        let lanes = (plan.device.lanes(job.compute.threads) * plan.device.gpus.len()) as u64;
        let rows = row * plan.max_tokens.max(longest) as u64;
        return plan.model.bytes() + lanes * rows.max(crate::device::PINNED);
    }
    let passes = &scan.left.passes;
    let tokens = usize::try_from(passes.tokens()).unwrap_or(usize::MAX);
    let batch = plan.max_tokens.min(tokens).max(longest);
    // A small input does not keep every thread busy, and an idle thread takes next to nothing.
    let batches = (tokens as u64)
        .div_ceil(LEAST_TOKENS as u64)
        .min(passes.count());
    let busy = (job.compute.threads as u64).min(batches).max(1);
    let is_shared = longest > shared_from(plan.max_tokens);
    let working = if is_shared {
        job.compute.threads as u64
    } else {
        busy
    };
    let together = plan.cost.passes(busy, batch, longest);
    let budget = memory_for_passes(plan, Some(scan)).unwrap_or(u64::MAX);
    plan.model
        .bytes_with(busy, is_shared)
        .saturating_add(plan.cost.kept(working, batch))
        .saturating_add(together.min(budget))
}
