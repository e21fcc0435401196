//! From the weights a model needs to their places in the files, each with its shape checked.

use std::collections::{HashMap, HashSet};

use super::config::{EsmConfig, Positions};
use super::error::CheckpointError;
use super::names::{Names, TensorPlace};
use super::tensors::{Data, FloatType, StoredDtype, StoredTensor, TensorSet};
use super::weight::{Part, Resolved};
use crate::ops::Activation;

/// A weight that the model needs, and its shape.
struct NeededWeight {
    name: String,
    shape: [usize; 2],
    vector: bool,
}

impl NeededWeight {
    fn matrix(name: impl Into<String>, rows: usize, columns: usize) -> Self {
        Self {
            name: name.into(),
            shape: [rows, columns],
            vector: false,
        }
    }

    fn vector(name: impl Into<String>, length: usize) -> Self {
        Self {
            name: name.into(),
            shape: [1, length],
            vector: true,
        }
    }

    fn norm(name: &str, dim: usize) -> [Self; 2] {
        ["weight", "bias"].map(|part| Self::vector(format!("{name}.{part}"), dim))
    }

    fn linear(name: &str, rows: usize, columns: usize) -> [Self; 2] {
        [
            Self::matrix(format!("{name}.weight"), rows, columns),
            Self::vector(format!("{name}.bias"), rows),
        ]
    }
}

/// The weights of a checkpoint by fair-esm's names.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) by_name: HashMap<String, Resolved>,
    pub(super) stored_dtype: StoredDtype,
    /// Names of all tensors that a weight may come from.
    pub(super) places: HashSet<String>,
    /// What was found wrong with the language-model head, which then counts as absent.
    pub(super) without_logits: Option<String>,
    /// The same of the contact head.
    pub(super) without_contacts: Option<String>,
    /// The number of the file of an adapter whose product is added to them.
    pub(super) adapter: Option<usize>,
}

/// How fused query-key-value tensors are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fused {
    /// q, k, v of the first head, q, k, v of the second, …
    ByHead,
    /// All of q, all of k, all of v.
    Whole,
}

/// Finds every weight. One that is missing, misshapen or unreadable is an error if embeddings need
/// it; of a head, it makes the head count as absent. Rotary frequencies may be missing.
pub(super) fn resolve(
    tensors: &TensorSet,
    names: &Names,
    config: &EsmConfig,
    fused: Fused,
) -> Result<Weights, CheckpointError> {
    let resolver = Resolver {
        tensors,
        names,
        config,
        fused,
    };
    let mut by_name = HashMap::new();
    for wanted in needed(config) {
        let resolved = resolver.find(&wanted)?.ok_or_else(|| {
            let tensor = names.first(&wanted.name);
            let path = tensors.home(&tensor).to_path_buf();
            CheckpointError::MissingTensor {
                of: names.naming.model(),
                tensor,
                path,
            }
        })?;
        by_name.insert(wanted.name, resolved);
    }
    let stored_dtype = common_dtype(by_name.values().map(|weight| weight.dtype));
    for wanted in frequencies(config) {
        if let Some(resolved) = resolver.find(&wanted)? {
            by_name.insert(wanted.name, resolved);
        }
    }
    all_or_none(tensors, names, config, &by_name)?;
    let mut wrong = [None, None];
    for (head, wrong) in [lm_head(config), contact_head(config)]
        .iter()
        .zip(&mut wrong)
    {
        match resolver.head(head) {
            Ok(found) => by_name.extend(found),
            Err(error) => *wrong = Some(error.to_string()),
        }
    }
    let [without_logits, without_contacts] = wrong;
    let all = [
        needed(config),
        frequencies(config),
        lm_head(config),
        contact_head(config),
    ];
    let places = all
        .iter()
        .flatten()
        .flat_map(|wanted| names.places(&wanted.name));
    Ok(Weights {
        by_name,
        stored_dtype,
        places: places.map(|place| place.tensor).collect(),
        without_logits,
        without_contacts,
        adapter: None,
    })
}

/// Frequencies in some layers only: the others were lost, and must not be computed.
fn all_or_none(
    tensors: &TensorSet,
    names: &Names,
    config: &EsmConfig,
    found: &HashMap<String, Resolved>,
) -> Result<(), CheckpointError> {
    let mut layers = (0..config.layers).map(inv_freq_name);
    if !layers.clone().any(|name| found.contains_key(&name)) {
        return Ok(());
    }
    match layers.find(|name| !found.contains_key(name)) {
        Some(lost) => {
            let tensor = names.first(&lost);
            let path = tensors.home(&tensor).to_path_buf();
            Err(CheckpointError::MissingTensor {
                of: names.naming.model(),
                tensor,
                path,
            })
        }
        None => Ok(()),
    }
}

