//! The model on one GPU.

use super::choice::{self, Choice};
use super::error::{CudaError, While};
use super::gpu::{OpenGpu, check_environment};
use super::kernels::ModelKernels;
use super::load::{Loader, Weights};
use super::matmul::{Algorithm, Matmul};
use super::tested::Tests;
use crate::checkpoint::{Checkpoint, InvFreqSource};
use crate::device::{self, Dtype, Tested};
use std::collections::BTreeMap;

/// Shapes of weights in a block.
pub(super) const PRODUCTS: usize = 4;

/// The products of a model, one for each shape of weights.
pub(super) struct Matmuls {
    pub(super) qkv: Matmul,
    pub(super) out: Matmul,
    pub(super) fc1: Matmul,
    pub(super) fc2: Matmul,
}

impl Matmuls {
    fn all(&self) -> [&Matmul; PRODUCTS] {
        [&self.qkv, &self.out, &self.fc1, &self.fc2]
    }

    fn all_mut(&mut self) -> [&mut Matmul; PRODUCTS] {
        [&mut self.qkv, &mut self.out, &mut self.fc1, &mut self.fc2]
    }

    /// The algorithm of each shape of weights, for `run.json`.
    pub(super) fn describe(&self) -> BTreeMap<String, Option<String>> {
        let each = self.all().map(|product| {
            let algorithm = product.algorithm().map(|a| a.describe());
            (
                format!("{} x {}", product.outputs, product.inputs),
                algorithm,
            )
        });
        each.into()
    }

    /// The same algorithms with their `choices`, a line for each.
    pub(super) fn describe_choices(&self, choices: &[Choice]) -> Vec<String> {
        let all = self.all().into_iter().zip(choices);
        let all = all.map(|(product, choice)| {
            let algorithm = product.algorithm().map(|a| a.describe());
            format!(
                "algorithms for weights of {} × {}: {choice}; used: {}",
                product.outputs,
                product.inputs,
                algorithm.unwrap_or_default()
            )
        });
        all.collect()
    }

    /// The same algorithms, as the numbers by which cuBLASLt knows them.
    pub(super) fn numbers(&self) -> String {
        let each = self.all().map(|product| {
            let numbers = product.algorithm().map(|a| a.numbers());
            numbers.unwrap_or_default()
        });
        each.join(" ")
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
    pub(super) products: Matmuls,
    pub(super) kernels: ModelKernels,
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
        check_environment(dtype)?;
        let gpu = OpenGpu::open(about)?;
        let kernels = gpu.kernels.of(dtype, dim, config.head_dim())?;
        let tests = Tests::new(tested, about, dtype, gpu.blas.version());
        let (weights, inv_freq) = Loader {
            checkpoint,
            gpu: &gpu,
            dtype,
            top,
            threads,
        }
        .load()?;
        let mut products = Matmuls {
            qkv: Matmul::new(&gpu.blas, &gpu.heights, dtype, 3 * dim, dim)?,
            out: Matmul::new(&gpu.blas, &gpu.heights, dtype, dim, dim)?,
            fc1: Matmul::new(&gpu.blas, &gpu.heights, dtype, inside, dim)?,
            fc2: Matmul::new(&gpu.blas, &gpu.heights, dtype, dim, inside)?,
        };
        let mut choices = Vec::new();
        for (product, weights) in products.all_mut().into_iter().zip(weights.of_products()) {
            choices.push(choice::pin(&gpu, dtype, product, weights, &tests)?);
        }
        let replica = Replica {
            gpu,
            weights,
            products,
            kernels,
            dtype,
            tests,
            choices,
        };
        Ok((replica, inv_freq))
    }

    /// Whether every product gives a row the same bits at every place.
    pub(super) fn has_same_bits(&self) -> bool {
        self.choices.iter().all(|choice| choice.same_bits)
    }

    /// How the algorithms were chosen, and which they are, for people.
    pub(super) fn describe_choices(&self) -> Vec<String> {
        self.products.describe_choices(&self.choices)
    }

    /// Whether products smaller than a slab gave a row other bits.
    pub(super) fn is_in_slabs_only(&self) -> bool {
        let all = self.products.all();
        all.iter().any(|product| product.in_slabs_only)
    }

    /// The heights of the products for a batch of `tokens` tokens.
    pub(super) fn pieces(&self, tokens: usize) -> Vec<usize> {
        match self.is_in_slabs_only() {
            true => self.gpu.heights.slabs(tokens),
            false => self.gpu.heights.pieces(tokens),
        }
    }

    /// The algorithm of each product.
    pub(super) fn algorithms(&self) -> [Option<Algorithm>; PRODUCTS] {
        let products = self.products.all();
        products.map(|product| product.algorithm().copied())
    }

    /// Uses these algorithms from now on; a product without one keeps its own.
    pub(super) fn pin(&mut self, algorithms: [Option<Algorithm>; PRODUCTS]) {
        for (product, algorithm) in self.products.all_mut().into_iter().zip(algorithms) {
            if let Some(algorithm) = algorithm {
                product.pin(algorithm);
            }
        }
    }

    /// The algorithms that each product could use.
    pub(super) fn alternatives(&mut self) -> Result<Vec<Vec<Algorithm>>, CudaError> {
        // From here on this thread's calls are for this GPU.
        let context = self.gpu.context();
        context.bind_to_thread().while_("selecting a GPU")?;
        let products = self.products.all_mut().into_iter();
        products
            .zip(self.weights.of_products())
            .map(|(product, weights)| choice::alternatives(&self.gpu, self.dtype, product, weights))
            .collect()
    }

    /// Remembers the algorithms for later runs.
    pub(super) fn remember(&self) {
        for product in self.products.all() {
            if !product.in_slabs_only {
                choice::remember(product, &self.tests);
            }
        }
    }
}

/// The first replica whose products have other algorithms than those of the first.
pub(super) fn other_choice(replicas: &[Replica]) -> Option<&Replica> {
    let algorithms = |replica: &Replica| replica.products.numbers();
    let first = replicas.first().map(algorithms);
    replicas.iter().find(|r| Some(algorithms(r)) != first)
}

/// The algorithms of the products, if they are the same on every GPU.
pub(super) fn common_choice(replicas: &[Replica]) -> Option<String> {
    match other_choice(replicas) {
        Some(_) => None,
        None => Some(replicas.first()?.products.numbers()),
    }
}
