//! The regression from attention maps to contacts.

use std::path::Path;

use super::config::{EsmConfig, Positions};
use super::error::CheckpointError;
use super::file::WeightFile;
use super::names::Naming;
use super::tensors::StoredTensor;
use super::{CONTACT_HEAD, Checkpoint, safetensors, torch};
use crate::tokenizer::Alphabet;

/// The weights of the regression.
#[derive(Clone, Debug, PartialEq)]
pub struct ContactRegression {
    /// One for each head of each block, block by block.
    pub weights: Vec<f32>,
    /// The same for all pairs of residues.
    pub bias: f32,
}

/// Where the regression of a checkpoint comes from, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contacts {
    /// A file that the user named.
    Given,
    /// The files of the checkpoint.
    Found,
    /// What is wrong with it.
    Wrong(String),
}

impl Contacts {
    /// For a checkpoint whose user named the file `given`, if one did; `wrong` is what is wrong with
    /// the regression, and `damaged` are the warnings about heads with values that are not finite.
    ///
    /// # Errors
    /// The file that was named is of no use.
    pub(super) fn new(
        given: Option<&Path>,
        wrong: Option<&String>,
        damaged: &[String],
    ) -> Result<Contacts, CheckpointError> {
        let damaged = damaged.iter().find_map(|warning| {
            let (head, wrong) = warning.split_once(" is not used: ")?;
            (head == "the contact head").then_some(wrong)
        });
        let wrong = wrong.map(String::as_str).or(damaged);
        let wrong = wrong.and_then(|wrong| wrong.lines().next());
        match (given, wrong) {
            (None, None) => Ok(Contacts::Found),
            (None, Some(wrong)) => Ok(Contacts::Wrong(wrong.to_owned())),
            (Some(_), None) => Ok(Contacts::Given),
            (Some(path), Some(wrong)) => {
                let of_file = format!("{}: ", path.display());
                let wrong = wrong.strip_prefix(&*of_file).unwrap_or(wrong);
                Err(CheckpointError::NotWeights {
                    path: path.to_path_buf(),
                    found: format!("is not the contact regression of this model: {wrong}"),
                    remedy: OF_THE_MODEL.into(),
                })
            }
        }
    }
}

/// Why ESM C has no contacts.
const OF_ESM_C: &str = "ESM C has no contact head: it was published without one";

/// What to do about a file that is not the regression of the model.
const OF_THE_MODEL: &str = "name the NAME-contact-regression.pt that fair-esm publishes beside the \
                            model's NAME.pt";

impl Checkpoint {
    /// The regression from attention maps to contacts.
    ///
    /// # Errors
    /// [`CheckpointError::NoContacts`] with the reason: the checkpoint has no regression, or one that
    /// was never trained.
    pub fn contact_regression(&self) -> Result<ContactRegression, CheckpointError> {
        if let Some(why) = self.why_no_contacts() {
            let path = self.path.clone();
            let has_file = self.config().alphabet == Alphabet::Esm && !is_esm1v(self.config());
            return Err(CheckpointError::NoContacts {
                path,
                why,
                has_file,
            });
        }
        let [weight, bias] = CONTACT_HEAD.map(|name| self.weight(name)?.to_vec());
        Ok(ContactRegression {
            weights: weight?,
            bias: bias?.first().copied().unwrap_or_default(),
        })
    }

    fn why_no_contacts(&self) -> Option<String> {
        let is_whole = self.has_contact_head();
        match &self.contacts {
            Contacts::Given if is_whole => return None,
            Contacts::Wrong(why) => return Some(why.clone()),
            // transformers writes a regression for every model, trained or not.
            _ if is_esm1v(self.config()) => {
                return Some("ESM-1v was published without a contact regression".into());
            }
            _ if self.config().alphabet == Alphabet::SaProt => {
                return Some("no contact regression was trained for SaProt".into());
            }
            _ if is_whole => return None,
            _ => {}
        }
        Some(match self.naming() {
            Naming::TransformerEngine => {
                "NVIDIA's TransformerEngine exports have no contact regression".into()
            }
            Naming::FairEsm => "fair-esm keeps the contact regression in a second file, \
                                NAME-contact-regression.pt, which is not beside this one"
                .into(),
            Naming::NeMo => "BioNeMo's .nemo files have no contact regression".into(),
            Naming::HuggingFace => "it holds no contact regression".into(),
            Naming::EsmC | Naming::EsmCSdk | Naming::EsmCResearch => OF_ESM_C.into(),
        })
    }
}

/// Learned positions without a LayerNorm before them.
fn is_esm1v(config: &EsmConfig) -> bool {
    matches!(config.positions, Positions::Learned { .. }) && !config.emb_layer_norm_before
}

/// Whether this is the name of a tensor of a regression, under any prefix.
pub(super) fn is_regression(name: &str) -> bool {
    CONTACT_HEAD.iter().any(|end| {
        let prefix = name.strip_suffix(end);
        prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
    })
}

/// The tensors of a regression in a file by itself, under the names of fair-esm.
pub(super) fn read(file: &WeightFile) -> Result<Vec<(String, StoredTensor)>, CheckpointError> {
    let found = match safetensors::looks_like(file) {
        true => safetensors::read(file)?,
        false => torch::read(file)?.tensors,
    };
    let named = |(name, tensor): (String, StoredTensor)| {
        let ours = CONTACT_HEAD.into_iter().find(|end| name.ends_with(end));
        ours.filter(|_| is_regression(&name))
            .map(|ours| (ours.to_owned(), tensor))
    };
    Ok(found.into_iter().filter_map(named).collect())
}

/// The error of a regression that was given with ESM C.
pub(super) fn none_for_esm_c(path: &Path) -> CheckpointError {
    CheckpointError::NotWeights {
        path: path.to_path_buf(),
        found: format!("cannot be used with this model: {OF_ESM_C}"),
        remedy: "leave `contact_regression` out; `include=attentions` gives the attention maps"
            .into(),
    }
}

/// The error of a regression that cannot be opened: it is not a model.
pub(super) fn not_there(error: CheckpointError) -> CheckpointError {
    match error {
        CheckpointError::NotFound { path } => CheckpointError::NotWeights {
            path,
            found: "no such file".into(),
            remedy: OF_THE_MODEL.into(),
        },
        other => other,
    }
}

/// The error of a file that was named as a regression and holds none.
pub(super) fn none_in(path: &Path) -> CheckpointError {
    CheckpointError::NotWeights {
        path: path.to_path_buf(),
        found: "holds no contact regression (contact_head.regression.weight and .bias)".into(),
        remedy: OF_THE_MODEL.into(),
    }
}
