//! The end of a run: every record is embedded, and the folder becomes complete.

use super::check::Checked;
use super::embed::Embedded;
use super::notices::{self, warn_of_ids, warn_of_notes};
use super::{Run, describe};
use crate::embedder::Embedder;
use crate::output::{Manifest, OutputFolder};
use crate::pipeline::input::check::{check_records, check_unchanged};
use crate::pipeline::input::warnings::warn_of_findings;
use crate::pipeline::plan::Plan;
use crate::pipeline::reporter::Phase;
use anyhow::Result;

/// Makes the folder complete and reports what was out of the ordinary.
///
/// # Errors
/// The input is not what it was, or files cannot be finished.
pub fn finish(
    run: Run<'_>,
    plan: &Plan,
    embedder: &Embedder,
    checked: &Checked,
    embedded: &Embedded,
    mut folder: OutputFolder,
) -> Result<Manifest> {
    let Run {
        job,
        checkpoint,
        reporter,
        ..
    } = run;
    let sources = &embedded.sources;
    check_unchanged(checked.sources(), sources)?;
    check_records(&job.inputs.paths, sources)?;
    let ids = folder.parts().ledger.ids();
    reporter.phase(Phase::Finishing);
    let mut record = describe::record(job, plan, checkpoint, Some(embedder), sources);
    record
        .resolved
        .model
        .files
        .clone_from(&embedded.model_files);
    folder.known = embedded.known;
    let manifest = folder.finish(record.asked, record.resolved)?;
    if checked.is_resumed {
        notices::tell_of_restored(embedded.restored, &manifest, reporter);
    }
    if embedded.known > 0 {
        notices::tell_of_known(embedded.known, &manifest, reporter);
    }
    notices::warn_of_passes(embedder.engine().capacity(&plan.request()), reporter);
    notices::warn_of_left_out(embedded.spared, reporter);
    // For files, that came before the work.
    if checked.scan.is_none() {
        warn_of_findings(&embedded.findings, job.sequences.gaps, reporter);
    }
    warn_of_notes(&manifest, reporter);
    warn_of_ids(ids, reporter);
    notices::report(&manifest, job, reporter);
    Ok(manifest)
}