/// A weight's rows and columns, and whether it is a vector.
pub(super) type Shape = ([usize; 2], bool);

/// The names and shapes of all weights that a model of this configuration may have.
pub(super) fn names(config: &EsmConfig) -> Vec<(String, Shape)> {
    let all = [needed(config), lm_head(config), contact_head(config)];
    let all = all.into_iter().flatten();
    all.map(|wanted| (wanted.name, (wanted.shape, wanted.vector)))
        .collect()
}

fn needed(config: &EsmConfig) -> Vec<NeededWeight> {
    let (dim, intermediate) = (config.dim, config.intermediate);
    let mut wanted = vec![NeededWeight::matrix(
        "embed_tokens.weight",
        config.vocab,
        dim,
    )];
    if let Positions::Learned { rows } = config.positions {
        wanted.push(NeededWeight::matrix("embed_positions.weight", rows, dim));
    }
    if config.emb_layer_norm_before {
        wanted.extend(NeededWeight::norm("emb_layer_norm_before", dim));
    }
    let linear = |name: String, rows, columns| {
        let [weight, bias] = NeededWeight::linear(&name, rows, columns);
        let bias = config.biases.then_some(bias);
        std::iter::once(weight).chain(bias)
    };
    for i in 0..config.layers {
        for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            wanted.extend(linear(
                format!("layers.{i}.self_attn.{projection}"),
                dim,
                dim,
            ));
        }
        wanted.extend(NeededWeight::norm(
            &format!("layers.{i}.self_attn_layer_norm"),
            dim,
        ));
        if config.qk_norm {
            let names = ["q_norm", "k_norm"];
            let names = names.map(|part| format!("layers.{i}.self_attn.{part}.weight"));
            wanted.extend(names.map(|name| NeededWeight::vector(name, dim)));
        }
        let fc1: &[&str] = match config.activation {
            Activation::Gelu => &["fc1"],
            Activation::SwiGlu => &["fc1_silu", "fc1_gate"],
        };
        for part in fc1 {
            wanted.extend(linear(format!("layers.{i}.{part}"), intermediate, dim));
        }
        wanted.extend(linear(format!("layers.{i}.fc2"), dim, intermediate));
        wanted.extend(NeededWeight::norm(
            &format!("layers.{i}.final_layer_norm"),
            dim,
        ));
    }
    let [weight, bias] = NeededWeight::norm("emb_layer_norm_after", dim);
    wanted.push(weight);
    if config.biases {
        wanted.push(bias);
    }
    wanted
}

/// fair-esm's name of the matrix from the head's hidden states to logits.
pub(super) const DECODER: &str = "lm_head.weight";

fn lm_head(config: &EsmConfig) -> Vec<NeededWeight> {
    let mut wanted = Vec::new();
    wanted.extend(NeededWeight::linear(
        "lm_head.dense",
        config.dim,
        config.dim,
    ));
    wanted.extend(NeededWeight::norm("lm_head.layer_norm", config.dim));
    wanted.push(NeededWeight::vector("lm_head.bias", config.vocab));
    // Without it, the decoder is the embedding.
    wanted.push(NeededWeight::matrix(DECODER, config.vocab, config.dim));
    wanted
}

fn contact_head(config: &EsmConfig) -> Vec<NeededWeight> {
    let width = config.layers * config.heads;
    NeededWeight::linear("contact_head.regression", 1, width).into()
}

fn frequencies(config: &EsmConfig) -> Vec<NeededWeight> {
    match config.positions {
        Positions::Rotary => {
            let length = config.head_dim() / 2;
            let layers = 0..config.layers;
            layers
                .map(|i| NeededWeight::vector(inv_freq_name(i), length))
                .collect()
        }
        Positions::Learned { .. } => Vec::new(),
    }
}

/// fair-esm's name of the rotary frequencies of a layer.
pub(super) fn inv_freq_name(layer: usize) -> String {
    format!("layers.{layer}.self_attn.rot_emb.inv_freq")
}

fn common_dtype(dtypes: impl Iterator<Item = FloatType>) -> StoredDtype {
    let mut dtypes = dtypes.map(StoredDtype::from);
    let first = dtypes.next().unwrap_or(StoredDtype::F32);
    if dtypes.all(|dtype| dtype == first) {
        first
    } else {
        StoredDtype::Mixed
    }
}

