//! What a job comes to with this model on this machine: everything that is decided before any work.

pub mod batches;
pub mod forecast;
mod maps;
pub mod resources;
mod tables;
mod throughput;

use crate::admission::{Admission, MemoryBudget, ModelMemory, PassCost, PassLimits, Policy};
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::device::{Device, DeviceChoice, Dtype};
use crate::embedder;
use crate::memory::MemoryLimit;
use crate::model::PassMemory;
use crate::output::{Include, Layout, Residues, State};
use crate::pipeline::input::rules::Rules;
use crate::pipeline::job::{Caches, ComputeOptions, Job, Layers, OutputOptions, SequenceOptions};
use crate::product::{AttentionMaps, ModelShape, Product, Request};
use anyhow::{Context, Result, bail};
use tables::Tables;

/// Tokens of a batch on the CPU by default: enough rows to use every weight well, few enough that
/// activations stay small.
pub const CPU_TOKENS: usize = 1024;
/// The same on a GPU, whose matrix products always have this many rows.
pub const GPU_TOKENS: usize = 16_384;

/// What a job comes to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Files and rows; the indices of the layers ascend.
    pub layout: Layout,
    /// The attention maps that are written, if they are.
    pub maps: AttentionMaps,
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
    /// What it remembers of its records.
    pub tables: Tables,
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
            stack_layers,
            ..
        } = &job.output;
        let stacked = pools.iter().filter(|_| *stack_layers);
        let stacked = stacked.map(|&pool| Product::Stacked { pool });
        let include: Vec<Product> = stacked.chain(include.iter().copied()).collect();
        if pools.is_empty() && *residues == Residues::None && include.is_empty() {
            bail!(
                "nothing would be written\n\
                 hint: choose a `pool`, use `residues=packed` or `residues=files`, or `include`"
            );
        }
        if include.contains(&Product::Logits) {
            checkpoint.lm_head()?;
        }
        let SequenceOptions {
            long,
            unknown,
            gaps,
            ..
        } = job.sequences;
        let policy = Policy::new(config, unknown, gaps, long)?;
        maps::check(job, checkpoint, policy.long)?;
        let maps = maps::resolve(job, config)?;
        let layout = Layout {
            layers: layers(&job.output.layers, config)?,
            pools: match stack_layers {
                true => Vec::new(),
                false => pools.clone(),
            },
            residues: *residues,
            dtype: job.output.dtype,
            dim: config.dim,
            include: included(&include, config, &maps),
        };
        let dtype = job.compute.dtype.unwrap_or(device.usual_dtype());
        let top = request(&layout, &maps).top_layer(config.layers);
        let (model, cost) = needs(job, config, &device, dtype, &layout.layers, top);
        let tables = Tables::new(job, &layout);
        let may_shrink = job.compute.max_tokens.is_none();
        let memory = match MemoryLimit::here() {
            Some(limit) if !device.is_gpu() => Some(
                MemoryBudget::new(limit, &model, tables.expected(), cost, may_shrink)
                    .with_context(|| job.model.asked.clone())?,
            ),
            _ => None,
        };
        let cost = memory.map_or(cost, |budget| budget.cost);
        Ok(Plan {
            model_layers: config.layers,
            admission: Admission {
                policy,
                memory,
                maps: maps::limit(job, config, &maps),
            },
            layout,
            maps,
            device,
            gpu_failed: no_gpu.is_some(),
            dtype,
            max_tokens: cost.max_tokens(),
            model,
            tables,
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
        request(&self.layout, &self.maps)
    }

    /// The highest representation that is computed.
    pub fn top(&self) -> usize {
        self.request().top_layer(self.model_layers)
    }

    /// Whether a product that does not belong to one layer is written.
    pub fn has(&self, product: Product) -> bool {
        self.layout.include.products.contains(&product)
    }
}

fn request(layout: &Layout, maps: &AttentionMaps) -> Request {
    let products = layout
        .arrays()
        .into_iter()
        .flat_map(|array| match array.product {
            Product::Stacked { pool } => {
                let layers = layout.layers.iter();
                let rows = layers.map(|&layer| Product::Pooled { layer, pool });
                rows.collect()
            }
            product => vec![product],
        });
    Request::new(products, layout.dtype).with_maps(maps.clone())
}

/// What the folder records of included products.
fn included(products: &[Product], config: &EsmConfig, maps: &AttentionMaps) -> Include {
    match products {
        [] => Include::default(),
        products => Include::new(
            products.to_vec(),
            &ModelShape {
                dim: config.dim,
                vocab: config.logits(),
                layers: maps.layers.len(),
                heads: maps.heads.stored(config.heads),
                stacked: 0,
            },
        ),
    }
}

fn device(job: &Job, caches: &Caches, no_gpu: Option<&str>) -> Result<Device> {
    let of_maps = maps::device(&job.compute.device, maps::are_wanted(job))?;
    let (choice, no_gpu) = match (&job.compute.device, no_gpu, &of_maps) {
        (_, _, Some((choice, why))) => (choice, Some(*why)),
        (DeviceChoice::Auto, Some(why), None) => (&DeviceChoice::Cpu, Some(why)),
        (choice, why, None) => (choice, why),
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
    top: usize,
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
        false => (top, CPU_TOKENS),
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
    let cost = cost.with_maps(maps::cost(job, config));
    (
        match has_logits {
            true => model.with_lm_head(config),
            false => model,
        },
        match has_logits {
            true => cost.with_logits(config),
            false => cost,
        },
    )
}

/// Layers as asked → their indices, ascending, each once.
///
/// # Errors
/// A layer that the model does not have.
pub fn layers(asked: &[Layers], config: &EsmConfig) -> Result<Vec<usize>> {
    if asked.is_empty() {
        return Ok(vec![config.layers]);
    }
    let index = |layer| config.layer_index(layer);
    let which = format!(
        "this model has layers 0 to {} (or -{} to -1, counted from the end)",
        config.layers,
        config.layers + 1
    );
    layer_indices("layer", asked, index, &which)
}

/// The indices of the layers that a setting names, ascending, each once. `which` says which there
/// are.
fn layer_indices(
    setting: &str,
    asked: &[Layers],
    index: impl Fn(i64) -> Option<usize>,
    which: &str,
) -> Result<Vec<usize>> {
    let mut layers = Vec::new();
    for part in asked {
        let (first, last) = match *part {
            Layers::One(layer) => (layer, layer),
            Layers::Span(first, last) => (first, last),
        };
        let wrong = || format!("`{setting}={part}`: {which}");
        let first = index(first).with_context(wrong)?;
        let last = index(last).with_context(wrong)?;
        if first > last {
            bail!(
                "`{setting}={part}`: layer {first} comes after layer {last}\n\
                 hint: write the lower one first"
            );
        }
        layers.extend(first..=last);
    }
    layers.sort_unstable();
    layers.dedup();
    Ok(layers)
}
