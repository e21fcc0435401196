//! The output folder of a run whose model is loaded: made, or taken over from an interrupted run.

use super::check::Checked;
use super::{Run, describe, resume};
use crate::embedder::Embedder;
use crate::numerals::count;
use crate::output::{OutputFolder, RunIdentity, State, Target};
use crate::pipeline::input::scan::Scan;
use crate::pipeline::plan::Plan;
use crate::pipeline::reporter::{Computing, Level, Totals};
use anyhow::Result;

/// Makes the folder, or continues the work in it. From here on there is work to save.
///
/// # Errors
/// The folder cannot be written, or the interrupted run computed with something else.
pub fn begin(
    run: Run<'_>,
    plan: &Plan,
    embedder: &Embedder,
    checked: &Checked,
    target: Target,
) -> Result<OutputFolder> {
    let sources = checked.sources();
    let record = describe::record(run.job, plan, run.checkpoint, Some(embedder), sources);
    if let State::Interrupted(before) = target.state() {
        resume::check_loaded(run.job, before, &record)?;
    }
    run.stop.set_has_work(true);
    let mut folder = match checked.is_resumed {
        true => target.resume()?,
        false => {
            let stamps = checked.stamps.clone();
            target.begin(RunIdentity::new(record, stamps, checked.left_out_beyond))?
        }
    };
    report_folder(run, &mut folder)?;
    let scan = checked.scan.as_ref();
    let computing = Computing {
        device: &plan.device,
        dtype: plan.dtype,
    };
    let totals = scan.map_or_else(Totals::default, Scan::totals);
    run.reporter.start(computing, totals);
    folder.set_threads(run.threads.clone());
    if let Some(part) = scan.and_then(|scan| scan.part.as_ref()) {
        folder.set_shard(part.entry)?;
    }
    Ok(folder)
}

fn report_folder(run: Run<'_>, folder: &mut OutputFolder) -> Result<()> {
    let shown = run.job.output.folder.display();
    if folder.is_resumed() {
        let done = folder.parts().journal.count()?;
        let done = count(done, "distinct sequence");
        run.reporter.message(
            Level::Info,
            &format!("{shown}: resuming an interrupted run; its journal lists {done} as done"),
        );
    }
    if !folder.is_locked() {
        run.reporter.message(
            Level::Warning,
            &format!(
                "{shown}: this file system has no locks, so nothing keeps another run from writing \
                 into the folder at the same time"
            ),
        );
    }
    Ok(())
}
