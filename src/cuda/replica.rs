//! The model on one GPU.

use super::blaslt::{self, Blas};
use super::choice::{self, Choice};
use super::error::{CudaError, While};
use super::gpu::{OpenGpu, check_environment};
use super::kernels::ModelKernels;
use super::linear_layer::{By, LinearLayer};
use super::lm_head::GpuHead;
use super::load::{Linear, Loader, Weights};
use super::matmul::{Algorithm, Matmul};
use super::own_choice::{self, Trial};
use super::own_matmul::Role;
use super::tested::Tests;
use crate::checkpoint::{Checkpoint, InvFreqSource};
use crate::device::{self, Dtype, Tested};
use crate::ops::Activation;
use std::collections::BTreeMap;

/// Shapes of weights in a block.
pub(super) const PRODUCTS: usize = 4;

/// The linear layers of a block, which all blocks share.
pub(super) struct Layers {
    pub(super) qkv: LinearLayer,
    pub(super) out: LinearLayer,
    pub(super) fc1: LinearLayer,
    pub(super) fc2: LinearLayer,
}

impl Layers {
    /// For a width, a feed-forward width and a width of heads, and what is between the feed-forward layers.
    pub(super) fn new(
        gpu: &OpenGpu,
        kernels: &ModelKernels,
        dtype: Dtype,
        [dim, inside, head_dim]: [usize; 3],
        activation: Activation,
    ) -> Result<Layers, CudaError> {
        let layer =
            |role, outputs, inputs| LinearLayer::new(gpu, kernels, dtype, role, outputs, inputs);
        Ok(Layers {
            qkv: layer(Role::Qkv { head_dim }, 3 * dim, dim)?,
            out: layer(Role::Outer, dim, dim)?,
            fc1: match activation {
                Activation::Gelu => layer(Role::Inner, inside, dim)?,
                Activation::SwiGlu => layer(Role::Gated, 2 * inside, dim)?,
            },
            fc2: layer(Role::Outer, dim, inside)?,
        })
    }

    /// Chooses what computes each layer, and how.
    pub(super) fn choose(&mut self, trial: Trial<'_>) -> Result<Vec<Choice>, CudaError> {
        let layers = self.all_mut().into_iter().zip(trial.block.linears());
        layers
            .map(|(layer, linear)| choose(trial, layer, linear))
            .collect()
    }

    /// Times the algorithms that had no rival.
    pub(super) fn time_single(
        &mut self,
        trial: Trial<'_>,
        choices: &mut [Choice],
    ) -> Result<(), CudaError> {
        let layers = self.all_mut().into_iter().zip(trial.block.linears());
        for ((layer, linear), choice) in layers.zip(choices) {
            if let (Some(matmul), Some(blas)) = (&mut layer.matmul, &trial.gpu.blas) {
                let weights = &linear.weight;
                choice::time_single(trial.gpu, blas, trial.dtype, matmul, weights, choice)?;
            }
        }
        Ok(())
    }

    pub(super) fn all(&self) -> [&LinearLayer; PRODUCTS] {
        [&self.qkv, &self.out, &self.fc1, &self.fc2]
    }

    fn all_mut(&mut self) -> [&mut LinearLayer; PRODUCTS] {
        [&mut self.qkv, &mut self.out, &mut self.fc1, &mut self.fc2]
    }

    /// The algorithm of each shape of weights, for `run.json`.
    pub(super) fn describe(&self) -> BTreeMap<String, Option<String>> {
        let each = self.all().map(|layer| {
            let shape = format!("{} x {}", layer.outputs, layer.inputs);
            (shape, layer.describe())
        });
        each.into()
    }

    /// The same algorithms with their `choices`, a line for each.
    pub(super) fn describe_choices(&self, choices: &[Choice]) -> Vec<String> {
        let all = self.all().into_iter().zip(choices);
        let all = all.map(|(layer, choice)| {
            format!(
                "algorithms for weights of {} × {}: {choice}; used: {}",
                layer.outputs,
                layer.inputs,
                layer.describe().unwrap_or_default()
            )
        });
        all.collect()
    }

    /// The same algorithms, as text that is equal if they are.
    pub(super) fn numbers(&self) -> String {
        self.all().map(LinearLayer::numbers).join(" ")
    }
}

/// What is loaded of a model, and how it is computed.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) dtype: Dtype,
    /// The highest representation that passes will compute.
    pub(super) top: usize,
    /// Threads that read weights.
    pub(super) threads: usize,
    /// Where passed self-tests are remembered.
    pub(super) tested: &'a Tested,
}

/// A model on one GPU.
pub(super) struct Replica {
    pub(super) gpu: OpenGpu,
    pub(super) weights: Weights,
    pub(super) layers: Layers,
    pub(super) kernels: ModelKernels,
    /// The language-model head, if it is loaded.
    pub(super) head: Option<GpuHead>,
    dtype: Dtype,
    /// Self-tests that a GPU of this kind has passed.
    pub(super) tests: Tests,
    /// How the algorithms of the products were chosen.
    choices: Vec<Choice>,
}

