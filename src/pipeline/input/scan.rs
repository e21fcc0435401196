//! A first pass over files, before any model work: every record is checked and counted.

use crate::output::{Ids, Journal, key};
use crate::pipeline::input::distinct::{Amount, Distinct, Work};
use crate::pipeline::input::findings::Findings;
use crate::pipeline::input::records::{Next, Records, Source};
use crate::pipeline::input::rules::Rules;
use crate::pipeline::input::same_ids::SameIds;
use crate::pipeline::input::shard::{Share, Survey};
use crate::pipeline::reporter::{Reporter, Totals};
use crate::product::Elements;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// What a pass over the input found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// Records that get a row.
    pub records: u64,
    /// Their residue rows.
    pub residues: u64,
    /// What the sizes of arrays are made of.
    pub elements: Elements,
    /// Records to be skipped.
    pub skipped: u64,
    /// Records over 1022 residues that are embedded whole.
    pub long: u64,
    /// Bytes of their headers.
    pub headers: u64,
    /// Their identifiers.
    pub ids: Ids,
    /// What there is to warn of.
    pub findings: Findings,
    /// What has to be computed for them: each sequence once.
    pub work: Work,
    /// What of that the interrupted run has done that is resumed.
    pub restored: Amount,
    /// What is left of it.
    pub left: Work,
    /// Tokens of the longest forward pass over one sequence.
    pub longest: usize,
    /// The inputs.
    pub sources: Vec<Source>,
}

impl Scan {
    /// What is to be computed, for reports.
    pub fn totals(&self) -> Totals {
        Totals {
            records: Some(self.work.records),
            residues: Some(self.work.residues),
            duplicates: self.records.saturating_sub(self.work.records),
            restored_records: self.restored.records,
            restored_residues: self.restored.residues,
        }
    }

    /// Nothing is left: the run that is resumed had finished.
    pub fn restore_all(&mut self) {
        self.restored = Amount {
            records: self.work.records,
            residues: self.work.residues,
        };
        self.left = Work::default();
    }

    /// Tokens of the longest forward pass that is left over one sequence.
    pub fn longest_left(&self) -> usize {
        if self.left == self.work {
            return self.longest;
        }
        let last = self.left.passes.lengths().next_back();
        last.map_or(0, |(tokens, _)| tokens.ceil() as usize)
            .min(self.longest)
    }
}

/// True when every input can be read twice.
pub fn repeatable(paths: &[PathBuf]) -> bool {
    paths.iter().all(|path| is_repeatable(path))
}

/// True when this input can be read twice.
pub fn is_repeatable(path: &Path) -> bool {
    let is_file = || std::fs::metadata(path).is_ok_and(|m| m.is_file());
    // A path that cannot be examined fails at once when it is opened for the scan.
    path.as_os_str() != "-" && (is_file() || !path.exists())
}

/// Counts what every record costs, so that the input can be shared out, and compares identifiers
/// where that is asked for. The inputs come along.
///
/// # Errors
/// As [`Records::next`].
pub fn survey(
    paths: &[PathBuf],
    rules: Rules,
    mut ids: Option<SameIds>,
    reporter: &dyn Reporter,
) -> Result<(Survey, Vec<Source>)> {
    let mut records = Records::new(paths, rules, None);
    let mut survey = Survey::default();
    loop {
        match (records.next()?, &mut ids) {
            (Next::End, _) => break,
            (Next::Ready(prepared), Some(ids)) => ids.check(&records, &prepared.tokens)?,
            _ => {}
        }
        survey.add(records.tokens());
        tell(&records, reporter);
    }
    Ok((survey, records.into_sources().0))
}

/// Reads every record and checks and counts those of the share, or all; compares their identifiers
/// where that is asked for. Records that `journal` lists are done.
///
/// # Errors
/// As [`Records::next`], or a journal that cannot be read.
pub fn scan(
    paths: &[PathBuf],
    rules: Rules,
    share: Option<Share>,
    mut ids: Option<SameIds>,
    journal: Option<&Journal>,
    reporter: &dyn Reporter,
) -> Result<Scan> {
    let mut records = Records::new(paths, rules, share);
    let mut scan = Scan::default();
    let mut distinct = Distinct::new();
    loop {
        let next = records.next()?;
        tell(&records, reporter);
        match next {
            Next::End => break,
            Next::Skipped(_) => scan.skipped += 1,
            Next::Ready(prepared) => {
                if let Some(ids) = &mut ids {
                    ids.check(&records, &prepared.tokens)?;
                }
                let tokens = prepared.tokens.len();
                let is_restored = match journal {
                    Some(journal) => journal.find(scan.records)?.is_some(),
                    None => false,
                };
                scan.records += 1;
                scan.residues += prepared.residues() as u64;
                scan.elements.add(prepared.residues() as u64);
                let record = records.record();
                scan.headers += (record.id.len() + record.description.len()) as u64;
                scan.ids.add(&record.id);
                let passes: Vec<usize> = match prepared.windows.is_empty() {
                    true => vec![tokens],
                    false => prepared.windows.iter().map(|w| w.len() + 2).collect(),
                };
                if prepared.windows.is_empty() {
                    scan.long +=
                        u64::from(prepared.residues() > crate::checkpoint::TRAINING_MAXIMUM);
                }
                scan.longest = passes.iter().copied().fold(scan.longest, usize::max);
                let residues = prepared.residues() as u64;
                let digest = key(&prepared.tokens);
                distinct.add(&digest, residues, passes.into_iter(), is_restored);
            }
        }
    }
    scan.work = distinct.work(scan.records, scan.residues);
    scan.left = distinct.left(&scan.work);
    scan.restored = distinct.restored();
    (scan.sources, scan.findings) = records.into_sources();
    Ok(scan)
}

/// Tells now and then how far the pass is.
fn tell(records: &Records<'_>, reporter: &dyn Reporter) {
    let met = records.ordinal() + 1;
    if met.is_multiple_of(256) {
        reporter.checked(met);
    }
}
