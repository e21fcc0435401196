//! How sequences are treated: characters, gaps, and what is longer than the limit. Pure.

use super::unfit::Unfit;
use crate::checkpoint::{EsmConfig, TRAINING_MAXIMUM};
use crate::nucleotides::is_nucleotides;
use crate::numerals::grouped;
use crate::tokenizer::{Alphabet, EOS, TokenId, Tokens, UnknownPolicy};
use crate::windows::windows;
use std::fmt;
use std::ops::Range;
use thiserror::Error;

/// What happens to a sequence longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Long {
    /// It is embedded whole.
    Full,
    /// Its first residues are embedded.
    Truncate(usize),
    /// It is embedded in overlapping windows whose rows are blended.
    Window {
        /// Residues of a window.
        size: usize,
        /// Residues that neighbouring windows share.
        overlap: usize,
    },
    /// It is refused.
    Error,
}

impl Long {
    /// Residues that are embedded of a sequence of `residues`.
    pub fn embedded(self, residues: usize) -> usize {
        match self {
            Long::Truncate(first) => residues.min(first),
            Long::Full | Long::Window { .. } | Long::Error => residues,
        }
    }

    /// Residues of one window of a sequence of `residues`; None if it is embedded whole.
    pub fn window_of(self, residues: usize) -> Option<usize> {
        match self {
            Long::Window { size, .. } if residues > size => Some(size),
            _ => None,
        }
    }

    /// The windows of a sequence of `residues`; none if it is embedded whole.
    pub fn windows(self, residues: usize) -> Vec<Range<usize>> {
        match self {
            Long::Window { size, overlap } if residues > size => windows(residues, size, overlap),
            _ => Vec::new(),
        }
    }

    /// Tokens of all forward passes over a sequence of `residues`: `<cls>` and `<eos>` come with
    /// each window.
    pub fn tokens(self, residues: usize) -> u64 {
        let windows = self.windows(residues);
        let tokens = match windows.is_empty() {
            true => self.embedded(residues) + 2,
            false => windows.iter().map(|window| window.len() + 2).sum(),
        };
        tokens as u64
    }
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
    /// They are removed before the sequence is embedded.
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

/// Why sequences cannot be treated as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Windows, or what is left after truncation, are longer than learned positions allow.
    #[error(
        "`long={long}` asks for more residues than this model's learned positions, which end at {}",
        grouped(*.limit as u64)
    )]
    BeyondModel {
        /// What was asked.
        long: Long,
        /// Residues that the model can embed.
        limit: usize,
    },
}

/// How sequences are treated, resolved for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The alphabet of the model.
    pub alphabet: Alphabet,
    /// Characters outside the alphabet.
    pub unknown: UnknownPolicy,
    /// Gaps of an alignment.
    pub gaps: Gaps,
    /// Sequences longer than the limit.
    pub long: Long,
    /// Residues that the model can embed at most: 1,022 for the published models with learned
    /// positions, None with rotary positions.
    pub model_limit: Option<usize>,
}

impl Policy {
    /// Resolves what was asked for one model. By default, models with rotary positions embed
    /// sequences of any length, and those with learned positions refuse longer ones.
    ///
    /// # Errors
    /// The model cannot do what was asked.
    pub fn new(
        config: &EsmConfig,
        unknown: UnknownPolicy,
        gaps: Gaps,
        long: Option<Long>,
    ) -> Result<Policy, PolicyError> {
        let model_limit = config.positions.max_residues();
        let long = long.unwrap_or(match model_limit {
            None => Long::Full,
            Some(_) => Long::Error,
        });
        let size = match long {
            Long::Truncate(size) | Long::Window { size, .. } => Some(size),
            Long::Full | Long::Error => None,
        };
        match (size, model_limit) {
            (Some(size), Some(limit)) if size > limit => {
                Err(PolicyError::BeyondModel { long, limit })
            }
            _ => Ok(Policy {
                alphabet: config.alphabet,
                unknown,
                gaps,
                long,
                model_limit,
            }),
        }
    }

