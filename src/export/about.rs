//! What other tools want to know about a run.

use super::arrays::{exported, layer};
use crate::output::{Array, FinishedFolder};

/// The run of an output folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// The name that ProtSpace gives to the model, or else its own.
    pub(super) model_name: String,
    /// Its repository, or how it was given.
    pub(super) model: String,
    /// Its revision on the Hub.
    pub(super) revision: Option<String>,
    /// The layer of the array.
    pub(super) layer: Option<usize>,
    /// The array.
    pub(super) array: String,
}

impl About {
    pub(super) fn of(folder: &FinishedFolder, array: &Array) -> Self {
        let model = folder.model_name();
        Self {
            model_name: model_name(&model),
            model,
            revision: folder.manifest().resolved.model.revision.clone(),
            layer: layer(exported(folder, array.product)),
            array: array.name(),
        }
    }
}

/// `esm2_650m` for `facebook/esm2_t33_650M_UR50D`; the last part of any other name.
fn model_name(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    let parts: Vec<&str> = name.split('_').collect();
    match parts.as_slice() {
        [family @ "esm2", layers, size, "UR50D"] if layers.starts_with('t') => {
            format!("{family}_{}", size.to_lowercase())
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::model_name;

    #[test]
    fn names_of_models() {
        for (model, expected) in [
            ("facebook/esm2_t33_650M_UR50D", "esm2_650m"),
            ("facebook/esm2_t36_3B_UR50D", "esm2_3b"),
            ("facebook/esm1b_t33_650M_UR50S", "esm1b_t33_650M_UR50S"),
            ("esm2_hd16", "esm2_hd16"),
            ("", ""),
        ] {
            assert_eq!(model_name(model), expected);
        }
    }
}
