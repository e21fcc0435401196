//! The tensors of an adapter, found among its names and added to the weights of its base.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::MOST_RANK;
use super::spellings::Spellings;
use super::{Application, AppliedAdapter, Lora};
use crate::checkpoint::adapter::is_adapter_tensor;
use crate::checkpoint::config::{EsmConfig, contradiction};
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::names::{Names, Naming, unwrapped};
use crate::checkpoint::resolve::{DECODER, Fused, Shape, Weights};
use crate::checkpoint::tensors::Data;
use crate::checkpoint::weight::{Added, Part, Resolved};
use crate::checkpoint::{EMBEDDING, unused};
use crate::printable;

/// What PEFT puts before the names of the model's modules.
const ROOT: &str = "base_model.model.";

/// One tensor of an adapter: what it is to which module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// `A`, `[r, in]`.
    A,
    /// `B`, `[out, r]`.
    B,
    /// Added to the bias.
    Bias,
    /// `A` of an embedding, `[r, tokens]`.
    EmbeddingA,
    /// `B` of an embedding, `[D, r]`.
    EmbeddingB,
}

const PIECES: [(&str, Piece); 5] = [
    (".lora_A.weight", Piece::A),
    (".lora_B.weight", Piece::B),
    (".lora_B.bias", Piece::Bias),
    (".lora_embedding_A", Piece::EmbeddingA),
    (".lora_embedding_B", Piece::EmbeddingB),
];

/// An adapter while it is added to the weights of a base.
pub(super) struct Applying<'a> {
    spellings: Spellings,
    /// By module: each part with the name of its tensor.
    parts: BTreeMap<String, BTreeMap<Piece, String>>,
    /// Modules that are not used.
    heads: Vec<String>,
    lora: &'a Lora,
    base: &'a Path,
    fused: Fused,
    head_dim: usize,
    /// Whether the decoder of the language-model head is the embedding where the base has none.
    is_tied: bool,
}

impl<'a> Applying<'a> {
    pub(super) fn new(
        lora: &'a Lora,
        base: &'a Path,
        naming: Naming,
        fused: Fused,
        config: &EsmConfig,
        is_tied: bool,
    ) -> Self {
        Self {
            spellings: Spellings::new(config, naming),
            parts: BTreeMap::new(),
            heads: Vec::new(),
            lora,
            base,
            fused,
            head_dim: config.head_dim(),
            is_tied,
        }
    }

    pub(super) fn all(mut self, weights: &mut Weights) -> Result<Application, CheckpointError> {
        weights.adapter = Some(self.lora.number);
        let prefix = self.prefix()?;
        let names = Names::with_prefix(Naming::HuggingFace, &prefix);
        let mut whole = Vec::new();
        for tensor in self.lora.tensors.keys() {
            let name = plain(tensor);
            let part = PIECES
                .iter()
                .find_map(|(end, part)| Some((name.strip_suffix(end)?, *part)));
            let module = part.map_or(name.as_str(), |(module, _)| module);
            let is_known = match part {
                Some((module, _)) => self.spellings.find(&format!("{module}.weight")).is_some(),
                None => self.spellings.find(&name).is_some(),
            };
            match part {
                _ if !is_known && unused::is_head(&names, module) => {
                    let module = names.below_shared(module);
                    let head = module.split('.').next().unwrap_or(module).to_owned();
                    if !self.heads.contains(&head) {
                        self.heads.push(head);
                    }
                }
                _ if !is_known && unused::is_harmless(&name) => {}
                None if !is_known && is_adapter_tensor(&name) => {
                    let [path, _] = self.lora.files.clone();
                    let why = format!("`{}` is not a tensor of LoRA", printable::name(tensor));
                    let adapter = Box::new(self.lora.adapter.clone());
                    return Err(CheckpointError::OtherAdapter { path, adapter, why });
                }
                _ if !is_known => {
                    let tensor = printable::name(tensor);
                    return Err(self.misfit(format!("`{tensor}` is for no weight of this model")));
                }
                Some((module, part)) => {
                    let parts = self.parts.entry(module.to_owned()).or_default();
                    if parts.insert(part, tensor.clone()).is_some() {
                        let tensor = printable::name(tensor);
                        return Err(self.misfit(format!("it holds `{tensor}` twice")));
                    }
                }
                None => whole.push((tensor, name)),
            }
        }
        let mut changed = Vec::new();
        for (tensor, name) in whole {
            self.replace(weights, tensor, &name, &mut changed)?;
        }
        for (module, parts) in &self.parts {
            self.add(weights, module, parts, &mut changed)?;
        }
        self.check_complete(&prefix)?;
        if changed.is_empty() {
            return Err(self.misfit("it changes no weight of this model".into()));
        }
        changed.sort_unstable();
        changed.dedup();
        Ok(self.report(changed))
    }

