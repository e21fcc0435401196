//! Totals of a run.

use crate::output::index::Entry;
use crate::product::Fallback;
use serde::{Deserialize, Serialize};

/// Totals over all records of a run, as `run.json` states them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that were written.
    pub records: u64,
    /// Residue rows of all records.
    pub residues: u64,
    /// Records that are the first with their sequence, which were computed.
    pub unique_sequences: u64,
    /// Records whose rows were copied from an earlier one.
    pub duplicates: u64,
    /// Characters outside the alphabet.
    pub unknown: u64,
    /// Lower-case letters.
    pub lower: u64,
    /// `<mask>` tokens.
    pub masks: u64,
    /// Gaps of an alignment, `-` and `.`, whether or not they were removed.
    #[serde(default)]
    pub gaps: u64,
    /// White space and invisible characters beyond ASCII, which were dropped.
    #[serde(default)]
    pub invisible: u64,
    /// Records whose trailing `*` was dropped.
    pub stops: u64,
    /// Records that were truncated.
    pub truncated: u64,
    /// Records that were embedded in windows.
    pub windowed: u64,
    /// Records left out, listed in `skipped.tsv`.
    pub skipped: u64,
    /// Records that look like nucleotides.
    #[serde(default)]
    pub nucleotides: u64,
    /// Records with the identifier of an earlier record but another sequence.
    #[serde(default)]
    pub reused_ids: u64,
    /// Different sequences whose values were copied from other folders.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub known: u64,
    /// Records computed in bf16 because their numbers do not fit f16.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub in_bf16: u64,
    /// The same in f32, on a GPU without bf16.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub in_f32: u64,
}

/// Records that were computed in another format because their numbers do not fit f16.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct InFallback {
    pub(crate) bf16: u64,
    pub(crate) f32: u64,
}

impl InFallback {
    /// Adds a record.
    pub(crate) fn add(&mut self, fallback: Option<Fallback>) {
        match fallback {
            None => {}
            Some(Fallback::Bf16) => self.bf16 += 1,
            Some(Fallback::F32) => self.f32 += 1,
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Adds one record, whose sequence or identifier may repeat an earlier one.
    pub(super) fn add(&mut self, entry: &Entry, duplicate: bool, reused_id: bool) {
        self.records += 1;
        self.residues += entry.length;
        if duplicate {
            self.duplicates += 1;
        } else {
            self.unique_sequences += 1;
        }
        self.unknown += entry.unknown;
        self.lower += entry.lower;
        self.masks += entry.masks;
        self.gaps += entry.gaps;
        self.invisible += entry.invisible;
        self.nucleotides += u64::from(entry.nucleotides);
        self.reused_ids += u64::from(reused_id);
        self.stops += u64::from(entry.stop);
        self.truncated += u64::from(entry.truncated_from.is_some());
        self.windowed += u64::from(entry.windows.is_some());
    }

    /// Adds the totals of another part of the input.
    pub(super) fn include(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.records, other.records),
            (&mut self.residues, other.residues),
            (&mut self.unique_sequences, other.unique_sequences),
            (&mut self.duplicates, other.duplicates),
            (&mut self.unknown, other.unknown),
            (&mut self.lower, other.lower),
            (&mut self.masks, other.masks),
            (&mut self.gaps, other.gaps),
            (&mut self.invisible, other.invisible),
            (&mut self.stops, other.stops),
            (&mut self.truncated, other.truncated),
            (&mut self.windowed, other.windowed),
            (&mut self.skipped, other.skipped),
            (&mut self.nucleotides, other.nucleotides),
            (&mut self.reused_ids, other.reused_ids),
            (&mut self.known, other.known),
            (&mut self.in_bf16, other.in_bf16),
            (&mut self.in_f32, other.in_f32),
        ] {
            *to = to.saturating_add(from);
        }
    }
}
