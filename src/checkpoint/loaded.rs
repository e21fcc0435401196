//! The headers of a checkpoint's files, read into one set of tensors.

use std::collections::HashSet;
use std::path::PathBuf;

use super::error::CheckpointError;
use super::fair_esm::Settings;
use super::file::WeightFile;
use super::locate::Located;
use super::nemo::{self, NemoConfig};
use super::tensors::{StoredTensor, TensorSet};
use super::{contacts, foreign, names, safetensors, torch, torch_zip};

/// All tensors of a checkpoint's files.
pub(super) struct Loaded {
    pub(super) tensors: TensorSet,
    pub(super) settings: Option<Settings>,
    /// The settings of a `.nemo`.
    pub(super) nemo: Option<NemoConfig>,
    /// What an alphabet in a torch file says against that of ESM.
    pub(super) carried: Option<String>,
    /// The file that errors about the whole name.
    pub(super) main: PathBuf,
}

/// Reads the headers of all files that were located.
pub(super) fn load(located: &Located) -> Result<Loaded, CheckpointError> {
    let mut tensors = TensorSet::new(located.listed.clone());
    let mut settings = None;
    let mut carried = None;
    let mut nemo = None;
    for path in &located.weights {
        let mut file = WeightFile::open(path)?;
        if nemo::is_nemo(path) {
            let opened = nemo::open(file)?;
            nemo = Some(opened.config);
            file = opened.weights;
        }
        let is_certain = safetensors::looks_like(&file);
        let is_damaged = is_safetensors(&file) && safetensors::has_header(&file);
        if let Some((found, remedy)) = foreign::of_content(path, file.start())
            && !is_certain
            && !is_damaged
        {
            return Err(CheckpointError::NotWeights {
                path: path.clone(),
                found,
                remedy: remedy.into(),
            });
        }
        let found = if is_certain || is_safetensors(&file) {
            safetensors::read(&file)?
        } else {
            let torch = torch::read(&file)?;
            settings = settings.or(torch.settings);
            carried = carried.or(torch.against);
            torch.tensors
        };
        tensors.add(file, unwrapped(found))?;
    }
    if let Some(path) = &located.regression {
        let file = WeightFile::open(path).map_err(contacts::not_there)?;
        let found = contacts::read(&file)?;
        if found.is_empty() && located.regression_given {
            return Err(contacts::none_in(path));
        }
        // Like fair-esm's loader, the separate file wins over what the model may hold.
        let held = tensors.names().filter(|name| contacts::is_regression(name));
        let held: Vec<String> = held.map(str::to_owned).collect();
        held.iter().for_each(|name| tensors.remove(name));
        tensors.add(file, found)?;
    }
    let main = located
        .index
        .as_ref()
        .or(located.weights.first())
        .cloned()
        .unwrap_or_default();
    Ok(Loaded {
        tensors,
        settings,
        nemo,
        carried,
        main,
    })
}

/// By name, where a damaged file looks like nothing at all.
fn is_safetensors(file: &WeightFile) -> bool {
    let named = file
        .path()
        .extension()
        .is_some_and(|extension| extension == "safetensors");
    named && !torch_zip::looks_like(file.start())
}

/// The tensors without the modules that only wrap others, as long as their names then differ.
fn unwrapped(tensors: Vec<(String, StoredTensor)>) -> Vec<(String, StoredTensor)> {
    let names: HashSet<_> = tensors
        .iter()
        .map(|(name, _)| names::unwrapped(name))
        .collect();
    if names.len() < tensors.len() {
        return tensors;
    }
    let tensors = tensors.into_iter();
    tensors
        .map(|(name, tensor)| (names::unwrapped(&name).into_owned(), tensor))
        .collect()
}
