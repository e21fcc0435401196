//! What a job comes to with this model on this machine: everything that is decided before any work.

pub mod batches;
pub mod forecast;
pub mod resources;
mod throughput;

use crate::admission::{Admission, MemoryBudget, ModelMemory, PassCost, PassLimits, Policy};
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::device::{Device, DeviceChoice, DeviceError, Dtype};
use crate::embedder;
use crate::memory::MemoryLimit;
use crate::model::{LmHead, PassMemory};
use crate::output::{Include, Layout, Residues, State};
use crate::pipeline::input::rules::Rules;
use crate::pipeline::job::{Caches, ComputeOptions, Job, Layers, OutputOptions, SequenceOptions};
use crate::product::{ModelShape, Product, Request};
use anyhow::{Context, Result, bail};

/// Tokens of a batch on the CPU by default: enough rows to use every weight well, few enough that
/// activations stay small.
const CPU_TOKENS: usize = 1024;
/// The same on a GPU, whose matrix products always have this many rows.
const GPU_TOKENS: usize = 16_384;

/// What a job comes to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Files and rows; the indices of the layers ascend.
    pub layout: Layout,
    /// Transformer blocks of the model.
    model_layers: usize,
    /// What a sequence has to pass.
    pub admission: Admission,
    /// Where to compute.
    pub device: Device,
    /// Whether a GPU was planned first and could not be used.
    pub gpu_failed: bool,
    /// Number format of the computation.
    pub dtype: Dtype,
    /// Tokens of one batch, unless it holds a single longer sequence.
    pub max_tokens: usize,
    /// Memory that the run takes whatever its records are.
    pub model: ModelMemory,
    /// Bytes that its forward passes take.
    pub cost: PassCost,
}

impl Plan {
    /// Resolves a job. `no_gpu` says why the GPU that `auto` chose before cannot be used.
    ///
    /// # Errors
    /// A layer that the model does not have, a policy that it cannot follow, a device that is not
    /// available, or nothing to write.
    pub fn new(
        job: &Job,
        caches: &Caches,
        checkpoint: &Checkpoint,
        no_gpu: Option<&str>,
    ) -> Result<Plan> {
        let config = checkpoint.config();
        let device = device(job, caches, no_gpu)?;
        let OutputOptions {
            pools,
            residues,
            include,
            ..
        } = &job.output;
        if pools.is_empty() && *residues == Residues::None && include.is_empty() {
            bail!(
                "nothing would be written\n\
                 hint: choose a `pool`, use `residues=packed` or `residues=files`, or `include=logits`"
            );
        }
        if include.contains(&Product::Logits) {
            checkpoint.lm_head()?;
        }
        let layers = layers(&job.output.layers, config)?;
        let dtype = job.compute.dtype.unwrap_or(device.usual_dtype());
        let (model, cost) = needs(job, config, &device, dtype, &layers);
        let memory = match MemoryLimit::here() {
            Some(limit) if !device.is_gpu() => Some(
                MemoryBudget::new(limit, &model, cost, job.compute.max_tokens.is_none())
                    .with_context(|| job.model.asked.clone())?,
            ),
            _ => None,
        };
        let cost = memory.map_or(cost, |budget| budget.cost);
        let SequenceOptions {
            long,
            unknown,
            gaps,
            ..
        } = job.sequences;
        Ok(Plan {
            layout: Layout {
                layers,
                pools: pools.clone(),
                residues: *residues,
                dtype: job.output.dtype,
                dim: config.dim,
                include: included(include, config),
            },
            model_layers: config.layers,
            admission: Admission {
                policy: Policy::new(config, unknown, gaps, long)?,
                memory,
            },
            device,
            gpu_failed: no_gpu.is_some(),
            dtype,
            max_tokens: cost.max_tokens(),
            model,
            cost,
        })
    }