    /// Turns the text of a sequence, without white space, into tokens and windows.
    ///
    /// # Errors
    /// The sequence is empty, holds what is refused, or is too long.
    pub fn prepare(&self, sequence: &[u8]) -> Result<Prepared, Unfit> {
        let mut tokens = match self.gaps {
            Gaps::Keep => self.alphabet.tokenize(sequence, self.unknown)?,
            Gaps::Drop => self
                .alphabet
                .tokenize_without_gaps(sequence, self.unknown)?,
        };
        if self.holds_only_gaps(sequence, &tokens) {
            return Err(Unfit::OnlyGaps);
        }
        let residues = tokens.residues();
        if residues == 0 {
            return Err(Unfit::Empty);
        }
        self.check_length(residues)?;
        let nucleotides = self.alphabet != Alphabet::SaProt && is_nucleotides(&tokens.ids);
        let embedded = self.long.embedded(residues);
        if embedded < residues {
            tokens.ids.truncate(embedded + 1);
            tokens.ids.push(EOS);
        }
        Ok(Prepared {
            tokens: tokens.ids,
            unknown: tokens.unknown as u64,
            lower: tokens.lower as u64,
            masks: tokens.masks as u64,
            gaps: tokens.gaps as u64,
            invisible: tokens.invisible as u64,
            nucleotides,
            stop: tokens.stop_dropped,
            truncated_from: (embedded < residues).then_some(residues as u64),
            windows: self.long.windows(residues),
        })
    }

    fn check_length(&self, residues: usize) -> Result<(), Unfit> {
        match (self.long, self.model_limit) {
            (Long::Full | Long::Error, Some(limit)) if residues > limit => {
                Err(Unfit::BeyondModel { residues, limit })
            }
            (Long::Error, None) if residues > TRAINING_MAXIMUM => Err(Unfit::TooLong {
                residues,
                limit: TRAINING_MAXIMUM,
            }),
            _ => Ok(()),
        }
    }

    /// Whether a sequence has gaps and nothing else but the mark of a stop codon.
    fn holds_only_gaps(&self, sequence: &[u8], tokens: &Tokens) -> bool {
        if tokens.gaps == 0 {
            return false;
        }
        match (self.gaps, tokens.residues().saturating_sub(tokens.gaps)) {
            (Gaps::Drop, _) => tokens.residues() == 0,
            (Gaps::Keep, 0) => true,
            // A stop followed by gaps is not at the end, where it would have been dropped.
            (Gaps::Keep, 1) => self
                .alphabet
                .tokenize_without_gaps(sequence, self.unknown)
                .is_ok_and(|without| without.residues() == 0),
            (Gaps::Keep, _) => false,
        }
    }
}

/// A sequence ready to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// `<cls>`, residues, `<eos>`.
    pub tokens: Vec<TokenId>,
    /// Characters outside the alphabet among all residues of the record.
    pub unknown: u64,
    /// Lower-case letters among all residues of the record.
    pub lower: u64,
    /// `<mask>` tokens among all residues of the record.
    pub masks: u64,
    /// Gaps in the whole record, removed or not.
    pub gaps: u64,
    /// White space and invisible characters beyond ASCII that were dropped from the record.
    pub invisible: u64,
    /// Whether the whole record looks like nucleotides.
    pub nucleotides: bool,
    /// Whether a final `*` was dropped.
    pub stop: bool,
    /// Residues before truncation.
    pub truncated_from: Option<u64>,
    /// Windows to embed one by one; empty to embed the sequence whole.
    pub windows: Vec<Range<usize>>,
}

impl Prepared {
    /// Residues that are embedded, each with a row.
    pub fn residues(&self) -> usize {
        self.tokens.len().saturating_sub(2)
    }

    /// Residues before truncation.
    pub fn original_residues(&self) -> usize {
        let truncated = self.truncated_from.map(usize::try_from);
        truncated.and_then(Result::ok).unwrap_or(self.residues())
    }
}
