//! Streams the records of a run through its workers.

use super::check::Checked;
use super::feed::{self, Fed, Feed};
use super::finished_rows::FinishedRows;
use super::known::KnownRows;
use super::model_files::{self, Digests};
use super::syncing::{Syncs, sync_regularly};
use super::work::{Item, Workers};
use super::{Run, workers};
use crate::admission::Gate;
use crate::embedder::{Capacity, Embedder};
use crate::numerals;
use crate::output::{Known, OutputError, OutputFolder, Parts, RunIdentityFile, sync_work};
use crate::pipeline::input::findings::Findings;
use crate::pipeline::input::records::{Records, Source};
use crate::pipeline::job::Job;
use crate::pipeline::plan::Plan;
use crate::pipeline::plan::batches::{Batching, LEAST_TOKENS};
use crate::pipeline::plan::resources;
use crate::pipeline::reporter::{Level, Reporter};
use crate::pipeline::stop::Stopped;
use crate::run_record::ModelFile;
use anyhow::{Result, anyhow, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, ScopedJoinHandle};

/// What embedding produced besides rows.
pub struct Embedded {
    /// The inputs.
    pub sources: Vec<Source>,
    /// Records to warn about.
    pub findings: Findings,
    /// The files of the checkpoint.
    pub model_files: Vec<ModelFile>,
    /// Records that the interrupted run had done.
    pub restored: u64,
    /// Distinct sequences that other output folders hold.
    pub known: u64,
    /// As [`Records::spared`].
    pub spared: u64,
}

/// Embeds all records and saves finished work, however that ends.
///
/// # Errors
/// The first failure, or [`Stopped`] on request.
pub fn embed(
    run: Run<'_>,
    plan: &Plan,
    embedder: &Embedder,
    checked: &Checked,
    known: Option<&Known>,
    folder: &mut OutputFolder,
) -> Result<Embedded> {
    let out = &run.job.output.folder;
    let embedded = embed_all(run, plan, embedder, checked, known, folder);
    run.reporter.finish();
    let Parts { rows, journal, .. } = folder.parts();
    let synced = sync_work(rows, journal);
    // From here on the process may end at once.
    run.stop.set_has_work(false);
    let embedded = embedded.map_err(|cause| {
        anyhow!(
            "{cause:#}\nhint: finished work is kept in {}/.partial; once the cause is removed, use \
             `resume` to continue",
            out.display()
        )
    })?;
    synced?;
    match embedded {
        Some(embedded) if !run.stop.is_asked() => Ok(embedded),
        _ => bail!(Stopped {
            signal: run.stop.signal(),
            out: out.display().to_string(),
        }),
    }
}

/// Streams all records through the workers; None when the run was asked to stop.
fn embed_all(
    run: Run<'_>,
    plan: &Plan,
    embedder: &Embedder,
    checked: &Checked,
    known: Option<&Known>,
    folder: &mut OutputFolder,
) -> Result<Option<Embedded>> {
    let Run {
        job,
        reporter,
        stop,
        ..
    } = run;
    let Parts {
        ledger,
        rows,
        journal,
        identity,
    } = folder.parts();
    let request = plan.request();
    let capacity = embedder.engine().capacity(&request);
    let count = workers(job, capacity);
    let failed = AtomicBool::new(false);
    let workers = Workers {
        embedder,
        request: &request,
        rows,
        journal,
        reporter,
        failed: &failed,
        stop,
        gate: &Gate::new(resources::memory_for_passes(plan, checked.scan.as_ref())),
        cost: plan.cost,
    };
    let part = checked.scan.as_ref().and_then(|scan| scan.part.as_ref());
    let share = part.and_then(|part| part.share.clone());
    let records = match run.planned {
        Some(planned) => Records::planned(planned.read(), checked.rules),
        None => Records::new(&job.inputs.paths, checked.rules, share),
    };
    let mut records = records.until(stop.cancel().clone());
    std::thread::scope(|scope| {
        // A GPU that computes many small batches a second must not wait for the next one.
        let waiting = capacity.lanes.map_or(count, |lanes| 4 * lanes);
        let (send, receive) = sync_channel(waiting);
        let (over, listen) = channel();
        let threads = Threads {
            workers: spawn_workers(scope, &workers, receive, count),
            model_files: scope.spawn(|| ending(&failed, record_model_files(run, identity))),
            syncing: scope.spawn(move || {
                let synced = sync_regularly(rows, journal, stop, &listen);
                ending(workers.failed, synced)
            }),
            over,
        };
        let feed = Feed {
            ledger,
            done: FinishedRows::new(journal, rows),
            known: known.map(|known| KnownRows::new(known, rows, journal)),
            batching: batching(job, plan, capacity, count),
            on_duplicate_id: job.inputs.on_duplicate_id,
            send,
            go_on: &|| !failed.load(Ordering::Relaxed) && !stop.is_asked(),
            reporter,
        };
        let fed = ending(&failed, feed::feed(&mut records, feed));
        let model_files = threads.join(reporter)?;
        if stop.is_asked() {
            return Ok(None);
        }
        // A checkpoint that has changed is the cause when the reading ended early.
        let model_files = model_files?;
        let Fed {
            kept,
            known,
            findings,
        } = fed?;
        Ok(Some(Embedded {
            spared: records.spared(),
            sources: records.into_sources(),
            findings,
            model_files,
            restored: kept,
            known,
        }))
    })
}

