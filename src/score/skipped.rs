//! What is left without scores, and the lists of it.

use super::job::ScoreJob;
use super::places::Places;
use super::proteins::Proteins;
use super::variants::Variants;
use crate::numerals::grouped;
use crate::printable;
use std::path::Path;

/// A row of the table of variants, or a record, that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its line.
    pub line: u64,
    /// Its mutation as it is written, or its identifier.
    pub text: String,
    /// What was expected, and what is there.
    pub why: String,
}

/// The first line of a list of rows.
pub const OF_ROWS: &str = "line\tmutation\treason\n";
/// The first line of a list of records.
pub const OF_RECORDS: &str = "line\tid\treason\n";

/// A list with this first line, as a file.
pub fn list(header: &str, skipped: &[Skipped]) -> String {
    let mut text = header.to_owned();
    for one in skipped {
        let Skipped { line, why, .. } = one;
        text += &format!("{line}\t{}\t{why}\n", printable::start(&one.text, 200));
    }
    text
}

/// What is left out of each output.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Rows of the table.
    pub rows: Vec<Skipped>,
    /// Records that are the rows of the table.
    pub records: Vec<Skipped>,
    /// Records without arrays.
    pub arrays: Vec<Skipped>,
}

impl LeftOut {
    /// What is left out of the outputs of a job.
    pub fn new(job: &ScoreJob, variants: Option<&Variants>, proteins: &Proteins) -> LeftOut {
        let records = |wanted: bool| match wanted {
            true => proteins.skipped(),
            false => Vec::new(),
        };
        LeftOut {
            rows: variants.map_or_else(Vec::new, |all| all.skipped.clone()),
            records: records(variants.is_none() && job.out.is_some()),
            arrays: records(job.landscape.is_some()),
        }
    }

    /// The list of the table, if there is something to list: its first line and what is left out.
    pub fn of_table(&self) -> Option<(&'static str, &[Skipped])> {
        match (self.rows.is_empty(), self.records.is_empty()) {
            (false, _) => Some((OF_ROWS, &self.rows)),
            (true, false) => Some((OF_RECORDS, &self.records)),
            (true, true) => None,
        }
    }

    /// The list of the arrays.
    pub fn of_arrays(&self) -> Option<(&'static str, &[Skipped])> {
        (!self.arrays.is_empty()).then_some((OF_RECORDS, &*self.arrays))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        (self.rows.len() + self.records.len() + self.arrays.len()) as u64
    }

    /// What is reported of them.
    pub fn warnings(&self, places: &Places) -> Vec<String> {
        let (table, arrays) = (&places.skipped, &places.skipped_arrays);
        let all = [
            ("row", "a score", &self.rows, table),
            ("record", "a score", &self.records, table),
            ("record", "an array", &self.arrays, arrays),
        ];
        let warnings = all.into_iter().filter_map(|(noun, what, skipped, list)| {
            let (first, list) = (skipped.first()?, list.as_deref()?);
            Some(warning(noun, what, skipped.len(), list, first))
        });
        warnings.collect()
    }
}

fn warning(noun: &str, what: &str, count: usize, list: &Path, first: &Skipped) -> String {
    let were = match count {
        1 => format!("1 {noun} was"),
        count => format!("{} {noun}s were", grouped(count as u64)),
    };
    format!(
        "{were} left without {what} and listed in {}; the first is line {}: {}",
        list.display(),
        first.line,
        first.why
    )
}
