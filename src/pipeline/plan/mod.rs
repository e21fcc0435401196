//! A job held against a checkpoint and a machine: everything that is decided before any work.

pub mod forecast;
mod gpu_throughput;
mod probe;
mod samples;
mod speeds;
pub mod throughput;

use crate::admission::Long;
use crate::admission::memory_budget::{self, MemoryBudget, PassCost};
use crate::admission::prepare::Policy;
use crate::checkpoint::{Checkpoint, EsmConfig, Positions};
use crate::device::{Device, DeviceChoice, Dtype};
use crate::model::PassMemory;
use crate::output::{Layout, Residues};
use crate::pipeline::job::{Caches, Job, Layers};
use anyhow::{Context, Result, bail};

/// Tokens of a batch on the CPU when nothing is asked: enough rows to use every weight well,
/// few enough that activations stay small.
const CPU_TOKENS: usize = 1024;
/// The same on a card, whose products always have so many rows.
const CUDA_TOKENS: usize = 16_384;

/// What a job comes to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Files and rows; layers resolved, ascending, each once.
    pub layout: Layout,
    /// How sequences are treated.
    pub policy: Policy,
    /// Where to compute.
    pub device: Device,
    /// Number format of the computation.
    pub dtype: Dtype,
    /// Tokens of one batch at most.
    pub max_tokens: usize,
    /// Bytes that the run takes whatever its records are.
    pub fixed: u64,
    /// Bytes that its forward passes take.
    pub cost: PassCost,
}

impl Plan {
    /// # Errors
    /// A layer that the model does not have, a policy that it cannot follow, a device that
    /// cannot be had, or nothing to write.
    pub fn new(
        job: &Job,
        caches: &Caches,
        checkpoint: &Checkpoint,
        no_gpu: Option<&str>,
    ) -> Result<Plan> {
        let config = checkpoint.config();
        let choice = match (&job.compute.device, no_gpu) {
            (DeviceChoice::Auto, Some(_)) => &DeviceChoice::Cpu,
            (choice, _) => choice,
        };
        let found = Device::resolve(choice, job.compute.cpu_path, job.compute.dtype)?;
        let device = Device {
            tested: caches.self_tests.clone(),
            why_cpu: found.why_cpu.or_else(|| no_gpu.map(str::to_owned)),
            ..found
        };
        if job.output.pools.is_empty() && job.output.residues == Residues::None {
            bail!("nothing would be written: choose a --pool, or --residues packed or files");
        }
        let layers = layers(&job.output.layers, config)?;
        let dtype = job.compute.dtype.unwrap_or(device.usual_dtype());
        let max_tokens = job.compute.max_tokens.unwrap_or(match device.is_cuda() {
            true => CUDA_TOKENS,
            false => CPU_TOKENS,
        });
        // On a card the weights and passes are its own: it says so itself when it has no memory.
        let top = match device.is_cuda() {
            true => 0,
            false => layers.last().copied().unwrap_or(0),
        };
        let fixed = memory_budget::fixed(job, top, dtype, config);
        let memory = PassMemory::new(config, device.path, dtype.weight_type());
        let cost = PassCost::new(job, config, memory, layers.len(), max_tokens);
        let room = match device.is_cuda() {
            true => None,
            false => MemoryBudget::new(job, fixed, cost)?,
        };
        let cost = room.map_or(cost, |room| room.cost);
        Ok(Plan {
            layout: Layout {
                layers,
                pools: job.output.pools.clone(),
                residues: job.output.residues,
                dtype: job.output.dtype,
                dim: config.dim,
            },
            policy: policy(job, config, room)?,
            device,
            dtype,
            max_tokens: cost.max_tokens(),
            fixed,
            cost,
        })
    }

    /// The highest representation that is written.
    pub fn top(&self) -> usize {
        self.layout.layers.last().copied().unwrap_or(0)
    }
}

/// Representation indices, ascending, each once; the last one if none is asked for.
fn layers(asked: &[Layers], config: &EsmConfig) -> Result<Vec<usize>> {
    let last = config.layers;
    if asked.is_empty() {
        return Ok(vec![last]);
    }
    let index = |layers: &Layers, layer: i64| {
        let index = match layer {
            ..0 => layer.saturating_add(last as i64 + 1),
            0.. => layer,
        };
        usize::try_from(index)
            .ok()
            .filter(|&index| index <= last)
            .with_context(|| {
                format!(
                    "--layer {layers}: this model has layers 0 to {last} (or -{} to -1, counted \
                     from the end)",
                    last + 1
                )
            })
    };
    let mut layers = Vec::new();
    for part in asked {
        let (first, end) = match *part {
            Layers::One(layer) => (layer, layer),
            Layers::Span(first, end) => (first, end),
        };
        let (first, end) = (index(part, first)?, index(part, end)?);
        if first > end {
            bail!(
                "--layer {part}: layer {first} comes after layer {end}; write the lower one first"
            );
        }
        layers.extend(first..=end);
    }
    layers.sort_unstable();
    layers.dedup();
    Ok(layers)
}

fn policy(job: &Job, config: &EsmConfig, room: Option<MemoryBudget>) -> Result<Policy> {
    let most = match config.positions {
        Positions::Rotary => None,
        // Rows 0 and 1 are not used, and <cls> and <eos> take a position each.
        Positions::Learned { rows } => Some(rows.saturating_sub(4)),
    };
    let long = job.sequences.long.unwrap_or(match most {
        None => Long::Full,
        Some(_) => Long::Error,
    });
    let size = match long {
        Long::Truncate(size) | Long::Window { size, .. } => Some(size),
        Long::Full | Long::Error => None,
    };
    if let (Some(size), Some(most)) = (size, most)
        && size > most
    {
        bail!("--long {long}: this model's learned positions can do {most} residues at most");
    }
    Ok(Policy {
        unknown: job.sequences.unknown,
        gaps: job.sequences.gaps,
        long,
        most,
        room,
        agreed: None,
    })
}
