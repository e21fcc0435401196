//! A LoRA adapter of PEFT, added to the weights of its base when they are read: W + s·B·A.

mod applying;
mod config;
mod spellings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::applying::Applying;
use self::config::LoraConfig;
use super::adapter::Adapter;
use super::adapter_config::read_adapter;
use super::config::EsmConfig;
use super::error::CheckpointError;
use super::file::WeightFile;
use super::names::Naming;
use super::resolve::{Fused, Weights};
use super::tensors::{StoredTensor, TensorSet};
use super::{file_names, json, safetensors, torch};

/// An adapter that a checkpoint's weights include.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedAdapter {
    /// What its configuration says.
    pub adapter: Adapter,
    /// Weights that it changes.
    pub weights: usize,
    /// Its configuration and its weights.
    pub(super) files: [PathBuf; 2],
}

/// An opened adapter.
pub(super) struct Lora {
    config: LoraConfig,
    adapter: Adapter,
    tensors: BTreeMap<String, StoredTensor>,
    files: [PathBuf; 2],
    number: usize,
}

/// What was done.
pub(super) struct Application {
    pub(super) applied: AppliedAdapter,
    /// Heads that it trained and that are not used.
    pub(super) note: Option<String>,
    pub(super) warning: Option<String>,
    /// Whether it changes the token embedding.
    pub(super) changes_embedding: bool,
}

/// The LoRA adapter in a folder, or the one that a file belongs to, as far as its configuration says.
///
/// # Errors
/// There is none, or it is of another kind.
pub fn read_lora(path: &Path) -> Result<Adapter, CheckpointError> {
    configured(path).map(|(adapter, _)| adapter)
}

fn configured(path: &Path) -> Result<(Adapter, LoraConfig), CheckpointError> {
    let adapter = read_adapter(path)?;
    let config_file = adapter.folder.join(file_names::ADAPTER_CONFIG);
    if !adapter.is_lora() {
        return Err(CheckpointError::OtherAdapter {
            path: config_file,
            why: "only LoRA can be applied".into(),
            adapter: Box::new(adapter),
        });
    }
    let config: LoraConfig = json::read(&config_file)?;
    config.check(&config_file, &adapter)?;
    Ok((adapter, config))
}

impl Lora {
    /// Opens the adapter in a folder, or the one that a file belongs to. Its file joins those of the
    /// checkpoint.
    pub(super) fn open(path: &Path, tensors: &mut TensorSet) -> Result<Lora, CheckpointError> {
        let (adapter, config) = configured(path)?;
        let folder = adapter.folder.as_path();
        let config_file = folder.join(file_names::ADAPTER_CONFIG);
        let weights = file_names::LORA_WEIGHTS.iter();
        let mut weights = weights.map(|name| folder.join(name));
        let Some(weights_file) = weights.find(|file| file.symlink_metadata().is_ok()) else {
            return Err(CheckpointError::NotWeights {
                path: folder.to_path_buf(),
                found: format!(
                    "holds {}, but neither {} nor {}",
                    file_names::ADAPTER_CONFIG,
                    file_names::LORA_WEIGHTS[0],
                    file_names::LORA_WEIGHTS[1]
                ),
                remedy: "download it again, or save the adapter again with PEFT".into(),
            });
        };
        let file = WeightFile::open(&weights_file)?;
        let is_torch = weights_file.extension().is_some_and(|end| end == "bin")
            && !safetensors::looks_like(&file);
        let found = match is_torch {
            true => torch::read(&file)?.tensors,
            false => safetensors::read(&file)?,
        };
        Ok(Lora {
            config,
            adapter: adapter.clone(),
            tensors: found.into_iter().collect(),
            files: [config_file, weights_file],
            number: tensors.add_file(file),
        })
    }

    /// Adds it to the weights of its base. If `is_tied`, a decoder that is not among them is the embedding.
    pub(super) fn apply(
        self,
        base: &Path,
        naming: Naming,
        fused: Fused,
        config: &EsmConfig,
        is_tied: bool,
        weights: &mut Weights,
    ) -> Result<Application, CheckpointError> {
        Applying::new(&self, base, naming, fused, config, is_tied).all(weights)
    }
}
