//! One sequence as typed → what is embedded of it. Pure.

use super::job::{Long, USUAL_LIMIT};
use super::room::{Bytes, Room};
use crate::tokenizer::{EOS, TokenizerError, UnknownPolicy, tokenize};
use crate::windows::windows;
use std::ops::Range;
use thiserror::Error;

/// How sequences are treated, resolved for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Characters outside the alphabet.
    pub unknown: UnknownPolicy,
    /// Sequences longer than the limit.
    pub long: Long,
    /// Residues that the model can do at most: 1022 with learned positions, None with rotary.
    pub most: Option<usize>,
    /// Memory for forward passes; None if there is no limit.
    pub room: Option<Room>,
}

impl Policy {
    /// The longest sequence that `Long::Error` lets pass.
    pub fn limit(&self) -> usize {
        self.most.unwrap_or(USUAL_LIMIT)
    }
}

/// A sequence ready to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// `<cls>`, residues, `<eos>`.
    pub tokens: Vec<u8>,
    /// Characters outside the alphabet among all residues of the record.
    pub unknown: u64,
    /// Lower-case letters among all residues of the record.
    pub lower: u64,
    /// `<mask>` tokens among all residues of the record.
    pub masks: u64,
    /// Whether a final `*` was dropped.
    pub stop: bool,
    /// Residues before truncation.
    pub truncated_from: Option<u64>,
    /// Windows to embed one by one; empty to embed the sequence whole.
    pub windows: Vec<Range<usize>>,
}

impl Prepared {
    /// Residue rows that come out.
    pub fn residues(&self) -> usize {
        self.tokens.len().saturating_sub(2)
    }
}

/// Why a sequence cannot be embedded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// No residue: a mean over nothing is undefined.
    #[error("the sequence is empty")]
    Empty,
    /// A character that is refused.
    #[error(transparent)]
    Token(#[from] TokenizerError),
    /// Longer than allowed.
    #[error(
        "the sequence has {found} residues, more than {most}{}; choose --long truncate or --long \
         window{}",
        if *.learned { ", the most that this model's learned positions can do" } else { "" },
        if *.learned { "" } else { " or --long full" }
    )]
    TooLong {
        /// Residues of the sequence.
        found: usize,
        /// Residues allowed.
        most: usize,
        /// Whether the model cannot do more.
        learned: bool,
    },
    /// A forward pass would take more memory than there is for it.
    #[error(
        "the sequence has {found} residues, for which about {} of memory are needed, and {} are \
         left beside the model ({}); raise the limit, or choose --long window or --long truncate",
        Bytes(*.needed),
        Bytes(.room.bytes),
        .room.by
    )]
    TooLarge {
        /// Residues of the sequence.
        found: usize,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        room: Room,
    },
}

impl Unfit {
    /// The reason as it is listed for good: without numbers that another machine would not have.
    pub fn listed(&self) -> String {
        match self {
            Unfit::TooLarge { found, .. } => {
                format!("the sequence has {found} residues, which take more memory than there was")
            }
            other => other.to_string(),
        }
    }
}

/// Applies the policy to a sequence without white space.
///
/// # Errors
/// The sequence is empty, holds what is refused, or is too long.
pub fn prepare(sequence: &[u8], policy: &Policy) -> Result<Prepared, Unfit> {
    let mut tokens = tokenize(sequence, policy.unknown)?;
    let residues = tokens.residues();
    if residues == 0 {
        return Err(Unfit::Empty);
    }
    let mut prepared = Prepared {
        tokens: Vec::new(),
        unknown: tokens.unknown as u64,
        lower: tokens.lower as u64,
        masks: tokens.masks as u64,
        stop: tokens.stop_dropped,
        truncated_from: None,
        windows: Vec::new(),
    };
    let too_long = |most| Unfit::TooLong {
        found: residues,
        most,
        learned: policy.most.is_some(),
    };
    match policy.long {
        Long::Full => match policy.most {
            Some(most) if residues > most => return Err(too_long(most)),
            _ => {}
        },
        Long::Error if residues > policy.limit() => return Err(too_long(policy.limit())),
        Long::Truncate(most) if residues > most => {
            tokens.ids.truncate(most + 1);
            tokens.ids.push(EOS);
            prepared.truncated_from = Some(residues as u64);
        }
        Long::Window { size, overlap } if residues > size => {
            prepared.windows = windows(residues, size, overlap);
        }
        _ => {}
    }
    prepared.tokens = tokens.ids;
    if let Some(room) = policy.room {
        let needed = room.cost.record(prepared.tokens.len(), &prepared.windows);
        if needed > room.bytes {
            return Err(Unfit::TooLarge {
                found: residues,
                needed,
                room,
            });
        }
    }
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(long: Long, most: Option<usize>) -> Policy {
        Policy {
            unknown: UnknownPolicy::Unk,
            long,
            most,
            room: None,
        }
    }

    #[test]
    fn truncation_keeps_the_first_residues_and_both_ends() {
        let done = prepare(b"MKTAY", &policy(Long::Truncate(3), None)).unwrap();
        assert_eq!(done.tokens, [0, 20, 15, 11, 2]);
        assert_eq!(done.truncated_from, Some(5));
        let whole = prepare(b"MKT", &policy(Long::Truncate(3), None)).unwrap();
        assert_eq!(whole.truncated_from, None);
    }

    #[test]
    fn windows_only_where_they_are_needed() {
        let long = Long::Window {
            size: 4,
            overlap: 2,
        };
        let done = prepare(b"MKTAYI", &policy(long, None)).unwrap();
        assert_eq!(done.windows, [0..4, 2..6]);
        assert_eq!(done.residues(), 6);
        assert!(
            prepare(b"MKTA", &policy(long, None))
                .unwrap()
                .windows
                .is_empty()
        );
    }

    #[test]
    fn what_cannot_be_embedded_is_said() {
        let full = policy(Long::Full, None);
        assert_eq!(prepare(b"", &full), Err(Unfit::Empty));
        assert_eq!(prepare(b"*", &full), Err(Unfit::Empty));
        let long = vec![b'A'; 1023];
        assert!(prepare(&long, &full).is_ok());
        let learned = prepare(&long, &policy(Long::Full, Some(1022))).unwrap_err();
        assert_eq!(
            learned.to_string(),
            "the sequence has 1023 residues, more than 1022, the most that this model's learned \
             positions can do; choose --long truncate or --long window"
        );
        let asked = prepare(&long, &policy(Long::Error, None)).unwrap_err();
        assert_eq!(
            asked.to_string(),
            "the sequence has 1023 residues, more than 1022; choose --long truncate or --long \
             window or --long full"
        );
        assert!(prepare(&long[1..], &policy(Long::Error, None)).is_ok());
    }
}