    fn report(self, changed: Vec<String>) -> Application {
        let [config_file, _] = &self.lora.files;
        let unknown = self.lora.config.unknown();
        let shown = self.lora.adapter.folder.display();
        Application {
            note: (!self.heads.is_empty()).then(|| {
                format!(
                    "{shown}: {} that the adapter trained {} not used: {}",
                    if self.heads.len() == 1 {
                        "a head"
                    } else {
                        "heads"
                    },
                    if self.heads.len() == 1 { "is" } else { "are" },
                    printable::list(&self.heads)
                )
            }),
            warning: (!unknown.is_empty()).then(|| {
                format!(
                    "{}: this program does not know what {} means: the adapter may be of another \
                     kind than LoRA\nhint: compare one embedding with PEFT's",
                    config_file.display(),
                    printable::list(&unknown)
                )
            }),
            changes_embedding: changed.iter().any(|weight| weight == EMBEDDING),
            applied: AppliedAdapter {
                adapter: self.lora.adapter.clone(),
                weights: changed.len(),
                files: self.lora.files.clone(),
            },
        }
    }

    /// What precedes the names of the encoder's weights.
    fn prefix(&self) -> Result<String, CheckpointError> {
        let mut prefixes: Vec<String> = Vec::new();
        for tensor in self.lora.tensors.keys() {
            let name = plain(tensor);
            let end = PIECES.iter().find_map(|(end, _)| name.strip_suffix(end));
            let weight = end.map_or_else(|| name.clone(), |module| format!("{module}.weight"));
            if let Some((spelled, prefix)) = self.spellings.find(&weight)
                && spelled.is_inside
                && prefixes.iter().all(|known| known != prefix)
            {
                prefixes.push(prefix.to_owned());
            }
        }
        match prefixes.as_slice() {
            [] => Ok(String::new()),
            [one] => Ok(one.clone()),
            several => Err(self.misfit(format!(
                "its tensors belong to {} encoders, {}",
                several.len(),
                printable::list(several)
            ))),
        }
    }

