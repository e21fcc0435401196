//! Why a sequence cannot be embedded.

use crate::memory::LimitedBy;
use crate::numerals::{bytes, count, grouped};
use crate::tokenizer::TokenizerError;
use thiserror::Error;

/// Why a sequence cannot be embedded. The text ends with `hint:` lines where the way sequences are
/// treated could be changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// No residue: a mean over nothing is undefined.
    #[error("the sequence is empty")]
    Empty,
    /// Gaps of an alignment and no residue.
    #[error("the sequence holds only gaps")]
    OnlyGaps,
    /// A character that is refused.
    #[error(transparent)]
    Token(#[from] TokenizerError),
    /// Longer than the limit that was asked for.
    #[error(
        "the sequence has {}, more than the limit of {}\n\
         hint: use `long=full`, `long=window` or `long=truncate`",
        count(*.residues as u64, "residue"),
        grouped(*.limit as u64)
    )]
    TooLong {
        /// Residues of the sequence.
        residues: usize,
        /// Residues allowed.
        limit: usize,
    },
    /// Longer than the model's learned positions.
    #[error(
        "the sequence has {}, and this model's learned positions end at {}\n\
         hint: use `long=window` or `long=truncate`",
        count(*.residues as u64, "residue"),
        grouped(*.limit as u64)
    )]
    BeyondModel {
        /// Residues of the sequence.
        residues: usize,
        /// Residues that the model can embed.
        limit: usize,
    },
    /// Its attention maps take more than a file may.
    #[error(
        "the attention maps of {} would take {}, more than the limit of 4.3 GB for a record\n\
         hint: choose some layers with `attention_layers`, use `attention_heads=mean`, or \
         `out_dtype=f16`",
        count(*.residues as u64, "residue"),
        bytes(*.needed)
    )]
    MapsTooLarge {
        /// Residues of the sequence that are embedded.
        residues: usize,
        /// Bytes of its maps.
        needed: u64,
    },
    /// A forward pass takes more memory than there is for it.
    #[error(
        "the sequence has {}, which need about {} of memory; {} are left beside the model ({})\n\
         hint: raise the limit\n\
         hint: use `long=window` or `long=truncate`",
        count(*.residues as u64, "residue"),
        bytes(*.needed),
        bytes(*.available),
        .by
    )]
    TooLarge {
        /// Residues of the sequence.
        residues: usize,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that there are.
        available: u64,
        /// What sets the limit.
        by: LimitedBy,
    },
}

impl Unfit {
    /// Whether another machine could embed the sequence, or other products of it.
    pub(crate) fn is_of_machine(&self) -> bool {
        matches!(self, Unfit::MapsTooLarge { .. } | Unfit::TooLarge { .. })
    }

    /// Residues of the sequence, if it could be read.
    pub fn residues(&self) -> Option<usize> {
        match *self {
            Unfit::TooLong { residues, .. }
            | Unfit::BeyondModel { residues, .. }
            | Unfit::MapsTooLarge { residues, .. }
            | Unfit::TooLarge { residues, .. } => Some(residues),
            Unfit::Empty | Unfit::OnlyGaps | Unfit::Token(_) => None,
        }
    }
}
