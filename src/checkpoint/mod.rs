//! Checkpoints: from any published layout to an architecture and named weights.
//!
//! [`Checkpoint::open`] takes a Hugging Face folder (safetensors or `.bin`, one file or shards), a
//! `.safetensors` or `.bin` beside its `config.json`, a fair-esm `.pt`, a state dict under any keys of a
//! torch file, a folder with one of these, NVIDIA's TransformerEngine export of ESM-2, or ESM C as
//! transformers, EvolutionaryScale's SDK, Biohub or ESM++ save it. It checks
//! everything before a model is built: each needed tensor exists once and has the shape that the
//! configuration calls for, no shard is missing, settings and tensors agree, the alphabet is proven to
//! be ESM's, and no trained tensor of the encoder is left out. The kind and size of the model come from
//! the configuration and the shapes, never from a file's name.
//!
//! Only the needed parts of a file are read, and never the complete file at once. A [`Weight`] is a view
//! that converts one row at a time to `f32` and refuses NaN and infinities, so a model can be loaded
//! without a second copy of the file in memory. A pickle is read as data: nothing in it is imported or
//! called.
//!
//! Weights have fair-esm's names in every layout: `embed_tokens.weight`,
//! `layers.0.self_attn.q_proj.weight`, `layers.0.fc1.bias`, `emb_layer_norm_after.weight`,
//! `lm_head.dense.weight`, `contact_head.regression.weight`. ESM C has `layers.0.self_attn.q_norm.weight`,
//! `layers.0.self_attn.k_norm.weight` too, and `layers.0.fc1_silu.weight` and `layers.0.fc1_gate.weight` in
//! the place of `fc1`.

mod adapter;
mod adapter_config;
mod alphabet;
mod carried;
mod config;
mod contacts;
mod error;
mod esm_c;
mod fair_esm;
mod file;
pub(crate) mod file_names;
mod foreign;
mod hf_config;
mod identify;
mod index;
pub(crate) mod json;
mod lm_head;
mod loaded;
mod locate;
mod lora;
mod names;
mod nemo;
mod pickle;
mod replaced;
mod resolve;
mod rotary;
mod safetensors;
mod state_dict;
mod tensors;
mod torch;
mod torch_zip;
mod unused;
mod weight;
mod whole;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use adapter::Adapter;
use adapter_config::adapter_of;
pub(crate) use adapter_config::configured_adapter;
pub use adapter_config::lone_adapter;
pub use alphabet::AlphabetProof;
pub use config::{EsmConfig, Positions, TRAINING_MAXIMUM};
pub use contacts::ContactRegression;
pub use error::CheckpointError;
pub(crate) use foreign::{describe_repository, is_esm_c, other_format};
pub(crate) use index::ShardIndex;
pub use lm_head::LmHeadWeights;
pub use lora::{AppliedAdapter, read_lora};
pub use names::Naming;
pub use rotary::{InvFreq, InvFreqSource};
pub use tensors::StoredDtype;
pub use weight::{Weight, WeightRows};
pub(crate) use whole::check_whole;

use crate::stamp::Stamp;
use crate::tokenizer::MASK;

use contacts::Contacts;
use fair_esm::FairEsmLoader;
use file::WeightFile;
use hf_config::HfConfig;
use loaded::Loaded;
use lora::Lora;
use names::Names;
use resolve::{Fused, Weights};
use tensors::TensorSet;

const EMBEDDING: &str = "embed_tokens.weight";
const POSITIONS: &str = "embed_positions.weight";
const LM_HEAD: [&str; 5] = [
    "lm_head.dense.weight",
    "lm_head.dense.bias",
    "lm_head.layer_norm.weight",
    "lm_head.layer_norm.bias",
    "lm_head.bias",
];
const CONTACT_HEAD: [&str; 2] = [
    "contact_head.regression.weight",
    "contact_head.regression.bias",
];

/// An opened and checked checkpoint.
///
/// ```
/// use esm_embed::checkpoint::{Checkpoint, CheckpointError};
///
/// let checkpoint = Checkpoint::open("fixtures/esm2_hd16".as_ref())?;
/// assert_eq!((checkpoint.config().layers, checkpoint.config().dim), (2, 32));
/// let key = checkpoint.weight("layers.0.self_attn.k_proj.weight")?;
/// let mut row = [0.0; 32];
/// key.read_row(0, &mut row)?;
/// # Ok::<(), CheckpointError>(())
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    config: EsmConfig,
    names: Names,
    files: Vec<PathBuf>,
    tensors: TensorSet,
    weights: Weights,
    contacts: Contacts,
    /// Why the language-model head cannot be used, if it is there.
    without_logits: Option<String>,
    rope_theta: f64,
    alphabet: AlphabetProof,
    adapter: Option<AppliedAdapter>,
    warnings: Vec<String>,
    notes: Vec<String>,
}