impl Replica {
    pub(super) fn load(
        wanted: Wanted<'_>,
        about: &device::Gpu,
    ) -> Result<(Replica, Option<InvFreqSource>), CudaError> {
        let Wanted {
            checkpoint,
            dtype,
            top,
            threads,
            tested,
        } = wanted;
        let config = checkpoint.config();
        let (dim, inside) = (config.dim, config.intermediate);
        about.check(dtype)?;
        let gpu = OpenGpu::open(about)?;
        match (&gpu.blas, dtype) {
            (Some(_), _) => check_environment(dtype)?,
            (None, Dtype::Tf32) => return Err(CudaError::NoTf32(blaslt::why_missing())),
            (None, _) => {}
        }
        let head_dim = config.head_dim();
        let kernels = gpu.kernels.of(dtype, dim, head_dim)?;
        let version = gpu.blas.as_ref().map(Blas::version);
        let tests = Tests::new(tested, about, dtype, version);
        let (weights, inv_freq) = Loader {
            checkpoint,
            gpu: &gpu,
            dtype,
            top,
            threads,
        }
        .load()?;
        let mut layers = Layers::new(
            &gpu,
            &kernels,
            dtype,
            [dim, inside, head_dim],
            config.activation,
        )?;
        let mut choices = Vec::new();
        if let Some(block) = weights.blocks.first() {
            let table = block.rotary.and_then(|number| weights.rotary.get(number));
            let table = table.map(|rotary| rotary.table(&gpu, 1)).transpose()?;
            let trial = Trial {
                gpu: &gpu,
                kernels: &kernels,
                dtype,
                block,
                table: table.as_deref(),
                dim,
                eps: config.layer_norm_eps,
                tests: &tests,
            };
            choices = layers.choose(trial)?;
        }
        let replica = Replica {
            gpu,
            weights,
            layers,
            kernels,
            head: None,
            dtype,
            tests,
            choices,
        };
        Ok((replica, inv_freq))
    }

    /// What computes each product, by the shape of its weights, for `run.json`.
    pub(super) fn algorithms_for_record(&self) -> BTreeMap<String, Option<String>> {
        let mut all = self.layers.describe();
        all.extend(self.head.as_ref().map(GpuHead::describe));
        all
    }

    /// Whether every product gives a row the same bits at every place.
    pub(super) fn has_same_bits(&self) -> bool {
        self.choices.iter().all(|choice| choice.same_bits)
    }

    /// How the algorithms were chosen, and which they are, for people.
    pub(super) fn describe_choices(&self) -> Vec<String> {
        self.layers.describe_choices(&self.choices)
    }

    /// Whether products smaller than a slab gave a row other bits.
    pub(super) fn is_in_slabs_only(&self) -> bool {
        let all = self.layers.all();
        all.into_iter().any(LinearLayer::is_in_slabs_only)
    }

    /// The heights of the products for a batch of `tokens` tokens.
    pub(super) fn pieces(&self, tokens: usize) -> Vec<usize> {
        let heights = &self.gpu.heights;
        let is_own = |layer: &LinearLayer| layer.by == By::Own;
        match self.is_in_slabs_only() {
            true => heights.slabs(tokens),
            false if self.layers.all().into_iter().all(is_own) => heights.unpadded(tokens),
            false => heights.pieces(tokens),
        }
    }

    /// The algorithm of each product of cuBLASLt.
    pub(super) fn algorithms(&self) -> [Option<Algorithm>; PRODUCTS] {
        let layers = self.layers.all();
        layers.map(|layer| layer.matmul.as_ref()?.algorithm().copied())
    }

    /// Uses these algorithms from now on; a product without one keeps its own.
    pub(super) fn pin(&mut self, algorithms: [Option<Algorithm>; PRODUCTS]) {
        for (layer, algorithm) in self.layers.all_mut().into_iter().zip(algorithms) {
            if let (Some(matmul), Some(algorithm)) = (&mut layer.matmul, algorithm) {
                matmul.pin(algorithm);
            }
        }
    }

    /// Numbers of the algorithm of a product of cuBLASLt, and of others with the same bits.
    fn usable(&self, product: usize) -> Vec<String> {
        let layer = self.layers.all().into_iter().nth(product);
        let matmul = layer.and_then(|layer| layer.matmul.as_ref());
        matmul.map(Matmul::usable).unwrap_or_default()
    }

    /// Uses one of these for a product from now on, and remembers it.
    fn use_equal(&mut self, product: usize, numbers: &str) {
        let layer = self.layers.all_mut().into_iter().nth(product);
        let Some(matmul) = layer.and_then(|layer| layer.matmul.as_mut()) else {
            return;
        };
        if matmul.use_equal(numbers) {
            choice::remember(matmul, &self.tests);
            if let Some(choice) = self.choices.get_mut(product) {
                // They are those of the algorithm that was chosen before.
                choice.times.clear();
            }
        }
    }

