//! What a job would do: records, tokens, memory, bytes on disk, time.

use super::job::Job;
use super::pace;
use super::plan::Plan;
use super::room::Bytes;
use super::scan::Scan;
use super::shard::Shard;
use crate::checkpoint::Checkpoint;
use crate::output::{HEADER_BYTES, Residues, free_bytes};
use anyhow::{Result, bail};
use std::fmt;
use std::time::Duration;

/// What a run would do.
#[derive(Clone, Debug)]
pub struct Forecast {
    model: String,
    out: String,
    layers: Vec<usize>,
    shard: Option<Shard>,
    scan: Scan,
    files: u64,
    disk: u64,
    free: Option<u64>,
    memory: u64,
    threads: usize,
    time: Duration,
}

impl Forecast {
    /// Runs one block of the model for a moment.
    ///
    /// # Errors
    /// A checkpoint that is damaged where that is looked at.
    pub(super) fn new(
        job: &Job,
        plan: &Plan,
        checkpoint: &Checkpoint,
        scan: &Scan,
    ) -> Result<Forecast> {
        Ok(Forecast {
            model: job.model.asked.clone(),
            out: job.out.display().to_string(),
            shard: job.shard,
            layers: plan.layout.layers.clone(),
            files: files(plan, scan),
            disk: disk(plan, scan, job.shard.is_some()),
            free: free_bytes(&job.out),
            memory: memory(job, plan, scan),
            threads: job.threads,
            time: pace::forecast(job, plan, checkpoint, scan)?,
            scan: scan.clone(),
        })
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<String> = self.layers.iter().map(usize::to_string).collect();
        writeln!(f, "model         {}", self.model)?;
        writeln!(f, "layers        {}", layers.join(", "))?;
        writeln!(f, "output        {} ({} files)", self.out, self.files)?;
        if let Some(shard) = self.shard {
            writeln!(f, "shard         {} of {}", shard.number, shard.of)?;
        }
        writeln!(f, "records       {}", self.scan.records)?;
        writeln!(f, "skipped       {}", self.scan.skipped)?;
        writeln!(f, "residues      {}", self.scan.residues)?;
        writeln!(f, "tokens        {}", self.scan.tokens)?;
        writeln!(f, "padding       0 (batches are packed)")?;
        writeln!(f, "longest       {} tokens", self.scan.longest)?;
        writeln!(f, "memory        {} at most, about", Bytes(self.memory))?;
        write!(f, "disk          {}", Bytes(self.disk))?;
        match self.free {
            Some(free) => writeln!(f, " ({} free)", Bytes(free))?,
            None => writeln!(f)?,
        }
        let threads = if self.threads == 1 {
            "thread"
        } else {
            "threads"
        };
        writeln!(
            f,
            "time          {:.0} s, about, on {} {threads}",
            self.time.as_secs_f64().max(1.0),
            self.threads
        )
    }
}

/// Refuses a run whose files would not fit on the disk; `held` bytes of them are there already.
///
/// # Errors
/// Less room than the matrices take.
pub(super) fn check_space(job: &Job, plan: &Plan, scan: &Scan, held: u64) -> Result<()> {
    let wanted = disk(plan, scan, job.shard.is_some()).saturating_sub(held);
    if let Some(free) = free_bytes(&job.out)
        && free < wanted
    {
        bail!(
            "{}: the output takes {}, but only {} are free there; choose another folder with \
             --out, fewer layers, --residues none or --out-dtype f16",
            job.out.display(),
            Bytes(wanted),
            Bytes(free)
        );
    }
    Ok(())
}

fn files(plan: &Plan, scan: &Scan) -> u64 {
    let layers = plan.layout.layers.len() as u64;
    let residues = match plan.layout.residues {
        Residues::None => 0,
        Residues::Packed => layers,
        Residues::Files => layers * (scan.records + 1),
    };
    let ids = u64::from(scan.ids.bytes().is_ok());
    layers * plan.layout.pools.len() as u64 + residues + 2 + ids + u64::from(scan.skipped > 0)
}

/// Bytes of the files of a run.
pub(super) fn disk(plan: &Plan, scan: &Scan, is_shard: bool) -> u64 {
    let layout = &plan.layout;
    let row = layout.row_bytes();
    let layers = plan.layout.layers.len() as u64;
    let pooled = plan.layout.pools.len() as u64 * scan.records;
    let residues = match plan.layout.residues {
        Residues::None => 0,
        Residues::Packed | Residues::Files => scan.residues,
    };
    let lists = layers * layout.checksum_files().len().min(1) as u64;
    // Lines of the index: numbers, tabs and the header. Names of files repeat the identifier, and
    // a checksum has 64 digits.
    let lines = 24 * scan.records + scan.headers;
    let named = scan.records * 120 + scan.headers;
    let shard = u64::from(is_shard) * 44 * (scan.records + scan.skipped);
    layers * (pooled + residues) * row
        + files(plan, scan) * HEADER_BYTES as u64
        + lines
        + scan.ids.bytes().unwrap_or(0)
        + lists * named
        + shard
}

/// The largest amount of memory that is in use at any time.
pub(super) fn memory(job: &Job, plan: &Plan, scan: &Scan) -> u64 {
    if plan.device.is_cuda() {
        // Rows on their way from the card.
        let row = plan.layout.dim as u64 * 4;
        let lanes = (plan.device.lanes(job.threads) * plan.device.cards.len()) as u64;
        let rows = row * plan.max_tokens.max(scan.longest) as u64;
        return plan.fixed + lanes * rows.max(crate::device::PINNED);
    }
    let tokens = usize::try_from(scan.tokens).unwrap_or(usize::MAX);
    let batch = plan.max_tokens.min(tokens).max(scan.longest);
    let busy = (job.threads as u64).min(scan.passes.max(1));
    let together = plan.cost.passes(busy, batch, scan.longest);
    let room = plan.policy.room.map_or(u64::MAX, |room| room.bytes);
    plan.fixed
        .saturating_add(plan.cost.kept(batch))
        .saturating_add(together.min(room))
}