    /// Whether every module of the encoder that the configuration names has its matrices.
    fn check_complete(&self, prefix: &str) -> Result<(), CheckpointError> {
        let trained = self.parts.keys();
        let of_encoder = trained.filter_map(|module| {
            let (spelled, _) = self.spellings.find(&format!("{module}.weight"))?;
            spelled.is_inside.then_some(module)
        });
        let Some(example) = of_encoder.clone().next() else {
            return Ok(());
        };
        // The layout in which the adapter spells its modules.
        let spells = |naming: &Naming| {
            let names = Names::with_prefix(*naming, "");
            let (spelled, _) = self.spellings.find(&format!("{example}.weight"))?;
            let (weight, ..) = spelled.weights.first()?;
            let places = names.places(weight);
            places
                .iter()
                .any(|place| format!("{prefix}{}", place.tensor) == format!("{example}.weight"))
                .then_some(names)
        };
        let Some(names) = Naming::ALL.iter().find_map(spells) else {
            return Ok(());
        };
        let spelled = self.spellings.0.values();
        let mut linear: Vec<&String> = spelled
            .filter(|spelled| spelled.is_linear)
            .flat_map(|spelled| spelled.weights.iter().map(|(weight, ..)| weight))
            .collect();
        linear.sort_unstable();
        linear.dedup();
        for weight in linear {
            for place in names.places(weight) {
                let Some(module) = place.tensor.strip_suffix(".weight") else {
                    continue;
                };
                let module = format!("{prefix}{module}");
                if self.lora.config.targets(&module) == Some(true)
                    && !self.parts.contains_key(&module)
                {
                    return Err(CheckpointError::MissingTensor {
                        of: "",
                        tensor: format!("{ROOT}{module}.lora_A.weight"),
                        path: self.lora.files[1].clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// A tensor that was trained as a whole takes the place of the weight.
    fn replace(
        &self,
        weights: &mut Weights,
        tensor: &str,
        name: &str,
        changed: &mut Vec<String>,
    ) -> Result<(), CheckpointError> {
        let Some((spelled, _)) = self.spellings.find(name) else {
            return Ok(());
        };
        for (weight, part, shape) in &spelled.weights {
            let parts = part.map_or(1, |(_, of)| of);
            let wanted = match *shape {
                ([_, length], true) => vec![length * parts],
                ([rows, columns], false) => vec![rows * parts, columns],
            };
            let replaced = self.resolved(tensor, &wanted, *shape, *part, weight)?;
            weights.by_name.insert(weight.clone(), replaced);
            changed.push(weight.clone());
        }
        Ok(())
    }

    /// The matrices of one module are added to its weight.
    fn add(
        &self,
        weights: &mut Weights,
        module: &str,
        parts: &BTreeMap<Piece, String>,
        changed: &mut Vec<String>,
    ) -> Result<(), CheckpointError> {
        let is_embedding =
            parts.contains_key(&Piece::EmbeddingA) || parts.contains_key(&Piece::EmbeddingB);
        let (a, b) = match is_embedding {
            true => (Piece::EmbeddingA, Piece::EmbeddingB),
            false => (Piece::A, Piece::B),
        };
        let lacking = |part: Piece| {
            let end = PIECES.iter().find(|(_, known)| *known == part);
            CheckpointError::MissingTensor {
                of: "",
                tensor: format!("{ROOT}{module}{}", end.map_or("", |(end, _)| *end)),
                path: self.lora.files[1].clone(),
            }
        };
        let a = parts.get(&a).ok_or_else(|| lacking(a))?;
        let b = parts.get(&b).ok_or_else(|| lacking(b))?;
        let rank = self.rank(module, a)?;
        let pattern = |found| contradiction(&self.lora.files[0], found);
        let scale = self.lora.config.scale(module, rank).map_err(pattern)?;
        let Some((spelled, _)) = self.spellings.find(&format!("{module}.weight")) else {
            return Ok(());
        };
        for (weight, part, shape) in &spelled.weights {
            let ([rows, columns], false) = *shape else {
                continue;
            };
            let all = rows * part.map_or(1, |(_, of)| of);
            let (left, right) = match is_embedding {
                // Both are stored across.
                true => {
                    let across = |tensor: &str, stored: [usize; 2]| {
                        let mut found =
                            self.resolved(tensor, &stored, (stored, false), None, weight)?;
                        found.shape.reverse();
                        found.strides.reverse();
                        Ok::<Resolved, CheckpointError>(found)
                    };
                    (across(a, [rank, rows])?, across(b, [columns, rank])?)
                }
                false => (
                    self.resolved(b, &[all, rank], ([rows, rank], false), *part, weight)?,
                    self.resolved(a, &[rank, columns], ([rank, columns], false), None, weight)?,
                ),
            };
            // What is added to a tied decoder is not added to the embedding: PEFT computes it separately.
            if self.is_tied
                && weight == DECODER
                && !weights.by_name.contains_key(weight)
                && !changed.iter().any(|weight| weight == EMBEDDING)
                && let Some(embedding) = weights.by_name.get(EMBEDDING).cloned()
            {
                weights.by_name.insert(weight.clone(), embedding);
            }
            if let Some(held) = weights.by_name.get_mut(weight) {
                held.added = Some(Box::new(Added {
                    scale,
                    left,
                    right: Some(right),
                }));
                changed.push(weight.clone());
            }
        }
        if let Some(tensor) = parts.get(&Piece::Bias) {
            self.add_bias(weights, module, tensor, scale, changed)?;
        }
        Ok(())
    }

    fn add_bias(
        &self,
        weights: &mut Weights,
        module: &str,
        tensor: &str,
        scale: f32,
        changed: &mut Vec<String>,
    ) -> Result<(), CheckpointError> {
        let Some((spelled, _)) = self.spellings.find(&format!("{module}.bias")) else {
            let tensor = printable::name(tensor);
            return Err(self.misfit(format!(
                "`{tensor}` is for a bias that the model does not have"
            )));
        };
        for (weight, part, shape) in &spelled.weights {
            let ([_, length], _) = *shape;
            let all = length * part.map_or(1, |(_, of)| of);
            let left = self.resolved(tensor, &[all], *shape, *part, weight)?;
            if let Some(held) = weights.by_name.get_mut(weight) {
                held.added = Some(Box::new(Added {
                    scale,
                    left,
                    right: None,
                }));
                changed.push(weight.clone());
            }
        }
        Ok(())
    }

    /// The rank of a module's matrices: the rows of `A`, which the configuration must not contradict.
    fn rank(&self, module: &str, a: &str) -> Result<usize, CheckpointError> {
        let [config_file, _] = &self.lora.files;
        let configured = self.lora.config.rank(module);
        let configured = configured.map_err(|found| contradiction(config_file, found))?;
        let held = self
            .lora
            .tensors
            .get(a)
            .and_then(|tensor| tensor.shape.first());
        let held = held.copied().unwrap_or(0);
        if held != configured {
            let found = format!(
                "the rank of {} is {configured}, but `{}` has {held} rows",
                printable::name(module),
                printable::name(a)
            );
            return Err(contradiction(config_file, found));
        }
        if !(1..=MOST_RANK).contains(&held) {
            let found = format!("the rank {held} is outside 1 to {MOST_RANK}");
            return Err(contradiction(config_file, found));
        }
        Ok(held)
    }

    /// A tensor of the adapter in the form in which it is used, its stored shape checked.
    fn resolved(
        &self,
        tensor: &str,
        stored: &[usize],
        (shape, vector): Shape,
        part: Option<(usize, usize)>,
        weight: &str,
    ) -> Result<Resolved, CheckpointError> {
        let path = || self.lora.files[1].clone();
        let Some(held) = self.lora.tensors.get(tensor) else {
            let (tensor, path) = (tensor.to_owned(), path());
            return Err(CheckpointError::MissingTensor {
                of: "",
                tensor,
                path,
            });
        };
        if held.shape != stored {
            return Err(self.misfit(format!(
                "`{}` has shape {:?}, but {stored:?} is needed for `{weight}` of the model",
                printable::name(tensor),
                held.shape
            )));
        }
        match &held.data {
            Data::Floats {
                dtype,
                offset,
                strides,
            } => Ok(Resolved {
                tensor: tensor.to_owned(),
                file: self.lora.number,
                dtype: *dtype,
                offset: *offset,
                shape,
                strides: match strides.as_slice() {
                    [across] => [0, *across],
                    [down, across] => [*down, *across],
                    _ => [0, 1],
                },
                part: part.map(|(number, of)| Part {
                    number,
                    of,
                    block: match (self.fused, vector) {
                        (Fused::ByHead, _) => self.head_dim,
                        (Fused::Whole, true) => shape[1],
                        (Fused::Whole, false) => shape[0],
                    },
                }),
                vector,
                zero_row: None,
                added: None,
            }),
            Data::Unreadable(found) => Err(CheckpointError::Unreadable {
                tensor: tensor.to_owned(),
                path: path(),
                found: found.clone(),
            }),
        }
    }

    fn misfit(&self, found: String) -> CheckpointError {
        CheckpointError::AdapterMisfit {
            path: self.lora.files[1].clone(),
            base: self.base.to_path_buf(),
            adapter: Box::new(self.lora.adapter.clone()),
            found,
        }
    }
}

/// The name of a tensor in the model that PEFT wrapped.
fn plain(tensor: &str) -> String {
    let name = unwrapped(tensor);
    let name = name.strip_prefix(ROOT).unwrap_or(&name);
    let parts = name.split('.');
    let is_wrapper = |part: &&str| matches!(*part, "base_layer" | "modules_to_save");
    let parts: Vec<&str> = parts.filter(|part| !is_wrapper(part)).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_wrapped_model() {
        for (tensor, name) in [
            (
                "base_model.model.esm.x.lora_A.weight",
                "esm.x.lora_A.weight",
            ),
            (
                "base_model.model.classifier.modules_to_save.dense.bias",
                "classifier.dense.bias",
            ),
            ("base_model.model.x.base_layer.weight", "x.weight"),
            (
                "_orig_mod.base_model.model.x.lora_B.weight",
                "x.lora_B.weight",
            ),
        ] {
            assert_eq!(plain(tensor), name);
        }
    }
}
