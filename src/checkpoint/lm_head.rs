//! The weights of the language-model head, or why a checkpoint has none that can be used.

use super::error::CheckpointError;
use super::resolve::DECODER;
use super::weight::Weight;
use super::{Checkpoint, EMBEDDING, LM_HEAD};
use crate::printable;

/// The weights from hidden states to logits.
#[derive(Clone, Copy, Debug)]
pub struct LmHeadWeights<'a> {
    /// `[D, D]`.
    pub dense: Weight<'a>,
    /// `[D]`.
    pub dense_bias: Weight<'a>,
    /// `[D]`, of the LayerNorm.
    pub norm: Weight<'a>,
    /// `[D]`, of the LayerNorm.
    pub norm_bias: Weight<'a>,
    /// `[tokens, D]`: the matrix that the file holds, else the token embedding. Rows beyond the
    /// alphabet are padding.
    pub decoder: Weight<'a>,
    /// `[tokens]`.
    pub bias: Weight<'a>,
}

impl Checkpoint {
    /// The language-model head.
    ///
    /// # Errors
    /// [`CheckpointError::NoLmHead`], with the reason: fine-tuned models and those saved without
    /// their head have none, and a head that is damaged or has other sizes is not used.
    pub fn lm_head(&self) -> Result<LmHeadWeights<'_>, CheckpointError> {
        let none = |why: String| CheckpointError::NoLmHead {
            path: self.path.clone(),
            why,
        };
        if let Some(why) = &self.without_logits {
            return Err(none(why.clone()));
        }
        let find = |name: &str| {
            self.find(name).ok_or_else(|| {
                let tensor = self.names.first(name);
                none(format!("it holds no `{}`", printable::name(&tensor)))
            })
        };
        let [dense, dense_bias, norm, norm_bias, bias] = LM_HEAD;
        Ok(LmHeadWeights {
            dense: find(dense)?,
            dense_bias: find(dense_bias)?,
            norm: find(norm)?,
            norm_bias: find(norm_bias)?,
            decoder: find(DECODER).or_else(|_| find(EMBEDDING))?,
            bias: find(bias)?,
        })
    }

    /// Whether the checkpoint has the head from hidden states to logits.
    pub fn has_lm_head(&self) -> bool {
        self.lm_head().is_ok()
    }
}
