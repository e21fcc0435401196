//! How far a run is, in numbers and in words.

use super::super::quantities::{scaled, seconds};
use super::tally::SoFar;
use esm_embed::numerals::{count, grouped};
use serde::Serialize;

/// How far a run is. Sequences that occur several times count once.
#[derive(Debug, Serialize)]
pub struct Numbers {
    /// Finished, by this process or an earlier one.
    pub records: u64,
    /// Their residues.
    pub residues: u64,
    /// In all.
    pub records_total: Option<u64>,
    /// Their residues.
    pub residues_total: Option<u64>,
    /// Of the finished ones, those that an earlier process computed.
    pub records_restored: u64,
    /// Their residues.
    pub residues_restored: u64,
    /// Since embedding began.
    pub seconds: f64,
    /// Speed of this process.
    pub residues_per_second: Option<f64>,
    /// Until the end at this speed.
    pub seconds_left: Option<f64>,
}

impl From<SoFar> for Numbers {
    fn from(so_far: SoFar) -> Numbers {
        let (done, totals) = (so_far.done(), so_far.totals);
        Numbers {
            records: done.records,
            residues: done.residues,
            records_total: totals.records.map(|total| total.max(done.records)),
            residues_total: totals.residues.map(|total| total.max(done.residues)),
            records_restored: so_far.restored.records,
            residues_restored: so_far.restored.residues,
            seconds: so_far.seconds,
            residues_per_second: so_far.rate(),
            seconds_left: so_far.seconds_left(),
        }
    }
}

impl Numbers {
    /// Records of all records; of a stream, records and residues.
    pub fn done(&self) -> String {
        match self.records_total {
            Some(total) => format!("{} of {}", grouped(self.records), count(total, "record")),
            None => format!(
                "{}, {}",
                count(self.records, "record"),
                count(self.residues, "residue")
            ),
        }
    }

    /// Residues per second.
    pub fn speed(&self) -> Option<String> {
        let rate = self.residues_per_second?;
        Some(format!("{} residues/s", scaled(rate)))
    }

    /// Time so far.
    pub fn elapsed(&self) -> String {
        format!("{} elapsed", seconds(self.seconds))
    }

    /// Time left.
    pub fn left(&self) -> Option<String> {
        let left = self.seconds_left?;
        Some(format!("{} left", seconds(left)))
    }

    /// The part of all residues that is finished, from 0 to 1.
    pub fn share(&self) -> Option<f64> {
        let total = self.residues_total.filter(|total| *total > 0)?;
        Some(self.residues as f64 / total as f64)
    }

    /// Records, rate, time so far and time left.
    pub fn so_far(&self) -> String {
        let parts = [
            Some(self.done()),
            self.speed(),
            Some(self.elapsed()),
            self.left(),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    pub fn in_total(&self) -> String {
        let done = match self.records_total {
            Some(total) if total != self.records => self.done(),
            _ => count(self.records, "record"),
        };
        let mut line = format!("{done}, {}", count(self.residues, "residue"));
        if self.records_restored > 0 {
            line += &format!(
                "; computed in this run: {}, {}",
                count(self.records.saturating_sub(self.records_restored), "record"),
                count(
                    self.residues.saturating_sub(self.residues_restored),
                    "residue"
                )
            );
        }
        line += &format!(" in {}", seconds(self.seconds));
        if let Some(speed) = self.speed() {
            line += &format!(", {speed}");
        }
        line
    }
}