    /// How records are judged, in a run that finds this in its output folder.
    pub fn rules(&self, job: &Job, state: &State) -> Rules {
        let left_out_beyond = match state {
            State::Interrupted(before) => before.longest,
            State::Fresh | State::Sealed(_) | State::Complete(_) => None,
        };
        Rules {
            admission: self.admission,
            on_invalid: job.sequences.on_invalid,
            left_out_beyond: left_out_beyond.and_then(|residues| residues.try_into().ok()),
        }
    }

    /// What is computed for each record.
    pub fn request(&self) -> Request {
        let arrays = self.layout.arrays().into_iter();
        Request::new(arrays.map(|array| array.product), self.layout.dtype)
    }

    /// The highest representation that is computed.
    pub fn top(&self) -> usize {
        self.request().top_layer(self.model_layers)
    }

    /// Whether logits are written.
    pub fn has_logits(&self) -> bool {
        self.layout.include.products.contains(&Product::Logits)
    }
}

/// What the folder records of included products.
fn included(products: &[Product], config: &EsmConfig) -> Include {
    match products {
        [] => Include::default(),
        products => Include::new(
            products.to_vec(),
            &ModelShape {
                dim: config.dim,
                vocab: LmHead::TOKENS,
                layers: config.layers,
                heads: Some(config.heads),
            },
        ),
    }
}

fn device(job: &Job, caches: &Caches, no_gpu: Option<&str>) -> Result<Device, DeviceError> {
    let choice = match (&job.compute.device, no_gpu) {
        (DeviceChoice::Auto, Some(_)) => &DeviceChoice::Cpu,
        (choice, _) => choice,
    };
    let found = embedder::resolve(choice, job.compute.cpu_path, job.compute.dtype)?;
    Ok(Device {
        tested: caches.self_tests.clone(),
        why_cpu: found.why_cpu.or_else(|| no_gpu.map(str::to_owned)),
        ..found
    })
}

/// Memory that the model and its forward passes need.
fn needs(
    job: &Job,
    config: &EsmConfig,
    device: &Device,
    dtype: Dtype,
    layers: &[usize],
) -> (ModelMemory, PassCost) {
    let ComputeOptions {
        threads,
        max_tokens,
        deterministic,
        ..
    } = job.compute;
    // On a GPU, weights and passes are in its own memory, which the engine checks.
    let has_logits = job.output.include.contains(&Product::Logits);
    let (top, usual_tokens) = match device.is_gpu() {
        true => (0, GPU_TOKENS),
        false if has_logits => (config.layers, CPU_TOKENS),
        false => (layers.last().copied().unwrap_or(0), CPU_TOKENS),
    };
    let limits = PassLimits {
        max_tokens: max_tokens.unwrap_or(usual_tokens),
        threads,
        one_each: deterministic,
    };
    let weight_type = dtype.weight_type();
    let memory = PassMemory::new(config, device.path, weight_type);
    let model = ModelMemory::new(config, top, weight_type, threads);
    let cost = PassCost::new(config, memory, layers.len(), limits);
    (
        match has_logits {
            true => model.with_lm_head(config),
            false => model,
        },
        match has_logits {
            true => cost.with_logits(),
            false => cost,
        },
    )
}

/// Layers as asked → their indices, ascending, each once.
fn layers(asked: &[Layers], config: &EsmConfig) -> Result<Vec<usize>> {
    if asked.is_empty() {
        return Ok(vec![config.layers]);
    }
    let index = |part: &Layers, layer| {
        config.layer_index(layer).with_context(|| {
            format!(
                "`layer={part}`: this model has layers 0 to {} (or -{} to -1, counted from the end)",
                config.layers,
                config.layers + 1
            )
        })
    };
    let mut layers = Vec::new();
    for part in asked {
        let (first, last) = match *part {
            Layers::One(layer) => (layer, layer),
            Layers::Span(first, last) => (first, last),
        };
        let (first, last) = (index(part, first)?, index(part, last)?);
        if first > last {
            bail!(
                "`layer={part}`: layer {first} comes after layer {last}\nhint: write the lower one first"
            );
        }
        layers.extend(first..=last);
    }
    layers.sort_unstable();
    layers.dedup();
    Ok(layers)
}
