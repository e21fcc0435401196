//! Everything that can refuse a run before the model is loaded and the output is touched.

use super::notices::{tell_of_output, warn_of_memory};
use super::{Run, describe, model_files, resume};
use crate::output::{FileStamp, State, Target};
use crate::pipeline::input::check::{can_be_read_twice, check_inputs};
use crate::pipeline::input::records::Source;
use crate::pipeline::input::rules::Rules;
use crate::pipeline::input::scan::Scan;
use crate::pipeline::job::OnInvalid;
use crate::pipeline::plan::{Plan, resources};
use anyhow::Result;

/// A run that may load its model and write its output.
pub struct Checked {
    /// How records are judged.
    pub rules: Rules,
    /// Residues beyond which records are left out for lack of memory, for good; None if none are.
    pub left_out_beyond: Option<u64>,
    /// What the input holds; None for a stream.
    pub scan: Option<Scan>,
    /// What shows, without reading them, whether the checkpoint's files change.
    pub stamps: Vec<FileStamp>,
    /// Whether it continues an interrupted run.
    pub is_resumed: bool,
}

impl Checked {
    /// What is known of the inputs before they are embedded.
    pub fn sources(&self) -> &[Source] {
        self.scan.as_ref().map_or(&[], |scan| &scan.sources)
    }
}

/// Checks the input, the run that is to be resumed, memory and disk.
///
/// # Errors
/// Whatever keeps the run from being completed, as far as can be known.
pub fn check(run: Run<'_>, plan: &Plan, target: &Target) -> Result<Checked> {
    // Which records are left out for lack of memory is decided when a run begins.
    let (left_out_beyond, is_resumed) = match (target.state(), run.job.sequences.on_invalid) {
        (State::Interrupted(before), _) => (before.longest, true),
        (_, OnInvalid::Skip) => (u64::try_from(plan.admission.longest()).ok(), false),
        (_, OnInvalid::Fail) => (None, false),
    };
    let rules = plan.rules(run.job, target.state());
    let scan = match can_be_read_twice(run.job)? {
        true => {
            let journal = target.journal()?;
            Some(check_inputs(
                run.job,
                run.planned,
                rules,
                journal.as_ref(),
                run.reporter,
            )?)
        }
        false => None,
    };
    let checked = Checked {
        rules,
        left_out_beyond,
        scan,
        stamps: model_files::stamps(run.checkpoint.files())?,
        is_resumed,
    };
    check_resumed(run, plan, target, &checked)?;
    check_resources(run, plan, target, checked.scan.as_ref())?;
    Ok(checked)
}

/// The same for another plan of the same run. The input is read again only where records are
/// judged differently.
///
/// # Errors
/// As [`check`].
pub fn check_again(
    run: Run<'_>,
    plan: &Plan,
    target: &Target,
    checked: Checked,
) -> Result<Checked> {
    if plan.rules(run.job, target.state()) != checked.rules {
        return check(run, plan, target);
    }
    check_resources(run, plan, target, checked.scan.as_ref())?;
    Ok(checked)
}

/// Whether an interrupted run is this one.
fn check_resumed(run: Run<'_>, plan: &Plan, target: &Target, checked: &Checked) -> Result<()> {
    let State::Interrupted(before) = target.state() else {
        return Ok(());
    };
    let Run {
        job,
        caches,
        checkpoint,
        ..
    } = run;
    let now = describe::record(job, plan, checkpoint, None, checked.sources());
    resume::check_interrupted(job, caches, checkpoint, before, now, &checked.stamps)
}

/// Whether there is enough space on the disk, and probably enough memory.
fn check_resources(run: Run<'_>, plan: &Plan, target: &Target, scan: Option<&Scan>) -> Result<()> {
    if let Some(scan) = scan {
        resources::check_space(run.job, plan, scan, target.held_bytes())?;
        warn_of_memory(run.job, plan, scan, run.reporter);
    }
    tell_of_output(run.job, plan, scan, run.reporter);
    Ok(())
}
