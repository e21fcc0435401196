//! How far a run is, in numbers and in words.

use super::super::quantities::{scaled, seconds};
use super::tally::SoFar;
use esm_embed::numerals::{count, grouped};
use esm_embed::pipeline::Counted;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// How far a run is. Sequences that occur several times count once.
#[derive(Debug)]
pub struct Numbers {
    /// What records and residues stand for.
    pub counted: Counted,
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

/// What is counted, as names.
pub struct Names {
    pub things: &'static str,
    pub parts: &'static str,
}

impl Names {
    pub fn of(counted: Counted) -> Names {
        let (things, parts) = match counted {
            Counted::Records => ("records", "residues"),
            Counted::Passes => ("passes", "tokens"),
        };
        Names { things, parts }
    }
}

/// `1 record`, `286 passes`.
pub fn things(counted: Counted, number: u64) -> String {
    match (counted, number) {
        (Counted::Records, _) => count(number, "record"),
        (Counted::Passes, 1) => "1 pass".to_owned(),
        (Counted::Passes, _) => format!("{} passes", grouped(number)),
    }
}

/// `1 residue`, `82,368 tokens`.
pub fn parts(counted: Counted, number: u64) -> String {
    match counted {
        Counted::Records => count(number, "residue"),
        Counted::Passes => count(number, "token"),
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Names { things, parts } = Names::of(self.counted);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(things, &self.records)?;
        map.serialize_entry(parts, &self.residues)?;
        map.serialize_entry(&format!("{things}_total"), &self.records_total)?;
        map.serialize_entry(&format!("{parts}_total"), &self.residues_total)?;
        map.serialize_entry(&format!("{things}_restored"), &self.records_restored)?;
        map.serialize_entry(&format!("{parts}_restored"), &self.residues_restored)?;
        map.serialize_entry("seconds", &self.seconds)?;
        map.serialize_entry(&format!("{parts}_per_second"), &self.residues_per_second)?;
        map.serialize_entry("seconds_left", &self.seconds_left)?;
        map.end()
    }
}

impl From<SoFar> for Numbers {
    fn from(so_far: SoFar) -> Numbers {
        let (done, totals) = (so_far.done(), so_far.totals);
        Numbers {
            counted: totals.counted,
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
            Some(total) => {
                let total = things(self.counted, total);
                format!("{} of {total}", grouped(self.records))
            }
            None => format!(
                "{}, {}",
                things(self.counted, self.records),
                parts(self.counted, self.residues)
            ),
        }
    }

    /// Residues, or tokens, per second.
    pub fn speed(&self) -> Option<String> {
        let rate = self.residues_per_second?;
        let Names { parts, .. } = Names::of(self.counted);
        Some(format!("{} {parts}/s", scaled(rate)))
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
            _ => things(self.counted, self.records),
        };
        let mut line = format!("{done}, {}", parts(self.counted, self.residues));
        if self.records_restored > 0 {
            line += &format!(
                "; computed in this run: {}, {}",
                things(
                    self.counted,
                    self.records.saturating_sub(self.records_restored)
                ),
                parts(
                    self.counted,
                    self.residues.saturating_sub(self.residues_restored)
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
