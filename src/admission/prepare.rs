//! One sequence as typed → what is embedded of it. Pure.

use crate::admission::memory_budget::MemoryBudget;
use crate::fasta::MAX_SEQUENCE;
use crate::nucleotides::is_nucleotides;
use crate::numerals;
use crate::tokenizer::{
    EOS, TokenizerError, Tokens, UnknownPolicy, tokenize, tokenize_without_gaps,
};
use crate::windows::windows;
use std::fmt;
use std::ops::Range;
use thiserror::Error;

/// Residues that ESM was trained with at most, and that models with learned positions can do.
pub const TRAINING_MAXIMUM: usize = 1022;

/// What happens to a sequence longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Long {
    /// It is embedded whole.
    Full,
    /// Its first residues are embedded; the index says how many there were.
    Truncate(usize),
    /// It is embedded in overlapping windows that are blended.
    Window {
        /// Residues of a window.
        size: usize,
        /// Residues that neighbouring windows share.
        overlap: usize,
    },
    /// It is an invalid record.
    Error,
}

impl fmt::Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Long::Full => f.write_str("full"),
            Long::Truncate(n) => write!(f, "truncate:{n}"),
            Long::Window { size, overlap } => write!(f, "window:{size}:{overlap}"),
            Long::Error => f.write_str("error"),
        }
    }
}

/// What happens to the gaps of an alignment, `-` and `.`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// Each is a token of the alphabet and has a row, as in fair-esm.
    #[default]
    Keep,
    /// They are taken out before the sequence is embedded.
    Drop,
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gaps::Keep => "keep",
            Gaps::Drop => "drop",
        })
    }
}

/// How sequences are treated, resolved for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Characters outside the alphabet.
    pub unknown: UnknownPolicy,
    /// Gaps of an alignment.
    pub gaps: Gaps,
    /// Sequences longer than the limit.
    pub long: Long,
    /// Residues that the model can do at most: 1022 with learned positions, None with rotary.
    pub most: Option<usize>,
    /// Memory for forward passes; None if there is no limit.
    pub room: Option<MemoryBudget>,
    /// Residues beyond which records were left out for want of memory when the run began that is
    /// gone on with; None if that is for the present memory alone to say.
    pub agreed: Option<usize>,
}

impl Policy {
    /// The longest sequence that there is memory for; [`MAX_SEQUENCE`] if there is for any.
    pub fn longest(&self) -> usize {
        let fits = |residues: usize| {
            let (tokens, windows) = match self.long {
                Long::Truncate(most) => (residues.min(most), None),
                Long::Window { size, .. } if residues > size => (residues, Some(0..size)),
                _ => (residues, None),
            };
            self.room
                .is_none_or(|room| room.needed(tokens + 2, windows.as_slice()) <= room.bytes)
        };
        // What a record takes grows with its length.
        let (mut most, mut beyond) = (0, MAX_SEQUENCE + 1);
        while beyond - most > 1 {
            let middle = most + (beyond - most) / 2;
            match fits(middle) {
                true => most = middle,
                false => beyond = middle,
            }
        }
        most
    }

    /// The longest sequence that `Long::Error` lets pass.
    pub fn limit(&self) -> usize {
        self.most.unwrap_or(TRAINING_MAXIMUM)
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
    /// Gaps in the whole record, taken out or not.
    pub gaps: u64,
    /// White space and invisible characters beyond ASCII that were dropped from the record.
    pub invisible: u64,
    /// Whether the whole record is made of nucleotides.
    pub nucleotides: bool,
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
    /// Gaps of an alignment and no residue.
    #[error("the sequence holds only gaps")]
    OnlyGaps,
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
        numerals::bytes(*.needed),
        numerals::bytes(.room.bytes),
        .room.by
    )]
    TooLarge {
        /// Residues of the sequence.
        found: usize,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        room: MemoryBudget,
    },
    /// Left out when the run began for want of memory, and so for good.
    #[error("{}", self.listed())]
    LeftOut {
        /// Residues of the sequence.
        found: usize,
        /// Whether there is memory for it now.
        fits: bool,
    },
    /// Not left out when the run began, and now there is less memory.
    #[error(
        "the sequence has {found} residues and is part of the interrupted run, which left out only \
         those of more than {agreed}; about {} of memory are needed for it, and {} are left beside \
         the model ({}): resume where there is as much memory as before (fewer --threads take less), \
         or choose another folder with --out",
        numerals::bytes(*.needed),
        numerals::bytes(.room.bytes),
        .room.by
    )]
    LessRoom {
        /// Residues of the sequence.
        found: usize,
        /// The most residues that fitted when the run began.
        agreed: usize,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        room: MemoryBudget,
    },
}

