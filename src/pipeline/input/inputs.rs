//! The first pass over the input: what it holds, and that it is the same afterwards.

use crate::output::Journal;
use crate::pipeline::input::part::Part;
use crate::pipeline::input::records::Source;
use crate::pipeline::input::rules::Rules;
use crate::pipeline::input::same_ids::SameIds;
use crate::pipeline::input::scan::{self, Scan};
use crate::pipeline::job::Job;
use crate::pipeline::reporter::{Level, Phase, Reporter};
use crate::pipeline::run::notices::{warn_of_findings, warn_of_long};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Checks and counts the records of the part, or all; those that `journal` lists are done.
pub fn scan_part(
    job: &Job,
    rules: Rules,
    part: Option<&Part>,
    journal: Option<&Journal>,
    reporter: &dyn Reporter,
) -> Result<Scan> {
    reporter.phase(Phase::Reading);
    let share = part.map(|part| part.share.clone());
    // The identifiers of a part were compared with all others when the input was shared out.
    let ids = match part {
        Some(_) => None,
        None => SameIds::of(job)?,
    };
    let scan = scan::scan(&job.inputs.paths, rules, share, ids, journal, reporter)?;
    if let Some(part) = part {
        check_unchanged(&part.sources, &scan.sources)?;
    }
    Ok(scan)
}

/// The first pass over the input, if it can be read twice.
pub fn check_inputs(
    job: &Job,
    rules: Rules,
    part: Option<&Part>,
    journal: Option<&Journal>,
    reporter: &dyn Reporter,
) -> Result<Option<Scan>> {
    if !scan::repeatable(&job.inputs.paths) {
        return Ok(None);
    }
    let scan = scan_part(job, rules, part, journal, reporter)?;
    if scan.sources.iter().all(|s| s.records == 0) {
        bail!(no_record(job));
    }
    for empty in scan.sources.iter().filter(|s| s.records == 0) {
        reporter.message(
            Level::Warning,
            &format!("{}: holds no record", empty.path.display()),
        );
    }
    warn_of_long(&scan, reporter);
    warn_of_findings(&scan.findings, job, reporter);
    Ok(Some(scan))
}

pub fn no_record(job: &Job) -> String {
    let name = |path: &PathBuf| match path.as_os_str() == "-" {
        true => "<stdin>".into(),
        false => path.to_string_lossy().into_owned(),
    };
    let names: Vec<String> = job.inputs.paths.iter().map(name).collect();
    format!(
        "{}: holds no FASTA record; a record starts with a line `>name`. Check that this is the \
         right file and that it was written completely",
        names.join(", ")
    )
}

/// Files that were scanned must still be what they were.
pub fn check_unchanged(before: &[Source], after: &[Source]) -> Result<()> {
    for (before, after) in before.iter().zip(after) {
        if before != after {
            bail!(
                "{}: changed while it was read ({} bytes at first, {} later{}); wait until nothing \
                 writes to it, then run again with another folder as --out",
                after.path.display(),
                before.digest.bytes,
                after.digest.bytes,
                match before.digest.bytes == after.digest.bytes {
                    true => ", of other content",
                    false => "",
                }
            );
        }
    }
    Ok(())
}
