//! The model on one card.

use super::card::{Card, check_environment};
use super::choice;
use super::error::{CudaError, While};
use super::kernels::ModelKernels;
use super::load::{Loader, Weights};
use super::product::{Algorithm, Product};
use super::tested::Tests;
use crate::checkpoint::{Checkpoint, InvFreqSource};
use crate::device::{self, Dtype, Tested};
use std::collections::BTreeMap;

/// Shapes of weights in a block.
pub(super) const PRODUCTS: usize = 4;

/// The products of a model, one for each shape of weights.
pub(super) struct Products {
    pub(super) qkv: Product,
    pub(super) out: Product,
    pub(super) fc1: Product,
    pub(super) fc2: Product,
}

impl Products {
    fn all(&self) -> [&Product; PRODUCTS] {
        [&self.qkv, &self.out, &self.fc1, &self.fc2]
    }

    fn all_mut(&mut self) -> [&mut Product; PRODUCTS] {
        [&mut self.qkv, &mut self.out, &mut self.fc1, &mut self.fc2]
    }

    /// The algorithm of each shape of weights, for `run.json`.
    pub(super) fn describe(&self) -> BTreeMap<String, Option<String>> {
        let each = self.all().map(|product| {
            let algorithm = product.algorithm().map(|a| a.describe());
            let shape = format!("{} x {}", product.outputs, product.inputs);
            (shape, algorithm)
        });
        each.into()
    }

    /// The same as the numbers by which cuBLASLt knows them.
    pub(super) fn numbers(&self) -> String {
        let each = self.all().map(|product| {
            let numbers = product.algorithm().map(|a| a.numbers());
            numbers.unwrap_or_default()
        });
        each.join(" ")
    }
}

/// What of a model goes onto cards, and how it is computed there.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) dtype: Dtype,
    /// The highest representation that will be asked for.
    pub(super) top: usize,
    /// Threads that read weights.
    pub(super) threads: usize,
    /// Which self-tests were passed before.
    pub(super) tested: &'a Tested,
}

/// A model on one card.
pub(super) struct Replica {
    pub(super) card: Card,
    pub(super) weights: Weights,
    pub(super) products: Products,
    pub(super) kernels: ModelKernels,
    /// Self-tests that a card like this one passed before.
    pub(super) tests: Tests,
    /// Whether every product gives a row the same bits wherever it stands.
    pub(super) same_bits: bool,
}

impl Replica {
    pub(super) fn load(
        wanted: Wanted<'_>,
        about: &device::Card,
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
        let card = Card::open(about)?;
        let kernels = card.kernels.of(dtype, dim, config.head_dim())?;
        let tests = Tests::new(tested, about, dtype, card.blas.version());
        let (weights, inv_freq) = Loader {
            checkpoint,
            card: &card,
            dtype,
            top,
            threads,
        }
        .load()?;
        let mut products = Products {
            qkv: Product::new(&card.blas, &card.heights, dtype, 3 * dim, dim)?,
            out: Product::new(&card.blas, &card.heights, dtype, dim, dim)?,
            fc1: Product::new(&card.blas, &card.heights, dtype, inside, dim)?,
            fc2: Product::new(&card.blas, &card.heights, dtype, dim, inside)?,
        };
        let mut same_bits = true;
        for (product, weights) in products.all_mut().into_iter().zip(weights.of_products()) {
            same_bits &= choice::pin(&card, dtype, product, weights, &tests)?;
        }
        let replica = Replica {
            card,
            weights,
            products,
            kernels,
            tests,
            same_bits,
        };
        Ok((replica, inv_freq))
    }

    /// Whether products smaller than a slab were seen to give a row other bits.
    pub(super) fn is_in_slabs_only(&self) -> bool {
        let all = self.products.all();
        all.iter().any(|product| product.in_slabs_only)
    }

    /// The pieces of a batch of so many tokens.
    pub(super) fn pieces(&self, tokens: usize) -> Vec<usize> {
        match self.is_in_slabs_only() {
            true => self.card.heights.slabs(tokens),
            false => self.card.heights.pieces(tokens),
        }
    }

    /// The algorithm of each product.
    pub(super) fn algorithms(&self) -> [Option<Algorithm>; PRODUCTS] {
        let products = self.products.all();
        products.map(|product| product.algorithm().copied())
    }

    /// From now on uses these algorithms; where there is none, the one it has.
    pub(super) fn pin(&mut self, algorithms: [Option<Algorithm>; PRODUCTS]) {
        for (product, algorithm) in self.products.all_mut().into_iter().zip(algorithms) {
            if let Some(algorithm) = algorithm {
                product.pin(algorithm);
            }
        }
    }

    /// Algorithms that each product could have.
    pub(super) fn alternatives(&mut self, dtype: Dtype) -> Result<Vec<Vec<Algorithm>>, CudaError> {
        // From here on this thread's calls are for this card.
        let context = self.card.context();
        context.bind_to_thread().while_("choosing a card")?;
        let products = self.products.all_mut().into_iter();
        products
            .zip(self.weights.of_products())
            .map(|(product, weights)| choice::alternatives(&self.card, dtype, product, weights))
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
