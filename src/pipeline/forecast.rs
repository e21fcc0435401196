//! What a job would do: records, tokens, memory, bytes on disk, time.

use super::job::Job;
use super::plan::Plan;
use super::scan::Scan;
use super::shard::Shard;
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::device::Dtype;
use crate::ops::{Linear, WeightType};
use crate::output::{HEADER_BYTES, Residues, free_bytes};
use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, Instant};

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
    pub(super) fn new(job: &Job, plan: &Plan, checkpoint: &Checkpoint, scan: &Scan) -> Forecast {
        let config = checkpoint.config();
        Forecast {
            model: job.model.asked.clone(),
            out: job.out.display().to_string(),
            shard: job.shard,
            layers: plan.layout.layers.clone(),
            files: files(plan, scan),
            disk: disk(plan, scan),
            free: free_bytes(&job.out),
            memory: memory(job, plan, config, scan),
            threads: job.threads,
            time: time(job, plan, config, scan),
            scan: scan.clone(),
        }
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
        writeln!(f, "memory        {} at most, about", bytes(self.memory))?;
        write!(f, "disk          {}", bytes(self.disk))?;
        match self.free {
            Some(free) => writeln!(f, " ({} free)", bytes(free))?,
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

/// Refuses a run whose files would not fit on the disk.
///
/// # Errors
/// Less room than the matrices take.
pub(super) fn check_space(job: &Job, plan: &Plan, scan: &Scan) -> Result<()> {
    let wanted = disk(plan, scan);
    if let Some(free) = free_bytes(&job.out)
        && free < wanted
    {
        bail!(
            "{}: the output takes {}, but only {} are free there; choose another folder with \
             --out, fewer layers, --residues none or --out-dtype f16",
            job.out.display(),
            bytes(wanted),
            bytes(free)
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
    layers * plan.layout.pools.len() as u64 + residues + 2 + u64::from(scan.skipped > 0)
}

fn disk(plan: &Plan, scan: &Scan) -> u64 {
    let row = plan.layout.row_bytes();
    let layers = plan.layout.layers.len() as u64;
    let pooled = plan.layout.pools.len() as u64 * scan.records;
    let residues = match plan.layout.residues {
        Residues::None => 0,
        Residues::Packed | Residues::Files => scan.residues,
    };
    let index: u64 = scan.sources.iter().map(|s| s.digest.bytes).sum::<u64>() - scan.residues
        + 16 * scan.records;
    layers * (pooled + residues) * row + files(plan, scan) * HEADER_BYTES as u64 + index
}

fn block_weights(config: &EsmConfig) -> u64 {
    (4 * config.dim * config.dim + 2 * config.dim * config.intermediate) as u64
}

fn memory(job: &Job, plan: &Plan, config: &EsmConfig, scan: &Scan) -> u64 {
    let dim = config.dim as u64;
    let weight = if plan.dtype == Dtype::F32 { 4 } else { 2 };
    let weights = plan.top() as u64 * block_weights(config) * weight;
    let table = config.vocab as u64 * dim * 4;
    // Rows of one batch: residual stream twice, its norm, q, k, v, attention and the copy that
    // is written; the feed-forward network works on 4,096 rows at most.
    let batch = plan.max_tokens.min(scan.tokens as usize).max(scan.longest) as u64;
    let stream = batch * dim * 4 * 8;
    let inner = batch.min(4096) * config.intermediate as u64 * 4;
    let attention = scan.longest as u64 * (2 * config.head_dim() as u64 + 48) * 4;
    let workers = job.threads as u64 * (stream + inner + attention + (1 << 20));
    weights + table + workers + (32 << 20)
}

/// From the speed of the model's own largest product on this machine, measured for a moment.
fn time(job: &Job, plan: &Plan, config: &EsmConfig, scan: &Scan) -> Duration {
    let linear = 2.0 * block_weights(config) as f64 * scan.tokens as f64;
    let attention = 4.0 * config.dim as f64 * scan.squares;
    let Some(speed) = calibrate(plan, config) else {
        return Duration::ZERO;
    };
    // Attention and what stands between the products run at a fraction of their speed.
    let work = plan.top() as f64 * (1.1 * linear + 2.0 * attention);
    let threads = job.threads.min(crate::device::available_threads()) as f64;
    Duration::try_from_secs_f64(work / speed / threads).unwrap_or(Duration::MAX)
}

/// Floating-point operations a second of one thread in the product `D → 4D`.
fn calibrate(plan: &Plan, config: &EsmConfig) -> Option<f64> {
    const ROWS: usize = 512;
    let (inputs, outputs) = (config.dim, config.intermediate);
    let bias = vec![0.0; outputs];
    let fill = |_: usize, row: &mut [f32]| -> Result<(), Infallible> {
        row.fill(0.01);
        Ok(())
    };
    let layer = Linear::pack(
        plan.device.path,
        WeightType::F32,
        inputs,
        outputs,
        &bias,
        fill,
    );
    let Ok(layer) = layer;
    let x = Tensor::from_vec(vec![0.5f32; ROWS * inputs], (ROWS, inputs), &Device::Cpu).ok()?;
    let mut best = f64::INFINITY;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) || best.is_infinite() {
        let once = Instant::now();
        x.apply_op1_no_bwd(&&layer).ok()?;
        best = best.min(once.elapsed().as_secs_f64());
    }
    Some(2.0 * (ROWS * inputs * outputs) as f64 / best.max(1e-9))
}

/// A size for people.
fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = n as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_for_people() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
    }
}