struct Resolver<'a> {
    tensors: &'a TensorSet,
    names: &'a Names,
    config: &'a EsmConfig,
    fused: Fused,
}

impl Resolver<'_> {
    fn find(&self, wanted: &NeededWeight) -> Result<Option<Resolved>, CheckpointError> {
        for place in self.names.places(&wanted.name) {
            if let Some(tensor) = self.tensors.get(&place.tensor) {
                return self.check(wanted, place, tensor).map(Some);
            }
        }
        Ok(None)
    }

    /// The weights of a head that the file has.
    fn head(&self, wanted: &[NeededWeight]) -> Result<Vec<(String, Resolved)>, CheckpointError> {
        let mut found = Vec::new();
        for wanted in wanted {
            if let Some(resolved) = self.find(wanted)? {
                found.push((wanted.name.clone(), resolved));
            }
        }
        Ok(found)
    }

    fn check(
        &self,
        wanted: &NeededWeight,
        TensorPlace { tensor, part }: TensorPlace,
        stored: &StoredTensor,
    ) -> Result<Resolved, CheckpointError> {
        let path = || self.tensors.home(&tensor).to_path_buf();
        let parts = part.map_or(1, |(_, of)| of);
        let [rows, columns] = wanted.shape;
        let shape = if wanted.vector {
            vec![columns * parts]
        } else {
            vec![rows * parts, columns]
        };
        if stored.shape != shape {
            let (path, found) = (path(), stored.shape.clone());
            return Err(CheckpointError::Shape {
                of: self.names.naming.model(),
                tensor,
                path,
                found,
                wanted: shape,
            });
        }
        let (dtype, offset, strides) = match &stored.data {
            Data::Floats {
                dtype,
                offset,
                strides,
            } => (*dtype, *offset, strides.as_slice()),
            Data::Unreadable(found) => {
                let (path, found) = (path(), found.clone());
                return Err(CheckpointError::Unreadable {
                    tensor,
                    path,
                    found,
                });
            }
        };
        let strides = match strides {
            [across] => [0, *across],
            [down, across] => [*down, *across],
            _ => [0, 1],
        };
        let block = match self.fused {
            Fused::ByHead => self.config.head_dim(),
            Fused::Whole if wanted.vector => columns,
            Fused::Whole => rows,
        };
        Ok(Resolved {
            file: self.tensors.file_of(&tensor).unwrap_or(0),
            tensor,
            dtype,
            offset,
            shape: wanted.shape,
            strides,
            part: part.map(|(number, of)| Part { number, of, block }),
            vector: wanted.vector,
            zero_row: None,
            added: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Alphabet;

    #[test]
    fn an_esm1b_needs_its_positions_and_both_norms() {
        let config = EsmConfig {
            layers: 2,
            dim: 8,
            heads: 2,
            intermediate: 32,
            activation: Activation::Gelu,
            vocab: 33,
            alphabet: Alphabet::Esm,
            positions: Positions::Learned { rows: 1026 },
            emb_layer_norm_before: true,
            token_dropout: true,
            biases: true,
            qk_norm: false,
            residual_scale: 1.0,
            layer_norm_eps: 1e-5,
        };
        let wanted = needed(&config);
        assert_eq!(wanted.len(), 1 + 1 + 2 + 2 * 16 + 2);
        let shape = |name: &str| wanted.iter().find(|w| w.name == name).map(|w| w.shape);
        assert_eq!(shape("embed_positions.weight"), Some([1026, 8]));
        assert_eq!(shape("layers.1.fc1.weight"), Some([32, 8]));
        assert_eq!(shape("layers.1.fc2.weight"), Some([8, 32]));
        assert_eq!(shape("layers.1.fc2.bias"), Some([1, 8]));
        assert_eq!(shape("emb_layer_norm_before.bias"), Some([1, 8]));
        assert_eq!(shape("layers.2.fc1.weight"), None);
        assert_eq!(lm_head(&config).len() + contact_head(&config).len(), 8);
        assert_eq!(frequencies(&config).len(), 0);
        let rotary = EsmConfig {
            positions: Positions::Rotary,
            ..config
        };
        assert_eq!(frequencies(&rotary).len(), 2);
    }

    #[test]
    fn dtypes_are_one_or_mixed() {
        assert_eq!(
            common_dtype([FloatType::F16, FloatType::F16].into_iter()),
            StoredDtype::F16
        );
        assert_eq!(
            common_dtype([FloatType::F16, FloatType::F32].into_iter()),
            StoredDtype::Mixed
        );
    }
}
