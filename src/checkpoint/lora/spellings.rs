//! How the layouts of checkpoints spell the names of weights.

use std::collections::HashMap;

use crate::checkpoint::config::EsmConfig;
use crate::checkpoint::names::{Names, Naming, TensorPlace};
use crate::checkpoint::resolve::{self, Shape};

/// Where each layout has a weight, without a prefix.
pub(super) struct Spellings(pub(super) HashMap<String, Spelled>);

/// Which part of a fused tensor a weight is, and of how many.
type PartOf = Option<(usize, usize)>;

/// A weight, and the part of a fused tensor that it is.
#[derive(Clone, Debug)]
pub(super) struct Spelled {
    pub(super) weights: Vec<(String, PartOf, Shape)>,
    /// Whether it belongs to the encoder.
    pub(super) is_inside: bool,
    /// Whether it is a linear layer of the encoder.
    pub(super) is_linear: bool,
}

impl Spellings {
    /// The fused tensors of ESM C hold one part after another in every layout; those of ESM-2 are arranged as
    /// in the base, and count only in its layout.
    pub(super) fn new(config: &EsmConfig, base: Naming) -> Self {
        let mut all: HashMap<String, Spelled> = HashMap::new();
        let same_family = |naming: &Naming| naming.is_esm_c() == base.is_esm_c();
        for naming in Naming::ALL.into_iter().filter(same_family) {
            let names = Names::with_prefix(naming, "");
            for (weight, shape) in resolve::names(config) {
                for TensorPlace { tensor, part } in names.places(&weight) {
                    if part.is_some() && naming != base && !naming.is_esm_c() {
                        continue;
                    }
                    let is_inside = !weight.contains("_head.");
                    let is_linear = is_inside && !shape.1 && weight.starts_with("layers.");
                    let spelled = all.entry(tensor).or_insert_with(|| Spelled {
                        weights: Vec::new(),
                        is_inside,
                        is_linear,
                    });
                    let entry = (weight.clone(), part, shape);
                    if !spelled.weights.contains(&entry) {
                        spelled.weights.push(entry);
                    }
                }
            }
        }
        Self(all)
    }

    /// The weight that a name ends with, and what precedes it.
    pub(super) fn find<'a>(&self, name: &'a str) -> Option<(&Spelled, &'a str)> {
        let starts = name.match_indices('.').map(|(dot, _)| dot + 1);
        let mut starts = std::iter::once(0).chain(starts);
        starts.find_map(|start| {
            let (prefix, rest) = name.split_at_checked(start)?;
            Some((self.0.get(rest)?, prefix))
        })
    }
}
