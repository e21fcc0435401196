//! What a server is while it runs, and what it decides about a sequence without computing anything.

use super::refusal::{Kind, Refusal};
use crate::admission::{Admission, Long, MemoryBudget, Prepared, Unfit};
use crate::checkpoint::{EsmConfig, TRAINING_MAXIMUM};
use crate::numerals::grouped;
use crate::product::{ModelShape, Product};
use crate::tokenizer::TokenizerError;

/// Which residues of a long sequence are embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncate {
    /// As the server was started; a request of this dialect cannot ask for anything else.
    NotOffered,
    /// As the server was started.
    NotAsked,
    /// The first ones.
    KeepFirst,
    /// The last ones.
    KeepLast,
}

/// What does not change while the server runs.
pub struct Facts {
    /// The shape of the model.
    pub config: EsmConfig,
    /// Its shape as products count it.
    pub shape: ModelShape,
    /// What a sequence has to pass.
    pub admission: Admission,
    /// The layers that may be asked for, ascending; at least one.
    pub layers: Vec<usize>,
    /// Logits and contacts, if they may be asked for.
    pub include: Vec<Product>,
    /// `cpu (avx512)`, or the kinds of GPUs.
    pub device: String,
    /// Number format of the computation.
    pub dtype: String,
    /// Tokens of a batch.
    pub max_tokens: usize,
}

impl Facts {
    /// The highest layer that is served.
    pub fn last_layer(&self) -> usize {
        self.layers.last().copied().unwrap_or(self.config.layers)
    }

    /// The index of a layer as a request names it.
    ///
    /// # Errors
    /// It is not served.
    pub fn layer(&self, asked: Option<i64>) -> Result<usize, Refusal> {
        let Some(asked) = asked else {
            return Ok(self.last_layer());
        };
        let found = self.config.layer_index(asked);
        found
            .filter(|layer| self.layers.contains(layer))
            .ok_or_else(|| {
                let layers: Vec<String> = self.layers.iter().map(usize::to_string).collect();
                let layers = match layers.as_slice() {
                    [one] => format!("only layer {one}"),
                    several => format!("layers {}", several.join(", ")),
                };
                Refusal::new(
                    Kind::Invalid,
                    format!("layer {asked} is not served; this server has {layers}"),
                )
            })
    }

    /// What a sequence has to pass for these products: what a request does not ask for takes no memory.
    pub(super) fn admission_for(&self, products: &[Product]) -> Admission {
        let memory = self.admission.memory.map(|budget| MemoryBudget {
            cost: budget.cost.for_products(products),
            ..budget
        });
        Admission {
            memory,
            ..self.admission
        }
    }

    /// Residues of the longest sequence that is taken as it is, for embeddings.
    pub fn longest(&self) -> usize {
        let policy = self.admission.policy;
        let by_policy = match (policy.long, policy.model_limit) {
            (Long::Error, None) => Some(TRAINING_MAXIMUM),
            (Long::Full | Long::Error, limit) => limit,
            (Long::Truncate(_) | Long::Window { .. }, _) => None,
        };
        let by_memory = self.admission_for(&[]).longest();
        by_policy.map_or(by_memory, |limit| limit.min(by_memory))
    }

    /// Residues that truncation leaves: ESM's training maximum, if the model has positions for it.
    pub fn truncated_to(&self) -> usize {
        let limit = self.admission.policy.model_limit;
        limit.map_or(TRAINING_MAXIMUM, |limit| limit.min(TRAINING_MAXIMUM))
    }

    /// Shape of the array of a product.
    pub fn shape_of(&self, product: Product, residues: usize) -> Vec<u64> {
        product.shape(&self.shape, residues as u64)
    }

    /// What is embedded of a sequence: all of it, or the first or last residues if it is too long. What is
    /// kept has the bits of a sequence that consists of it.
    pub(super) fn admit(
        &self,
        mut admission: Admission,
        sequence: &[u8],
        truncate: Truncate,
    ) -> Result<Prepared, Unfit> {
        let most = self.truncated_to();
        admission.policy.long = match truncate {
            Truncate::NotOffered | Truncate::NotAsked => return admission.admit(sequence),
            Truncate::KeepFirst => Long::Truncate(most),
            Truncate::KeepLast => Long::Full,
        };
        admission.policy.model_limit = None;
        let mut prepared = admission.policy.prepare(sequence)?;
        let residues = prepared.residues();
        if residues > most {
            prepared.tokens.drain(1..=residues - most);
            prepared.truncated_from = Some(residues as u64);
        }
        admission.check(&prepared)?;
        Ok(prepared)
    }

    /// Why a sequence is refused, in the words of `run`, and what a client can do about it.
    pub(super) fn refusal(&self, unfit: &Unfit, truncate: Truncate) -> Refusal {
        let text = unfit.to_string();
        let reason = text.lines().next().unwrap_or_default();
        match unfit {
            Unfit::Empty | Unfit::OnlyGaps => Refusal::new(Kind::Empty, reason),
            Unfit::Token(error) => {
                // What to write instead is not obvious for pairs only.
                let remedy = match error {
                    TokenizerError::NoStructure => {
                        "; write # behind each amino acid if the structure is unknown: M#K#T#"
                    }
                    TokenizerError::Pair { .. } => {
                        "; write each residue as an amino acid in upper case and its 3Di letter in \
                         lower case, or # for an unknown one: MdK#"
                    }
                    _ => "",
                };
                Refusal::new(Kind::Character, format!("{reason}{remedy}"))
            }
            Unfit::TooLong { .. } | Unfit::BeyondModel { .. } | Unfit::TooLarge { .. }
                if truncate != Truncate::NotOffered =>
            {
                let limit = grouped(self.truncated_to() as u64);
                let remedy = format!("with `truncate`, its first {limit} residues are embedded");
                Refusal::new(Kind::TooLarge, format!("{reason}; {remedy}"))
            }
            Unfit::TooLong { .. }
            | Unfit::BeyondModel { .. }
            | Unfit::TooLarge { .. }
            | Unfit::MapsTooLarge { .. } => Refusal::new(Kind::TooLarge, reason),
        }
    }
}