impl Unfit {
    /// The reason as it is listed for good: without numbers that another machine would not have.
    pub fn listed(&self) -> String {
        match self {
            Unfit::TooLarge { found, .. } | Unfit::LeftOut { found, .. } => {
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
    let mut tokens = match policy.gaps {
        Gaps::Keep => tokenize(sequence, policy.unknown)?,
        Gaps::Drop => tokenize_without_gaps(sequence, policy.unknown)?,
    };
    if holds_only_gaps(sequence, &tokens, policy) {
        return Err(Unfit::OnlyGaps);
    }
    if tokens.residues() == 0 {
        return Err(Unfit::Empty);
    }
    let nucleotides = is_nucleotides(&tokens.ids);
    let residues = tokens.residues();
    let mut prepared = Prepared {
        tokens: Vec::new(),
        unknown: tokens.unknown as u64,
        lower: tokens.lower as u64,
        masks: tokens.masks as u64,
        gaps: tokens.gaps as u64,
        invisible: tokens.invisible as u64,
        nucleotides,
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
    let too_large = policy.room.and_then(|room| {
        let needed = room.needed(prepared.tokens.len(), &prepared.windows);
        (needed > room.bytes).then_some((needed, room))
    });
    match (too_large, policy.agreed) {
        (_, Some(agreed)) if residues > agreed => Err(Unfit::LeftOut {
            found: residues,
            fits: too_large.is_none(),
        }),
        (None, _) => Ok(prepared),
        (Some((needed, room)), None) => Err(Unfit::TooLarge {
            found: residues,
            needed,
            room,
        }),
        (Some((needed, room)), Some(agreed)) => Err(Unfit::LessRoom {
            found: residues,
            agreed,
            needed,
            room,
        }),
    }
}

/// Whether a sequence has gaps and nothing else but the mark of a stop codon.
fn holds_only_gaps(sequence: &[u8], tokens: &Tokens, policy: &Policy) -> bool {
    if tokens.gaps == 0 {
        return false;
    }
    match (policy.gaps, tokens.residues().saturating_sub(tokens.gaps)) {
        (Gaps::Drop, _) => tokens.residues() == 0,
        (Gaps::Keep, 0) => true,
        // A stop with gaps behind it is not at the end, where it would have been dropped.
        (Gaps::Keep, 1) => tokenize_without_gaps(sequence, policy.unknown)
            .is_ok_and(|without| without.residues() == 0),
        (Gaps::Keep, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(long: Long, most: Option<usize>) -> Policy {
        Policy {
            unknown: UnknownPolicy::Unk,
            gaps: Gaps::Keep,
            long,
            most,
            room: None,
            agreed: None,
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
    fn gaps_are_kept_or_taken_out_before_anything_else() {
        let keep = policy(Long::Truncate(4), None);
        let drop = Policy {
            gaps: Gaps::Drop,
            ..keep
        };
        let kept = prepare(b"-M.KT--AY", &keep).unwrap();
        assert_eq!(kept.tokens, [0, 30, 20, 29, 15, 2]);
        assert_eq!((kept.gaps, kept.truncated_from), (4, Some(9)));
        let dropped = prepare(b"-M.KT--AY", &drop).unwrap();
        assert_eq!(dropped.tokens, [0, 20, 15, 11, 5, 2]);
        assert_eq!((dropped.gaps, dropped.truncated_from), (4, Some(5)));
        for policy in [keep, drop] {
            for text in [
                "-",
                "...---",
                "--.*",
                "-\u{a0}-",
                "--*--",
                "*.",
                "- * -\u{a0}",
            ] {
                let unfit = prepare(text.as_bytes(), &policy);
                assert_eq!(unfit, Err(Unfit::OnlyGaps), "{text}");
            }
            assert!(prepare(b"-<mask>", &policy).is_ok());
        }
    }

    #[test]
    fn gaps_are_taken_out_before_a_stop_is_looked_for() {
        let drop = Policy {
            gaps: Gaps::Drop,
            ..policy(Long::Full, None)
        };
        let plain = prepare(b"MKTAY*", &drop).unwrap();
        for (text, gaps) in [
            ("MKTAY*--", 2),
            ("MKTAY*. -\u{200b}", 2),
            ("-M-KTAY-*-", 4),
            ("MKTAY--*", 2),
        ] {
            let done = prepare(text.as_bytes(), &drop).unwrap();
            assert_eq!(done.tokens, plain.tokens, "{text}");
            assert_eq!((done.stop, done.gaps, done.unknown), (true, gaps, 0));
        }
        // Only one stop is dropped, and only at the end.
        let two = prepare(b"MK*T**--", &drop).unwrap();
        assert_eq!((two.residues(), two.unknown), (5, 2));
        // fair-esm reads it as <unk>, and gaps that are kept are read as fair-esm reads them.
        let kept = prepare(b"MKTAY*--", &policy(Long::Full, None)).unwrap();
        assert_eq!((kept.residues(), kept.unknown, kept.stop), (8, 1, false));
    }

    #[test]
    fn what_cannot_be_embedded_is_said() {
        let full = policy(Long::Full, None);
        assert_eq!(prepare(b"", &full), Err(Unfit::Empty));
        assert_eq!(prepare(b"*", &full), Err(Unfit::Empty));
        assert_eq!(prepare("\u{200b}*".as_bytes(), &full), Err(Unfit::Empty));
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