    /// The algorithms that each product of cuBLASLt could use; none where the program's own is used.
    pub(super) fn alternatives(&mut self) -> Result<Vec<Vec<Algorithm>>, CudaError> {
        // From here on this thread's calls are for this GPU.
        let context = self.gpu.context();
        context.bind_to_thread().while_("selecting a GPU")?;
        let gpu = &self.gpu;
        let of = |(layer, linear): (&mut LinearLayer, &Linear)| match (&mut layer.matmul, &gpu.blas)
        {
            (Some(matmul), Some(blas)) if layer.by == By::Blas => {
                choice::alternatives(gpu, blas, self.dtype, matmul, &linear.weight)
            }
            _ => Ok(Vec::new()),
        };
        let layers = self.layers.all_mut().into_iter();
        layers.zip(self.weights.of_products()).map(of).collect()
    }

    /// What computes each layer.
    pub(super) fn by(&self) -> [By; PRODUCTS] {
        self.layers.all().map(|layer| layer.by)
    }

    /// Lets these compute the layers from now on, if all can. Returns whether that is so.
    pub(super) fn compute_by(&mut self, by: [By; PRODUCTS]) -> bool {
        let layers = self.layers.all_mut();
        let mut both = layers.iter().zip(by);
        let can = both.all(|(layer, by)| match by {
            By::Own => layer.own.is_some(),
            By::Blas => layer.matmul.is_some(),
        });
        if can {
            for (layer, by) in layers.into_iter().zip(by) {
                layer.by = by;
            }
        }
        can
    }

    /// Remembers the algorithms for later runs.
    pub(super) fn remember(&self) {
        for layer in self.layers.all() {
            match (&layer.matmul, layer.by) {
                (_, By::Own) => own_choice::remember(layer, &self.tests),
                (Some(matmul), By::Blas) if !matmul.in_slabs_only => {
                    choice::remember(matmul, &self.tests);
                }
                _ => {}
            }
        }
    }
}

/// Chooses what computes a layer, and how.
fn choose(trial: Trial<'_>, layer: &mut LinearLayer, linear: &Linear) -> Result<Choice, CudaError> {
    let (mut choice, mut failed) = (Choice::default(), None);
    if let (Some(matmul), Some(blas)) = (&mut layer.matmul, &trial.gpu.blas) {
        let weights = &linear.weight;
        match choice::pin(trial.gpu, blas, trial.dtype, matmul, weights, trial.tests) {
            Ok(made) => choice = made,
            Err(error @ CudaError::NoAlgorithm { .. }) if layer.own.is_some() => {
                (layer.matmul, layer.by, failed) = (None, By::Own, Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    let chosen = own_choice::choose(trial, layer, linear, &mut choice);
    chosen.map_err(|error| failed.unwrap_or(error))?;
    Ok(choice)
}

/// Where GPUs chose differently because their times differ, all of them use the program's own products
/// instead of cuBLASLt, or an algorithm with the same bits that every one of them could have chosen.
pub(super) fn agree(replicas: &mut [Replica]) {
    if other_choice(replicas).is_none() {
        return;
    }
    agree_on_own(replicas);
    for product in 0..PRODUCTS {
        let all = replicas.iter().map(|replica| replica.usable(product));
        if let Some(numbers) = common(&all.collect::<Vec<_>>()) {
            for replica in replicas.iter_mut() {
                replica.use_equal(product, &numbers);
            }
        }
    }
}

/// The first in the first list that all others have too.
fn common(lists: &[Vec<String>]) -> Option<String> {
    let (first, others) = lists.split_first()?;
    let in_all = |numbers: &&String| others.iter().all(|list| list.contains(numbers));
    first.iter().find(in_all).cloned()
}

fn agree_on_own(replicas: &mut [Replica]) {
    let all: Vec<[By; PRODUCTS]> = replicas.iter().map(Replica::by).collect();
    let own = |layer: usize| all.iter().any(|by| by.get(layer) == Some(&By::Own));
    let by = std::array::from_fn(|layer| match own(layer) {
        true => By::Own,
        false => By::Blas,
    });
    for replica in replicas {
        replica.compute_by(by);
    }
}

/// The first replica whose products have other algorithms than those of the first.
pub(super) fn other_choice(replicas: &[Replica]) -> Option<&Replica> {
    let algorithms = |replica: &Replica| replica.layers.numbers();
    let first = replicas.first().map(algorithms);
    replicas.iter().find(|r| Some(algorithms(r)) != first)
}

/// The algorithms of the products, if they are the same on every GPU.
pub(super) fn common_choice(replicas: &[Replica]) -> Option<String> {
    match other_choice(replicas) {
        Some(_) => None,
        None => Some(replicas.first()?.layers.numbers()),
    }
}
