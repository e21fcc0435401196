//! What was done to a sequence before it was embedded, for whoever sent it.

use crate::admission::Prepared;
use crate::product::Fallback;
use serde::Serialize;
use utoipa::ToSchema;

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What was done to a sequence, and what may make its embedding mean something else than expected. A
/// count of zero is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Notes {
    /// Residues before the sequence was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated_from: Option<u64>,
    /// Overlapping windows that were embedded one by one.
    #[serde(skip_serializing_if = "is_zero")]
    pub windows: u64,
    /// Characters outside the alphabet, each embedded as `<unk>`.
    #[serde(skip_serializing_if = "is_zero")]
    pub unknown: u64,
    /// Lower-case letters that were read as upper case.
    #[serde(skip_serializing_if = "is_zero")]
    pub lower: u64,
    /// `<mask>` tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub masks: u64,
    /// Gaps of an alignment, `-` and `.`.
    #[serde(skip_serializing_if = "is_zero")]
    pub gaps: u64,
    /// Invisible characters beyond ASCII that were dropped.
    #[serde(skip_serializing_if = "is_zero")]
    pub invisible: u64,
    /// A final `*` was dropped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stop_dropped: bool,
    /// The sequence looks like nucleotides, and was read as amino acids.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nucleotides: bool,
    /// The number format in which it was computed because its numbers do not fit f16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computed_in: Option<String>,
}

impl Notes {
    /// What admission did.
    pub fn of(prepared: &Prepared) -> Notes {
        Notes {
            truncated_from: prepared.truncated_from,
            windows: prepared.windows.len() as u64,
            unknown: prepared.unknown,
            lower: prepared.lower,
            masks: prepared.masks,
            gaps: prepared.gaps,
            invisible: prepared.invisible,
            stop_dropped: prepared.stop,
            nucleotides: prepared.nucleotides,
            computed_in: None,
        }
    }

    /// The same for a sequence that was computed in another number format.
    pub fn computed_in(self, fallback: Option<Fallback>) -> Notes {
        Notes {
            computed_in: fallback.map(|format| format.to_string()),
            ..self
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Notes::default()
    }
}