/// Files that a checkpoint is opened with, beside its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Additions<'a> {
    /// The contact regression in this file, whatever the checkpoint holds.
    pub contact_regression: Option<&'a Path>,
    /// The LoRA adapter in this folder, as PEFT saves it: its product is added to the weights.
    pub adapter: Option<&'a Path>,
}

impl Checkpoint {
    /// Opens the checkpoint at a path and checks it. Only headers, configuration and the small heads are
    /// read: the cost does not grow with the size of the encoder.
    ///
    /// # Errors
    /// What makes the checkpoint unusable; see [`CheckpointError`]. NaN and infinities among the
    /// weights of the encoder are found by [`WeightRows::read`].
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(path, Additions::default())
    }

    /// The same with files that the checkpoint does not hold.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; a file without a regression, or with that of another model; an adapter
    /// of another kind than LoRA, or of another model.
    pub fn open_with(path: &Path, additions: Additions<'_>) -> Result<Self, CheckpointError> {
        let Additions {
            contact_regression,
            adapter,
        } = additions;
        let mut located = locate::locate(path)?;
        if let Some(given) = contact_regression {
            located.regression = Some(given.to_path_buf());
            located.regression_given = true;
        }
        let Loaded {
            mut tensors,
            settings,
            nemo,
            carried,
            main,
        } = loaded::load(&located)?;
        let names = identify::detect(&located, &tensors, settings.as_ref(), &main)?;
        if let Some(given) = contact_regression.filter(|_| names.naming.is_esm_c()) {
            return Err(contacts::none_for_esm_c(given));
        }
        unused::refuse_adapters(&tensors, &names)?;
        let hf = match names.naming {
            Naming::FairEsm
            | Naming::NeMo
            | Naming::EsmC
            | Naming::EsmCSdk
            | Naming::EsmCResearch => None,
            Naming::HuggingFace | Naming::TransformerEngine => {
                Some(identify::read_config(&located, &main)?)
            }
        };
        let is_esm_c = names.naming.is_esm_c();
        let esm_c = match is_esm_c {
            true => esm_c::read(&located, &names, &main)?,
            false => None,
        };
        let alphabet = identify::prove_alphabet(
            &located,
            &tensors,
            &names,
            hf.as_ref(),
            esm_c.as_ref(),
            carried,
            &main,
        )?;
        let config = match (&hf, &located.config) {
            (_, path) if is_esm_c => {
                let described = esm_c.as_ref().zip(path.as_deref());
                esm_c::config(&tensors, &names, described, &main)
            }
            (Some(hf), Some(path)) => identify::hf_config(hf, path, &tensors, &names, &main),
            _ => fair_esm::config(&tensors, &names, settings.as_ref(), &main),
        };
        let mut config = config.map_err(|error| replaced::explained(error, &tensors))?;
        config.alphabet = alphabet.alphabet;
        if let Some(nemo) = &nemo {
            nemo.complete(&mut config, &main)?;
        }
        let interleaved = !is_esm_c && hf.as_ref().is_none_or(HfConfig::qkv_interleaved);
        let fused = if interleaved {
            Fused::ByHead
        } else {
            Fused::Whole
        };
        let mut weights = resolve::resolve(&tensors, &names, &config, fused)
            .map_err(|error| replaced::explained(error, &tensors))?;
        let unused = unused::check(&tensors, &names, &weights.places, &main)?;
        let contacts = weights.without_contacts.take();
        let wrong = contacts.clone();
        let not_used = contacts.map(|wrong| format!("the contact head is not used: {wrong}"));
        let taken = match hf {
            Some(_) => None,
            None => fair_esm::warning(&config, settings.as_ref(), &main),
        };
        let beside = located.adapter.as_ref().and_then(|file| {
            let folder = file.parent().unwrap_or(Path::new("."));
            let is_applied = adapter.is_some_and(|path| path == folder || path == file);
            (!is_applied).then(|| adapter_of(folder).warning(file))
        });
        let is_tied = !is_esm_c && hf.as_ref().is_none_or(HfConfig::is_tied);
        let applied = match adapter {
            Some(adapter) => {
                let lora = Lora::open(adapter, &mut tensors)?;
                Some(lora.apply(path, names.naming, fused, &config, is_tied, &mut weights)?)
            }
            None => None,
        };
        let unknown = applied.as_ref().and_then(|applied| applied.warning.clone());
        let warnings = [alphabet.warning(), unused, not_used, taken, beside, unknown];
        // fair-esm's loader of ESM-1b and 1v zeroes this row, in embedding and LM head alike.
        if settings.is_some_and(|settings| settings.loader == Some(FairEsmLoader::Version1)) {
            for name in [EMBEDDING, resolve::DECODER] {
                if let Some(matrix) = weights.by_name.get_mut(name) {
                    matrix.zero_row = Some(MASK.into());
                }
            }
        }
        let damaged = drop_damaged_heads(&tensors, &mut weights)?;
        let contacts = Contacts::new(contact_regression, wrong.as_ref(), &damaged)?;
        let wrong = weights.without_logits.take();
        let wrong = wrong.and_then(|wrong| wrong.lines().next().map(str::to_owned));
        let changed = applied
            .as_ref()
            .is_some_and(|applied| applied.changes_embedding)
            && !weights.by_name.contains_key(resolve::DECODER);
        let changed = changed.then(|| {
            "the adapter changes the token embedding, which is also the head's decoder".to_owned()
        });
        let without_logits = wrong.or(changed).or_else(|| {
            let is_lost = !is_tied && !weights.by_name.contains_key(resolve::DECODER);
            is_lost.then(|| {
                let tensor = names.places(resolve::DECODER).pop();
                let tensor = tensor.map(|place| place.tensor).unwrap_or_default();
                match is_esm_c {
                    true => format!("it holds no `{tensor}`"),
                    false => format!("tie_word_embeddings is false, but it holds no `{tensor}`"),
                }
            })
        });
        let warnings = warnings.into_iter().flatten().chain(damaged).collect();
        let config_file = located.config.filter(|_| hf.is_some() || esm_c.is_some());
        let files = config_file
            .into_iter()
            .chain(located.index)
            .chain(located.weights);
        let notes = [
            unused::heads(&tensors, &names, &main),
            applied.as_ref().and_then(|applied| applied.note.clone()),
        ];
        let adapter = applied.map(|applied| applied.applied);
        let of_adapter = adapter.iter().flat_map(|adapter| adapter.files.clone());
        let files = files.chain(located.regression).chain(of_adapter);
        Ok(Self {
            path: path.to_path_buf(),
            config,
            names,
            files: files.collect(),
            tensors,
            weights,
            contacts,
            without_logits,
            alphabet: alphabet.proof,
            adapter,
            warnings,
            notes: notes.into_iter().flatten().collect(),
            rope_theta: match (&hf, &esm_c) {
                (Some(hf), _) => hf.rope_theta(),
                (None, Some(esm_c)) => esm_c.rope_theta(),
                (None, None) => 10_000.0,
            },
        })
    }

    /// The folder or file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture.
    pub fn config(&self) -> &EsmConfig {
        &self.config
    }

    /// How the checkpoint names and arranges its weights.
    pub fn naming(&self) -> Naming {
        self.names.naming
    }

    /// What proves the alphabet.
    pub fn alphabet(&self) -> AlphabetProof {
        self.alphabet
    }

    /// What a user should know before using the embeddings of this checkpoint: what it holds that is not
    /// used, and what was assumed.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What it holds that embeddings do not need, such as the head of a fine-tuned model.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The adapter that its weights include.
    pub fn adapter(&self) -> Option<&AppliedAdapter> {
        self.adapter.as_ref()
    }

    /// How the encoder's weights are stored.
    pub fn stored_dtype(&self) -> StoredDtype {
        self.weights.stored_dtype
    }

    /// Every file that determines the weights or the architecture: configuration, index, weights in the
    /// order of their names, contact regression, adapter.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Reads one of [`Checkpoint::files`] from its beginning. A file of weights is the one that was
    /// opened, even if it has been replaced since.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn read_file(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        match self.tensors.files().find(|file| file.path() == path) {
            Some(file) => Ok(Box::new(file.reader())),
            None => Ok(Box::new(File::open(path)?)),
        }
    }

    /// The current stamp of one of [`Checkpoint::files`], taken from the open file. None if the stamp has
    /// changed since the file was opened, or if it is not a file of weights.
    pub fn stamp(&self, path: &Path) -> Option<Stamp> {
        let mut files = self.tensors.files();
        files.find(|file| file.path() == path)?.stamp()
    }

    /// A weight by fair-esm's name. Every checkpoint has all weights of the encoder; those of the LM
    /// head and the contact head may be absent.
    ///
    /// # Errors
    /// [`CheckpointError::NoSuchWeight`].
    pub fn weight(&self, name: &str) -> Result<Weight<'_>, CheckpointError> {
        self.find(name)
            .ok_or_else(|| CheckpointError::NoSuchWeight {
                path: self.path.clone(),
                asked: format!("weight `{name}`"),
            })
    }

    /// Reads the weights of the encoder that `unread` selects by name and refuses NaN and infinities,
    /// as [`WeightRows::read`] does for the weights that a model loads. Heads with NaN or infinities
    /// already count as absent.
    ///
    /// # Errors
    /// [`CheckpointError::NonFinite`].
    pub fn check_finite(&self, unread: impl Fn(&str) -> bool) -> Result<(), CheckpointError> {
        let mut buffer = Vec::new();
        let mut names: Vec<&String> = self.weights.by_name.keys().collect();
        names.sort_unstable();
        let heads = [&LM_HEAD[..], &[resolve::DECODER], &CONTACT_HEAD].concat();
        let is_wanted = |name: &&String| unread(name) && !heads.contains(&name.as_str());
        for name in names.into_iter().filter(is_wanted) {
            read_whole(&self.weight(name)?, &mut buffer)?;
        }
        Ok(())
    }

    /// Checks that the files of weights were not written to since they were opened, so that everything
    /// read from them belongs together.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`], or a file cannot be examined.
    pub fn check_unchanged(&self) -> Result<(), CheckpointError> {
        self.tensors
            .files()
            .try_for_each(WeightFile::check_unchanged)
    }

    /// The inverse frequencies of a layer of a rotary model: those in the checkpoint, or computed ones if
    /// it has none.
    ///
    /// # Errors
    /// [`CheckpointError::NoSuchWeight`] for a model with learned positions or a layer it does
    /// not have, [`CheckpointError::NonFinite`] for damaged frequencies.
    pub fn inv_freq(&self, layer: usize) -> Result<InvFreq, CheckpointError> {
        if self.config.positions != Positions::Rotary || layer >= self.config.layers {
            return Err(CheckpointError::NoSuchWeight {
                path: self.path.clone(),
                asked: format!("rotary frequencies of layer {layer}"),
            });
        }
        match self.find(&resolve::inv_freq_name(layer)) {
            Some(stored) => Ok(InvFreq {
                values: stored.to_vec()?,
                source: InvFreqSource::Stored,
            }),
            None => Ok(InvFreq::computed(self.config.head_dim(), self.rope_theta)),
        }
    }

    /// Whether the checkpoint has the regression from attention to contacts.
    pub fn has_contact_head(&self) -> bool {
        CONTACT_HEAD.iter().all(|name| self.find(name).is_some())
    }

    fn find(&self, name: &str) -> Option<Weight<'_>> {
        let resolved = self.weights.by_name.get(name)?;
        let adapter = self.weights.adapter;
        Some(Weight {
            resolved,
            file: self.tensors.file(resolved.file)?,
            adapter: adapter.and_then(|number| self.tensors.file(number)),
        })
    }
}

