//! Tensors that are not weights of the model: harmless, or a sign that the file holds another model than
//! the one that would be computed.

use std::collections::HashSet;
use std::path::Path;

use super::adapter::is_adapter_tensor;
use super::error::CheckpointError;
use super::names::{Location, Names};
use super::tensors::TensorSet;
use crate::printable;

/// Last parts of names of tensors that are not trained: buffers and states of libraries.
const HARMLESS: [&str; 8] = [
    "_extra_state",
    "_float_tensor",
    "cos_cached",
    "inv_freq",
    "num_batches_tracked",
    "position_ids",
    "sin_cached",
    "version",
];

/// The position table that a rotary model may still have.
const POSITION_TABLE: &str = "embeddings.position_embeddings.weight";

/// Modules that use what an encoder computes. Only these are known to be heads: any other tensor may
/// change the encoder.
const HEADS: [&str; 16] = [
    "classification_head",
    "classification_heads",
    "classifier",
    "cls_head",
    "contact_head",
    "head",
    "lm_head",
    "mlm_head",
    "pooler",
    "prediction_head",
    "qa_outputs",
    "regression",
    "regression_head",
    "regressor",
    "score",
    "score_head",
];

pub(super) fn is_harmless(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    HARMLESS.contains(&last) || name.ends_with(POSITION_TABLE)
}

/// Whether a tensor belongs to a known head, by the first part of its name below the modules that also
/// hold the encoder.
pub(super) fn is_head(names: &Names, name: &str) -> bool {
    let module = names.below_shared(name);
    let module = module.split_once('.').map_or("", |(module, _)| module);
    HEADS.contains(&module)
}

/// Refuses tensors of an adapter, except those of heads. This comes before single weights are looked up:
/// those that an adapter wraps have other names.
pub(super) fn refuse_adapters(tensors: &TensorSet, names: &Names) -> Result<(), CheckpointError> {
    let found = tensors.names().filter(|name| {
        is_adapter_tensor(name)
            && (names.location(name) == Location::Inside || !is_head(names, name))
    });
    refuse(tensors, found)
}

/// Refuses tensors inside the encoder that are not `used`, and returns a warning about tensors elsewhere
/// that may change the model.
pub(super) fn check(
    tensors: &TensorSet,
    names: &Names,
    used: &HashSet<String>,
    main: &Path,
) -> Result<Option<String>, CheckpointError> {
    let is_unknown =
        |name: &&str| !used.contains(*name) && !is_harmless(name) && !is_head(names, name);
    let (inside, mut elsewhere): (Vec<&str>, Vec<&str>) = tensors
        .names()
        .filter(is_unknown)
        .partition(|name| names.location(name) != Location::Outside);
    refuse(tensors, inside.into_iter())?;
    elsewhere.sort_unstable();
    Ok((!elsewhere.is_empty()).then(|| {
        format!(
            "{}: {} not used: {}; if {} part of the encoder, the embeddings are those of another \
             model",
            main.display(),
            match elsewhere.len() {
                1 => "1 tensor beside the encoder is".to_owned(),
                count => format!("{count} tensors beside the encoder are"),
            },
            printable::list(&elsewhere),
            if elsewhere.len() == 1 {
                "it is"
            } else {
                "they are"
            }
        )
    }))
}

/// A note about the heads of a fine-tuned model; those that every model may have are not named.
pub(super) fn heads(tensors: &TensorSet, names: &Names, main: &Path) -> Option<String> {
    const USUAL: [&str; 3] = ["contact_head", "lm_head", "pooler"];
    let modules = tensors
        .names()
        .filter(|name| names.location(name) == Location::Outside && is_head(names, name))
        .filter_map(|name| names.below_shared(name).split('.').next())
        .filter(|module| !USUAL.contains(module));
    let mut modules: Vec<&str> = modules.collect();
    modules.sort_unstable();
    modules.dedup();
    (!modules.is_empty()).then(|| {
        format!(
            "{}: {} not used: {}",
            main.display(),
            match modules.len() {
                1 => "the head of a fine-tuned model is",
                _ => "the heads of a fine-tuned model are",
            },
            printable::list(&modules)
        )
    })
}

fn refuse<'a>(
    tensors: &TensorSet,
    found: impl Iterator<Item = &'a str>,
) -> Result<(), CheckpointError> {
    let mut found: Vec<String> = found.map(str::to_owned).collect();
    found.sort_unstable();
    match found.first() {
        None => Ok(()),
        Some(first) => Err(CheckpointError::Unexplained {
            path: tensors.home(first).to_path_buf(),
            tensors: found,
        }),
    }
}
