//! Checks of the input before anything is written, and that it is the same afterwards.

use crate::output::Journal;
use crate::pipeline::input::planned::PlannedShard;
use crate::pipeline::input::records::Source;
use crate::pipeline::input::rules::Rules;
use crate::pipeline::input::scan::{Scan, scan, scan_planned};
use crate::pipeline::input::warnings::{warn_of_findings, warn_of_long};
use crate::pipeline::job::Job;
use crate::pipeline::reporter::{Level, Phase, Reporter};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Whether every input can be read twice.
///
/// # Errors
/// One cannot, and the job needs that.
pub fn can_be_read_twice(job: &Job) -> Result<bool> {
    if job.inputs.plan.is_some() {
        return Ok(true);
    }
    let stream = job.inputs.paths.iter().find(|path| !is_repeatable(path));
    match (stream, job.inputs.shard) {
        (None, _) => Ok(true),
        (Some(_), None) => Ok(false),
        (Some(stream), Some(shard)) => bail!(
            "{}: can be read only once, but `shard={shard}` reads the input to share it out before \
             it embeds\n\
             hint: write it to a file first",
            stream.display()
        ),
    }
}

fn is_repeatable(path: &Path) -> bool {
    let is_file = || std::fs::metadata(path).is_ok_and(|m| m.is_file());
    // A path that cannot be examined fails at once when it is opened.
    path.as_os_str() != "-" && (is_file() || !path.exists())
}

/// The first pass over the input; those records are done that `journal` lists.
///
/// # Errors
/// As [`scan`], or there is no record at all.
pub fn check_inputs(
    job: &Job,
    planned: Option<&PlannedShard>,
    rules: Rules,
    journal: Option<&Journal>,
    reporter: &dyn Reporter,
) -> Result<Scan> {
    reporter.phase(Phase::Reading);
    if let Some(planned) = planned {
        // The plan has warned of what is unusual.
        return scan_planned(planned, rules, journal);
    }
    let scan = scan(job, rules, journal, reporter)?;
    check_records(&job.inputs.paths, &scan.sources)?;
    warn_of_empty(&scan.sources, reporter);
    warn_of_long(&scan, reporter);
    warn_of_findings(&scan.findings, job.sequences.gaps, reporter);
    Ok(scan)
}

/// Files without a record among others.
pub fn warn_of_empty(sources: &[Source], reporter: &dyn Reporter) {
    for empty in sources.iter().filter(|s| s.records == 0) {
        let text = format!("{}: holds no record", empty.path.display());
        reporter.message(Level::Warning, &text);
    }
}

/// Refuses inputs without any record.
///
/// # Errors
/// They hold none.
pub fn check_records(paths: &[PathBuf], sources: &[Source]) -> Result<()> {
    if sources.iter().any(|source| source.records > 0) {
        return Ok(());
    }
    let name = |path: &PathBuf| match path.as_os_str() == "-" {
        true => "<stdin>".into(),
        false => path.to_string_lossy().into_owned(),
    };
    let names: Vec<String> = paths.iter().map(name).collect();
    bail!(
        "{}: holds no FASTA record; a record starts with a line `>name`\n\
         hint: check that this is the right file and that it was written completely",
        names.join(", ")
    )
}

/// Files that were scanned must still be what they were.
///
/// # Errors
/// One has changed.
pub fn check_unchanged(before: &[Source], after: &[Source]) -> Result<()> {
    for (before, after) in before.iter().zip(after) {
        if before != after {
            bail!(
                "{}: changed while it was read ({} bytes at first, {} later{})\n\
                 hint: wait until nothing writes to it, then run again with another folder as `out`",
                after.path.display(),
                before.digest.bytes,
                after.digest.bytes,
                match before.digest.bytes == after.digest.bytes {
                    true => ", with different content",
                    false => "",
                }
            );
        }
    }
    Ok(())
}