/// Reads every row of a weight.
fn read_whole(weight: &Weight<'_>, buffer: &mut Vec<f32>) -> Result<(), CheckpointError> {
    let [count, columns] = weight.shape();
    let mut rows = weight.rows();
    buffer.resize(columns, 0.0);
    (0..count).try_for_each(|row| rows.read(row, buffer))
}

/// Drops heads that hold NaN or infinities: embeddings do not need them. A warning for each names the
/// tensor.
fn drop_damaged_heads(
    tensors: &TensorSet,
    weights: &mut Weights,
) -> Result<Vec<String>, CheckpointError> {
    let mut warnings = Vec::new();
    let mut buffer = Vec::new();
    let logits = [&LM_HEAD[..], &[resolve::DECODER]].concat();
    for (head, names) in [
        ("language-model head", &logits[..]),
        ("contact head", &CONTACT_HEAD),
    ] {
        let mut wrong = None;
        let adapter = weights.adapter.and_then(|number| tensors.file(number));
        for resolved in names.iter().filter_map(|name| weights.by_name.get(*name)) {
            let Some(file) = tensors.file(resolved.file) else {
                continue;
            };
            let weight = Weight {
                resolved,
                file,
                adapter,
            };
            match read_whole(&weight, &mut buffer) {
                Err(error @ CheckpointError::NonFinite { .. }) => {
                    wrong = Some(error.to_string());
                    break;
                }
                other => other?,
            }
        }
        if let Some(wrong) = wrong {
            names.iter().for_each(|name| {
                weights.by_name.remove(*name);
            });
            if names.contains(&resolve::DECODER) {
                weights.without_logits = Some(wrong.clone());
            }
            warnings.push(format!("the {head} is not used: {wrong}"));
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_by_several_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Checkpoint>();
        shared::<Weight<'_>>();
    }
}
