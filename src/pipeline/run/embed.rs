//! Streams the records of a run through its workers.

use crate::admission::Gate;
use crate::checkpoint::Checkpoint;
use crate::embedder::Embedder;
use crate::numerals;
use crate::output::{OutputFolder, Parts, RunIdentityFile};
use crate::pipeline::checksum_cache::ChecksumCache;
use crate::pipeline::input::findings::Findings;
use crate::pipeline::input::records::{Records, Source};
use crate::pipeline::input::rules::Rules;
use crate::pipeline::input::shard::Share;
use crate::pipeline::job::{Caches, Job};
use crate::pipeline::plan::Plan;
use crate::pipeline::reporter::{Level, Reporter};
use crate::pipeline::run::feed::{Batching, Feed, feed};
use crate::pipeline::run::finished_rows::FinishedRows;
use crate::pipeline::run::model_files::{self, Digests};
use crate::pipeline::run::syncing::sync_regularly;
use crate::pipeline::run::work::Workers;
use crate::pipeline::stop::Stop;
use crate::run_record::ModelFile;
use anyhow::{Result, anyhow, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::ScopedJoinHandle;

/// Tokens of a batch on the CPU at least, where an input is small.
pub const LEAST_TOKENS: usize = 256;

/// Threads that embed and write.
pub fn workers(job: &Job, embedder: &Embedder) -> usize {
    embedder.lanes().unwrap_or(job.compute.threads).max(1)
}

/// What embedding came to.
pub struct Embedded {
    pub sources: Vec<Source>,
    /// Records to warn of.
    pub findings: Findings,
    /// The files of the checkpoint.
    pub model_files: Vec<ModelFile>,
    /// Records that were done before.
    pub kept: u64,
    /// As [`Records::spared`].
    pub spared: u64,
}

/// A run with everything it needs to embed.
pub struct Ready<'a> {
    pub job: &'a Job,
    pub rules: Rules,
    pub caches: &'a Caches,
    pub plan: &'a Plan,
    pub checkpoint: &'a Checkpoint,
    pub embedder: &'a Embedder,
    /// The records of a shard; None for all of them.
    pub share: Option<Share>,
    pub reporter: &'a dyn Reporter,
    pub stop: &'a Stop,
}

/// Streams all records through the workers; nothing comes back when the run was asked to stop.
pub fn embed_all(ready: Ready<'_>, folder: &mut OutputFolder) -> Result<Option<Embedded>> {
    let Ready {
        job,
        rules,
        caches,
        plan,
        checkpoint,
        embedder,
        share,
        reporter,
        stop,
    } = ready;
    let Parts {
        ledger,
        rows,
        journal,
        identity,
    } = folder.parts();
    let count = workers(job, embedder);
    // A card that does many small batches a second is not to wait while more are formed.
    let waiting = embedder.lanes().map_or(count, |lanes| 4 * lanes);
    let (send, receive) = sync_channel(waiting);
    // Owned by the workers alone: when the last of them stops, sending fails instead of waiting.
    let receive = Arc::new(Mutex::new(receive));
    let failed = AtomicBool::new(false);
    let fail = || failed.store(true, Ordering::Relaxed);
    let workers = Workers {
        embedder,
        layers: &plan.layout.layers,
        pools: &plan.layout.pools,
        rows,
        journal,
        reporter,
        failed: &failed,
        stop,
        gate: &Gate::new(plan.admission.memory.map(|budget| budget.bytes)),
        cost: plan.cost,
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                let (workers, receive) = (&workers, Arc::clone(&receive));
                scope.spawn(move || workers.run(&receive))
            })
            .collect();
        drop(receive);
        let digests = scope.spawn(|| -> Result<Vec<ModelFile>> {
            let known = record_model_files(caches.checksums.as_ref(), checkpoint, identity, stop);
            match &known {
                Ok(digests) => digests.report(reporter),
                Err(_) => fail(),
            }
            Ok(known?.files)
        });
        let (over, listen) = channel();
        let keeper = scope.spawn(move || {
            let kept = sync_regularly(rows, journal, stop, &listen);
            if kept.is_err() {
                fail();
            }
            kept
        });
        let mut records = Records::new(&job.inputs.paths, rules, share).until(stop.flag());
        let fed = feed(
            &mut records,
            Feed {
                ledger,
                done: FinishedRows::new(journal, rows),
                batching: Batching {
                    max_tokens: embedder.max_tokens().max(plan.max_tokens),
                    one_each: job.compute.deterministic,
                    threads: count,
                    least: match plan.device.is_cuda() {
                        true => plan.max_tokens,
                        false => LEAST_TOKENS,
                    },
                },
                on_duplicate_id: job.inputs.on_duplicate_id,
                send,
                go_on: &|| !failed.load(Ordering::Relaxed) && !stop.is_asked(),
                reporter,
            },
        );
        if fed.is_err() {
            fail();
        }
        let mut error = None;
        for thread in threads {
            error = error.or(joined(thread, "a worker").err());
        }
        drop(over);
        match joined(keeper, "the syncing") {
            Ok(syncs) => reporter.message(
                Level::Detail,
                &format!(
                    "work was synced {} while it went on, in {:.3} s",
                    numerals::count(syncs.count, "time"),
                    syncs.time.as_secs_f64()
                ),
            ),
            Err(failed) => error = error.or(Some(failed)),
        }
        let digests = joined(digests, "the checksum");
        // A worker's failure is the cause when both sides stopped.
        if let Some(error) = error {
            return Err(error);
        }
        if stop.is_asked() {
            return Ok(None);
        }
        // A checkpoint that has changed is the cause when the reading ended early.
        let model_files = digests?;
        let kept = fed?;
        let spared = records.spared();
        let (sources, findings) = records.into_sources();
        Ok(Some(Embedded {
            sources,
            findings,
            model_files,
            kept,
            spared,
        }))
    })
    .map_err(|cause| {
        anyhow!(
            "{cause:#}\nhint: finished work is kept in {}/.partial; once the cause is removed, use \
             `resume` to continue",
            job.output.folder.display()
        )
    })
}

/// Takes the checksums of the checkpoint and writes them into the working folder.
fn record_model_files(
    cache: Option<&ChecksumCache>,
    checkpoint: &Checkpoint,
    identity: &RunIdentityFile,
    stop: &Stop,
) -> Result<Digests> {
    let digests = Digests::compute(cache, checkpoint, stop)?;
    let before = &identity.identity().run.resolved.model.files;
    model_files::check_unchanged(before, &digests.files)?;
    identity.add_model_files(digests.files.clone())?;
    Ok(digests)
}

/// The result of a thread.
fn joined<T, E: Into<anyhow::Error>>(
    thread: ScopedJoinHandle<'_, Result<T, E>>,
    what: &str,
) -> Result<T> {
    match thread.join() {
        Ok(result) => result.map_err(Into::into),
        Err(_) => bail!("{what} thread stopped: this is a defect"),
    }
}