/// The threads besides the one that reads.
struct Threads<'scope> {
    workers: Vec<ScopedJoinHandle<'scope, Result<()>>>,
    model_files: ScopedJoinHandle<'scope, Result<Vec<ModelFile>>>,
    syncing: ScopedJoinHandle<'scope, Result<Syncs, OutputError>>,
    /// Syncing ends when this is dropped.
    over: Sender<()>,
}

impl Threads<'_> {
    /// Waits for all of them. A failure of workers or of syncing is an error: it is the cause when
    /// others stopped too.
    fn join(self, reporter: &dyn Reporter) -> Result<Result<Vec<ModelFile>>> {
        let workers = self.workers.into_iter();
        let worked = workers.map(|thread| joined(thread, "worker"));
        let worked = worked.fold(Ok(()), Result::and);
        drop(self.over);
        let syncs = joined(self.syncing, "syncing");
        let model_files = joined(self.model_files, "checksum");
        if let Ok(syncs) = &syncs {
            tell_of_syncs(syncs, reporter);
        }
        worked?;
        syncs?;
        Ok(model_files)
    }
}

/// Worker threads own the receiver: when the last of them stops, sending fails instead of waiting.
fn spawn_workers<'scope>(
    scope: &'scope Scope<'scope, '_>,
    workers: &'scope Workers<'scope>,
    receive: Receiver<Vec<Item>>,
    count: usize,
) -> Vec<ScopedJoinHandle<'scope, Result<()>>> {
    let receive = Arc::new(Mutex::new(receive));
    let threads = (0..count).map(|_| {
        let receive = Arc::clone(&receive);
        scope.spawn(move || workers.run(&receive))
    });
    threads.collect()
}

fn batching(job: &Job, plan: &Plan, capacity: Capacity, threads: usize) -> Batching {
    Batching {
        max_tokens: capacity.tokens.max(plan.max_tokens),
        one_each: job.compute.deterministic,
        threads,
        least: match plan.device.is_gpu() {
            true => plan.max_tokens,
            false => LEAST_TOKENS,
        },
    }
}

/// Takes the checksums of the checkpoint and writes them into the working folder.
fn record_model_files(run: Run<'_>, identity: &RunIdentityFile) -> Result<Vec<ModelFile>> {
    let cache = run.caches.checksums.as_ref();
    let digests = Digests::compute(cache, run.checkpoint, run.stop)?;
    let before = &identity.identity().run.resolved.model.files;
    model_files::check_unchanged(before, &digests.files)?;
    identity.add_model_files(digests.files.clone())?;
    digests.report(run.reporter);
    Ok(digests.files)
}

fn tell_of_syncs(syncs: &Syncs, reporter: &dyn Reporter) {
    reporter.message(
        Level::Detail,
        &format!(
            "work was synced {} during the run, in {:.3} s",
            numerals::count(syncs.count, "time"),
            syncs.time.as_secs_f64()
        ),
    );
}

/// Sets `failed` if a part of the work has ended with an error.
fn ending<T, E>(failed: &AtomicBool, result: Result<T, E>) -> Result<T, E> {
    if result.is_err() {
        failed.store(true, Ordering::Relaxed);
    }
    result
}

/// The result of a thread.
fn joined<T, E: Into<anyhow::Error>>(
    thread: ScopedJoinHandle<'_, Result<T, E>>,
    what: &str,
) -> Result<T> {
    match thread.join() {
        Ok(result) => result.map_err(Into::into),
        Err(_) => bail!("a {what} thread panicked: this is a defect"),
    }
}
