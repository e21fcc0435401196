//! Whether the work in the output folder belongs to this run.

use super::model_files::Digests;
use super::{Run, describe};
use crate::checkpoint::Checkpoint;
use crate::output::{FileStamp, OutputError, RunIdentity, State, Target, inspect};
use crate::pipeline::Outcome;
use crate::pipeline::input::check::can_be_read_twice;
use crate::pipeline::input::scan::{Scan, read_sources};
use crate::pipeline::job::{Caches, Job};
use crate::pipeline::plan::Plan;
use crate::pipeline::reporter::Level;
use crate::pipeline::stop::Stop;
use crate::run_record::{RunRecord, differences, same_bits};
use anyhow::{Result, bail};

/// Compares an interrupted run with this one before the model is loaded. The model's files are
/// read only if they may have changed.
///
/// # Errors
/// Every difference, or a model file that cannot be read.
pub fn check_interrupted(
    job: &Job,
    caches: &Caches,
    checkpoint: &Checkpoint,
    before: &RunIdentity,
    mut now: RunRecord,
    stamps: &[FileStamp],
) -> Result<()> {
    let mut unknown = None;
    if before.model_stamps != stamps {
        match before.run.resolved.model.files.is_empty() {
            true => {
                unknown = Some(
                    "the model's files were moved, touched or replaced after the run began, and \
                     it ended before it had their checksums",
                );
            }
            false => {
                let cache = caches.checksums.as_ref();
                let digests = Digests::compute(cache, checkpoint, &Stop::default())?;
                now.resolved.model.files = digests.files;
            }
        }
    }
    refuse(job, &before.run, &now, unknown, false)
}

/// Compares an interrupted run with this one once the model is loaded.
///
/// # Errors
/// Every difference.
pub fn check_loaded(job: &Job, before: &RunIdentity, now: &RunRecord) -> Result<()> {
    refuse(job, &before.run, now, None, false)
}

/// Completes a run that has nothing left to embed, after comparing it with this one.
///
/// # Errors
/// Every difference, an input or model file that cannot be read, or a file that is not as
/// `run.json` says.
pub fn complete(run: Run<'_>, plan: &Plan, target: Target) -> Result<Outcome> {
    let Run {
        job,
        planned,
        caches,
        checkpoint,
        reporter,
        ..
    } = run;
    let (manifest, finished) = match target.state() {
        State::Complete(manifest) => (manifest, true),
        State::Sealed(manifest) => (manifest, false),
        State::Fresh | State::Interrupted(_) => bail!("there is no finished run: this is a defect"),
    };
    // Of a shard too, the whole input was compared when it began. Nothing is embedded, so it does
    // not matter how much memory there is.
    let mut rules = plan.rules(job, target.state());
    rules.admission.memory = None;
    let sources = match planned {
        Some(planned) => planned.sources(),
        None => read_sources(job, rules, reporter)?,
    };
    let mut now = describe::record(job, plan, checkpoint, None, &sources);
    let cache = caches.checksums.as_ref();
    let digests = Digests::compute(cache, checkpoint, &Stop::default())?;
    digests.report(reporter);
    now.resolved.model.files = digests.files;
    refuse(job, &manifest.record(), &now, None, finished)?;

    let manifest = target.complete()?;
    let folder = job.output.folder.display();
    let report = inspect(&job.output.folder, false)?;
    if let Some(problem) = report.problems.first() {
        bail!(
            "{folder}: run.json says that the run is complete, but {problem}\nhint: choose another \
             folder with `out`, or rename or remove this one"
        );
    }
    let text = match finished {
        true => "is already complete: there is nothing to do",
        false => "is now complete: only its files had to be moved into place",
    };
    reporter.message(Level::Info, &format!("{folder} {text}"));
    Ok(Outcome {
        records: manifest.counts.records,
        skipped: manifest.counts.skipped,
    })
}

/// For a forecast, compares the run that would be resumed with this one, as far as that needs
/// neither the model's numbers nor its files. Finished work is left out of the scan.
///
/// # Errors
/// Every difference.
pub fn foresee(
    job: &Job,
    plan: &Plan,
    checkpoint: &Checkpoint,
    state: &State,
    scan: &mut Scan,
) -> Result<()> {
    // A stream is compared record by record, as it is embedded.
    let known = match can_be_read_twice(job)? {
        true => &*scan.sources,
        false => &[],
    };
    let now = describe::record(job, plan, checkpoint, None, known);
    match state {
        State::Fresh => Ok(()),
        State::Interrupted(before) => refuse(job, &before.run, &now, None, false),
        State::Sealed(manifest) | State::Complete(manifest) => {
            let finished = matches!(state, State::Complete(_));
            refuse(job, &manifest.record(), &now, None, finished)?;
            scan.restore_all();
            Ok(())
        }
    }
}

/// Refuses to resume a run that differs from this one, or that may differ in something unknown.
fn refuse(
    job: &Job,
    before: &RunRecord,
    now: &RunRecord,
    unknown: Option<&str>,
    finished: bool,
) -> Result<()> {
    let differences = differences(before, now);
    let differences: Vec<String> = differences
        .iter()
        .map(ToString::to_string)
        .chain(unknown.map(str::to_owned))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let dir = job.output.folder.clone();
    Err(OutputError::OtherRun {
        dir,
        finished,
        differences,
        other_version: (!same_bits(&before.esm_embed, &now.esm_embed))
            .then(|| before.esm_embed.clone()),
    }
    .into())
}
