//! Admission: from the text of a sequence to the tokens that are embedded, or the reason why it
//! cannot be.
//!
//! ```text
//! "MKTAY…" ── Policy ──> tokens, windows ── MemoryBudget ──> Prepared, or Unfit
//! ```
//!
//! [`Policy`] says how characters, gaps and long sequences are treated. [`MemoryBudget`] says
//! whether a forward pass over the tokens fits in memory; [`Gate`] lets passes begin only while
//! they fit together. Whoever embeds sequences uses the three alike; nothing here knows where a
//! sequence comes from or what happens to its rows.
//!
//! ```
//! use esm_embed::admission::{Admission, Gaps, Long, Policy, Unfit};
//! use esm_embed::tokenizer::{Alphabet, UnknownPolicy};
//!
//! let admission = Admission {
//!     policy: Policy {
//!         alphabet: Alphabet::Esm,
//!         unknown: UnknownPolicy::Unk,
//!         gaps: Gaps::Keep,
//!         long: Long::Truncate(3),
//!         model_limit: None,
//!     },
//!     memory: None,
//!     maps: None,
//! };
//! let prepared = admission.admit(b"MKTAY")?;
//! assert_eq!(prepared.tokens, [0, 20, 15, 11, 2]);
//! assert_eq!(prepared.truncated_from, Some(5));
//! assert_eq!(admission.admit(b""), Err(Unfit::Empty));
//! # Ok::<(), Unfit>(())
//! ```

mod gate;
mod maps;
mod memory_budget;
mod pass_cost;
mod policy;
mod unfit;

pub use gate::{Entered, Gate};
pub use maps::{MapCost, MapLimit};
pub use memory_budget::{MemoryBudget, ModelMemory, ModelTooLarge};
pub use pass_cost::{PassCost, PassLimits};
pub use policy::{Gaps, Long, Policy, PolicyError, Prepared};
pub use unfit::Unfit;

use crate::fasta::MAX_SEQUENCE;
use std::ops::Range;

/// What a sequence has to pass before it is embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// How sequences are treated.
    pub policy: Policy,
    /// Memory for forward passes; None if there is no limit.
    pub memory: Option<MemoryBudget>,
    /// How large attention maps may be; None if none are written.
    pub maps: Option<MapLimit>,
}

impl Admission {
    /// Turns the text of a sequence, without white space, into what is embedded.
    ///
    /// # Errors
    /// Why it cannot be embedded.
    pub fn admit(&self, sequence: &[u8]) -> Result<Prepared, Unfit> {
        let prepared = self.policy.prepare(sequence)?;
        self.check(&prepared)?;
        Ok(prepared)
    }

    /// Whether there is memory for what is embedded.
    ///
    /// # Errors
    /// There is not.
    pub fn check(&self, prepared: &Prepared) -> Result<(), Unfit> {
        let tokens = prepared.tokens.len();
        self.check_sizes(prepared.original_residues(), tokens, &prepared.windows)
    }

    /// The same for any sequence of this many residues.
    ///
    /// # Errors
    /// There is not.
    pub fn check_length(&self, residues: usize) -> Result<(), Unfit> {
        let long = self.policy.long;
        let tokens = long.embedded(residues) + 2;
        self.check_sizes(residues, tokens, &long.windows(residues))
    }

    fn check_sizes(
        &self,
        original: usize,
        tokens: usize,
        windows: &[Range<usize>],
    ) -> Result<(), Unfit> {
        let residues = tokens.saturating_sub(2);
        if let Some(needed) = self.maps.and_then(|limit| limit.exceeded(residues)) {
            return Err(Unfit::MapsTooLarge { residues, needed });
        }
        let Some(budget) = self.memory else {
            return Ok(());
        };
        let needed = budget.cost.record(tokens, windows);
        match needed > budget.bytes {
            true => Err(Unfit::TooLarge {
                residues: original,
                needed,
                available: budget.bytes,
                by: budget.by,
            }),
            false => Ok(()),
        }
    }

    /// Residues of the longest sequence that fits in memory; [`MAX_SEQUENCE`] if any does.
    pub fn longest(&self) -> usize {
        let Some(budget) = self.memory else {
            return MAX_SEQUENCE;
        };
        let fits = |residues: usize| {
            let long = self.policy.long;
            let window = long.window_of(residues).map(|size| 0..size);
            let tokens = long.embedded(residues) + 2;
            budget.cost.record(tokens, window.as_slice()) <= budget.bytes
        };
        // Needed memory grows with the length.
        let (mut longest, mut beyond) = (0, MAX_SEQUENCE + 1);
        while beyond - longest > 1 {
            let middle = longest + (beyond - longest) / 2;
            match fits(middle) {
                true => longest = middle,
                false => beyond = middle,
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests;
