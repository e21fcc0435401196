//! `--resume`: whether what stands in the output folder is of this very run.

use super::describe;
use crate::checkpoint::Checkpoint;
use crate::embedder::Embedder;
use crate::output::{
    Begun, Fact, Manifest, Needed, OutputError, State, Target, differences, inspect,
};
use crate::pipeline::Outcome;
use crate::pipeline::input::records::Source;
use crate::pipeline::input::scan::{self, Scan};
use crate::pipeline::input::shard::Shard;
use crate::pipeline::job::{Caches, Job};
use crate::pipeline::plan::Plan;
use crate::pipeline::reporter::{Level, Reporter};
use crate::pipeline::run::facts::{checkpoint_differences, facts, model_differences};
use anyhow::{Result, bail};
use serde_json::Value;

/// The facts of this run, as far as they are known before and after the model is loaded.
pub fn facts_now(
    job: &Job,
    plan: &Plan,
    checkpoint: &Checkpoint,
    embedder: Option<&Embedder>,
    sources: &[Source],
) -> Vec<Fact> {
    let resolved = describe::resolved(job, plan, checkpoint, embedder, &[], sources);
    let version = env!("CARGO_PKG_VERSION");
    let asked = describe::asked(job);
    facts(version, job.inputs.shard, &plan.layout, &asked, &resolved)
}

/// Compares the run that is to be continued with this one.
///
/// # Errors
/// Every difference, or a model file that cannot be read.
pub fn check_begun(
    job: &Job,
    caches: &Caches,
    checkpoint: &Checkpoint,
    before: &Begun,
    now: &[Fact],
    needed: &[Needed],
) -> Result<()> {
    let mut all = differences(&facts_then(before), now);
    all.extend(checkpoint_differences(
        caches.checksums.as_ref(),
        before,
        needed,
        checkpoint,
    )?);
    refuse_differences(job, all, false)
}

/// Compares the facts of the run that is to be continued with those that are known once the model
/// is loaded.
///
/// # Errors
/// Every difference.
pub fn check_loaded(job: &Job, before: &Begun, now: &[Fact]) -> Result<()> {
    refuse_differences(job, differences(&facts_then(before), now), false)
}

/// The facts of an interrupted run. One from before there was a choice kept gaps.
fn facts_then(before: &Begun) -> Vec<Fact> {
    let mut facts = before.facts.clone();
    if facts.iter().all(|fact| fact.what != "--gaps") {
        facts.push(Fact::new("--gaps", "keep"));
    }
    facts
}

/// Leaves a run that has nothing left to embed complete, after comparing it with this one.
///
/// # Errors
/// Every difference, an input or model file that cannot be read, or a file that is not as
/// `run.json` says.
pub fn complete(
    job: &Job,
    caches: &Caches,
    plan: &Plan,
    checkpoint: &Checkpoint,
    target: Target,
    reporter: &dyn Reporter,
) -> Result<Outcome> {
    let (manifest, finished) = match target.state() {
        State::Complete(manifest) => (manifest, true),
        State::Sealed(manifest) => (manifest, false),
        State::Fresh | State::Begun(_) => bail!("there is no finished run: this is a defect"),
    };
    // The whole input, of a shard too: that is what was compared when it began.
    // Nothing is embedded, so it does not matter how much memory there is.
    let mut rules = plan.rules(job, None);
    rules.admission.memory = None;
    let scan = scan::scan(&job.inputs.paths, rules, None, None, None, reporter)?;
    let now = facts_now(job, plan, checkpoint, None, &scan.sources);
    let mut all = differences(&facts_of(manifest), &now);
    all.extend(model_differences(
        caches.checksums.as_ref(),
        &model_files(manifest),
        checkpoint,
        reporter,
    )?);
    refuse_differences(job, all, finished)?;

    let manifest = target.complete()?;
    let report = inspect(&job.output.folder, false)?;
    if let Some(problem) = report.problems.first() {
        bail!(
            "{}: run.json says that the run is complete, but {problem}. Choose another folder with \
             --out, or rename or remove this one",
            job.output.folder.display()
        );
    }
    let text = match finished {
        true => "is complete already: there is nothing to do",
        false => "is complete now: only its files had to be moved to their place",
    };
    reporter.message(
        Level::Info,
        &format!("{} {text}", job.output.folder.display()),
    );
    Ok(Outcome {
        records: manifest.counts.records,
        skipped: manifest.counts.skipped,
    })
}

/// The facts of a finished run.
fn facts_of(manifest: &Manifest) -> Vec<Fact> {
    facts(
        &manifest.esm_embed,
        manifest.shard.map(Shard::from),
        &manifest.layout,
        &manifest.asked,
        &manifest.resolved,
    )
}

/// For a forecast, compares the run that would be resumed with this one, as far as that needs
/// neither the model's numbers nor its files. What has been done of it is left out of the scan.
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
    let known = match scan::repeatable(&job.inputs.paths) {
        true => &*scan.sources,
        false => &[],
    };
    let now = || facts_now(job, plan, checkpoint, None, known);
    match state {
        State::Fresh => Ok(()),
        State::Begun(before) => {
            refuse_differences(job, differences(&facts_then(before), &now()), false)
        }
        State::Sealed(manifest) | State::Complete(manifest) => {
            let finished = matches!(state, State::Complete(_));
            refuse_differences(job, differences(&facts_of(manifest), &now()), finished)?;
            scan.restore_all();
            Ok(())
        }
    }
}

fn refuse_differences(job: &Job, differences: Vec<String>, finished: bool) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    let dir = job.output.folder.clone();
    Err(OutputError::OtherRun {
        dir,
        finished,
        differences,
    }
    .into())
}

/// Sizes and checksums of the checkpoint's files in a `run.json`.
fn model_files(manifest: &Manifest) -> Vec<(u64, String)> {
    let files = manifest.resolved.pointer("/model/files");
    let file = |file: &Value| {
        let bytes = file.get("bytes").and_then(Value::as_u64);
        let sha256 = file.get("sha256").and_then(Value::as_str);
        (bytes.unwrap_or_default(), sha256.unwrap_or_default().into())
    };
    let files = files.and_then(Value::as_array);
    files.into_iter().flatten().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_from_before_there_was_a_choice_kept_gaps() {
        let before = Begun::new(vec![Fact::new("--long", "full")], Vec::new(), None);
        let now = |gaps| [Fact::new("--long", "full"), Fact::new("--gaps", gaps)];
        assert!(differences(&facts_then(&before), &now("keep")).is_empty());
        assert_eq!(
            differences(&facts_then(&before), &now("drop")),
            ["--gaps was keep and is drop"]
        );
        let dropped = Begun::new(now("drop").to_vec(), Vec::new(), None);
        assert_eq!(facts_then(&dropped), now("drop"));
    }
}
