//! FASTA to output folder: read, plan, embed, write.
//!
//! One thread reads records, gives each its place in the output and forms batches; worker
//! threads embed batches and write rows by position, in whatever order they finish. Between
//! them stands a bounded channel: memory does not grow with the number of records. Another thread
//! makes the work durable now and then.
//!
//! A run that died or was asked to [`Stop`] is gone on with by reading the input again: every
//! record gets its place anew, and those that the journal proves to be done are not embedded again.

mod describe;
mod earlier;
mod facts;
mod feed;
mod forecast;
mod job;
mod keep;
mod pace;
mod plan;
mod prepare;
mod records;
mod remembered;
mod reporter;
mod resume;
mod room;
mod scan;
mod shard;
mod stop;
mod work;

pub use forecast::Forecast;
pub use job::{Job, Long, Model, OnInvalid, OnVarying, USUAL_LIMIT};
pub use remembered::Remembered;
pub use reporter::{Level, Reporter, Silent, Totals};
pub use shard::Shard;
pub use stop::{Stop, Stopped};

use crate::checkpoint::{Checkpoint, InvFreqSource};
use crate::device::{DeviceChoice, Dtype, ResidueRows};
use crate::embedder::{Embedder, EmbedderOptions};
use crate::memory;
use crate::model::LoadError;
use crate::output::{
    Begun, Counts, OutDtype, OutputFolder, Parts, Residues, ShardEntry, State, Target, sync_work,
};
use anyhow::{Result, anyhow, bail};
use describe::FileDigest;
use earlier::Earlier;
use feed::{Batching, Feed, feed};
use keep::keep;
use plan::Plan;
use records::{Records, Source};
use room::{Bytes, Gate};
use scan::Scan;
use shard::Share;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::ScopedJoinHandle;
use std::time::Instant;
use work::Workers;

/// Tokens of a batch on the CPU at least, where an input is small.
const LEAST_TOKENS: usize = 256;

/// How a finished run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records with a row.
    pub records: u64,
    /// Records listed in `skipped.tsv`.
    pub skipped: u64,
}

/// Carries a job out, unless `stop` asks to put it away half done.
///
/// # Errors
/// Everything that keeps the output folder from being complete; nothing finished is touched.
/// [`Stopped`] when the run was asked to stop.
pub fn run(job: &Job, reporter: &dyn Reporter, stop: &Stop) -> Result<Outcome> {
    let checkpoint = Arc::new(Checkpoint::open(&job.model.path)?);
    let mut plan = Plan::new(job, &checkpoint)?;
    let target = Target::examine(&job.out, &plan.layout, job.existing)?;
    if let State::Sealed(_) | State::Complete(_) = target.state() {
        return resume::complete(job, &plan, &checkpoint, target, reporter);
    }
    let part = part(job, &plan, reporter)?;
    // Which records are left out for want of memory is decided when a run begins.
    let longest = match (target.state(), job.on_invalid) {
        (State::Begun(before), _) => before.longest,
        (_, OnInvalid::Skip) => u64::try_from(plan.policy.longest()).ok(),
        (_, OnInvalid::Fail) => None,
    };
    if let State::Begun(_) = target.state() {
        plan.policy.agreed = longest.and_then(|residues| usize::try_from(residues).ok());
    }
    let scan = check_inputs(job, &plan, part.as_ref(), reporter)?;
    let needed = facts::needed(checkpoint.files())?;
    let known = scan.as_ref().map_or(&[][..], |scan| &scan.sources);
    let facts = resume::facts_now(job, &plan, &checkpoint, None, known);
    let is_begun = match target.state() {
        State::Begun(before) => {
            resume::check_begun(job, &checkpoint, before, &facts, &needed)?;
            true
        }
        _ => false,
    };
    if let Some(scan) = &scan {
        forecast::check_space(job, &plan, scan, target.held_bytes())?;
        warn_of_memory(job, &plan, scan, reporter);
    }

    let started = Instant::now();
    let mut embedder = match load(job, &plan, &checkpoint) {
        Ok(embedder) => embedder,
        // Nothing is written as yet.
        Err(error) if !is_begun && may_do_without_card(job, &plan, &error) => {
            let job = Job {
                no_card: Some(error.to_string()),
                ..job.clone()
            };
            return run(&job, reporter, stop);
        }
        Err(error) => return Err(error.into()),
    };
    embedder.heed(stop.flag());
    let facts = resume::facts_now(job, &plan, &checkpoint, Some(&embedder), known);
    if let State::Begun(before) = target.state() {
        resume::check_loaded(job, before, &facts)?;
    }
    reporter.message(
        Level::Info,
        &format!(
            "loaded {} ({} layers of {}, {}) in {:.2} s; computing on {}, {} thread{}, {}{}",
            job.model.asked,
            embedder.config().layers,
            embedder.config().dim,
            checkpoint.layout(),
            started.elapsed().as_secs_f64(),
            match plan.device.is_cuda() {
                true => plan.device.to_string(),
                false => format!("{} ({})", plan.device, plan.device.path),
            },
            workers(job, &embedder),
            if workers(job, &embedder) == 1 {
                ""
            } else {
                "s"
            },
            plan.dtype,
            match (plan.device.is_cuda(), job.deterministic) {
                (true, false) => format!(", {} tokens to a batch", embedder.max_tokens()),
                _ => String::new(),
            },
        ),
    );
    if let Some(why) = &plan.device.why_cpu {
        let level = match job.no_card {
            Some(_) => Level::Warning,
            None => Level::Info,
        };
        reporter.message(level, &format!("no CUDA card is used: {why}"));
    }
    if !embedder.shares_passes() {
        if job.on_varying == OnVarying::Fail {
            bail!(
                "a self-test on this card found that the bits of a sequence depend on its batch, \
                 and --on-varying fail was given: leave that out, and each sequence gets a pass of \
                 its own"
            );
        }
        reporter.message(
            Level::Warning,
            "a self-test on this card found that the bits of a sequence depend on its batch: each \
             sequence gets a pass of its own, as with --deterministic",
        );
    }
    if embedder.inv_freq() == Some(InvFreqSource::Computed) {
        reporter.message(
            Level::Warning,
            "the checkpoint holds no inv_freq: rotary frequencies are computed. Published \
             checkpoints hold rounded ones; run.json records this",
        );
    }

    stop.set_has_work(true);
    let mut folder = match is_begun {
        true => target.resume()?,
        false => target.begin(Begun::new(facts, needed, longest))?,
    };
    if is_begun {
        let count = folder.parts().journal.count()?;
        reporter.message(
            Level::Info,
            &format!(
                "{}: going on with an interrupted run, which says that {count} distinct sequences \
                 are done",
                job.out.display()
            ),
        );
    }
    if !folder.is_locked() {
        reporter.message(
            Level::Warning,
            &format!(
                "{}: the file system knows no locks, so nothing keeps another run from writing \
                 into this folder at the same time: see to it that none does",
                job.out.display()
            ),
        );
    }
    reporter.start(Totals {
        records: scan.as_ref().map(|s| s.records),
        residues: scan.as_ref().map(|s| s.residues),
    });
    if let Some(part) = &part {
        folder.set_shard(part.entry)?;
    }
    let ready = Ready {
        job,
        plan: &plan,
        checkpoint: &checkpoint,
        embedder: &embedder,
        share: part.map(|part| part.share),
        reporter,
        stop,
    };
    let embedded = embed_all(ready, &mut folder);
    reporter.finish();
    // What is done is put away however the work ended; from here on the process may end at once.
    let Parts { rows, journal, .. } = folder.parts();
    let synced = sync_work(rows, journal);
    stop.set_has_work(false);
    let embedded = embedded?;
    synced?;
    let Embedded {
        sources,
        digests,
        kept,
        spared,
    } = match embedded {
        Some(embedded) if !stop.is_asked() => embedded,
        _ => bail!(Stopped {
            signal: stop.signal(),
            out: job.out.display().to_string(),
        }),
    };
    if let Some(scan) = &scan {
        check_unchanged(&scan.sources, &sources)?;
    }
    if sources.iter().all(|s| s.records == 0) {
        bail!(no_record(job));
    }
    let manifest = folder.finish(
        describe::asked(job),
        describe::resolved(job, &plan, &checkpoint, Some(&embedder), &digests, &sources),
    )?;
    if is_begun {
        reporter.message(
            Level::Info,
            &format!(
                "{kept} of {} distinct sequences were found done, the others were embedded now",
                manifest.counts.unique_sequences
            ),
        );
    }
    if spared > 0 {
        reporter.message(
            Level::Warning,
            &format!(
                "records left out because memory was short when the run began, though there is \
                 enough for them now: {spared} (--force starts anew, with them)"
            ),
        );
    }
    report(&manifest.counts, job, reporter);
    Ok(Outcome {
        records: manifest.counts.records,
        skipped: manifest.counts.skipped,
    })
}

/// Says what a job would do, without doing it.
///
/// # Errors
/// What would stop the run before its first batch.
pub fn dry_run(job: &Job, reporter: &dyn Reporter) -> Result<Forecast> {
    let checkpoint = Checkpoint::open(&job.model.path)?;
    let plan = Plan::new(job, &checkpoint)?;
    Target::examine(&job.out, &plan.layout, job.existing)?;
    let part = part(job, &plan, reporter)?;
    let scan = scan_part(job, &plan, part.as_ref(), reporter)?;
    if scan.sources.iter().all(|s| s.records == 0) {
        bail!(no_record(job));
    }
    warn_of_long(&scan, reporter);
    Forecast::new(job, &plan, &checkpoint, &scan)
}

/// The part of the input that this job embeds.
struct Part {
    entry: ShardEntry,
    share: Share,
    sources: Vec<Source>,
}

/// Shares the input out; None if all of it is to be embedded.
fn part(job: &Job, plan: &Plan, reporter: &dyn Reporter) -> Result<Option<Part>> {
    let Some(shard) = job.shard else {
        return Ok(None);
    };
    if let Some(stream) = job.inputs.iter().find(|path| !scan::is_repeatable(path)) {
        bail!(
            "{}: cannot be read twice, and --shard {shard} reads the input once to share it out \
             before it embeds: write it to a file first",
            stream.display()
        );
    }
    let (survey, sources) = scan::survey(&job.inputs, plan.policy, job.on_invalid, reporter)?;
    Ok(Some(Part {
        entry: ShardEntry {
            number: shard.number,
            of: shard.of,
            input_records: survey.records(),
        },
        share: survey.share(shard),
        sources,
    }))
}

/// Checks and counts the records of the part, or all.
fn scan_part(job: &Job, plan: &Plan, part: Option<&Part>, reporter: &dyn Reporter) -> Result<Scan> {
    let share = part.map(|part| part.share.clone());
    let scan = scan::scan(&job.inputs, plan.policy, job.on_invalid, share, reporter)?;
    if let Some(part) = part {
        check_unchanged(&part.sources, &scan.sources)?;
    }
    Ok(scan)
}

/// The first pass over the input, if it can be read twice.
fn check_inputs(
    job: &Job,
    plan: &Plan,
    part: Option<&Part>,
    reporter: &dyn Reporter,
) -> Result<Option<Scan>> {
    if !scan::repeatable(&job.inputs) {
        return Ok(None);
    }
    let scan = scan_part(job, plan, part, reporter)?;
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
    Ok(Some(scan))
}

fn no_record(job: &Job) -> String {
    let name = |path: &PathBuf| match path.as_os_str() == "-" {
        true => "<stdin>".into(),
        false => path.to_string_lossy().into_owned(),
    };
    let names: Vec<String> = job.inputs.iter().map(name).collect();
    format!(
        "{}: holds no FASTA record; a record starts with a line `>name`. Check that this is the \
         right file and that it was written completely",
        names.join(", ")
    )
}

/// A machine that others use too may not have what a job's limit allows.
fn warn_of_memory(job: &Job, plan: &Plan, scan: &Scan, reporter: &dyn Reporter) {
    let needed = forecast::memory(job, plan, scan);
    if let Some(available) = memory::available().filter(|available| *available < needed) {
        reporter.message(
            Level::Warning,
            &format!(
                "this run takes up to about {} of memory, and this machine has {} available at \
                 the moment: fewer --threads, --long window or --dtype f16 take less",
                Bytes(needed),
                Bytes(available)
            ),
        );
    }
}

fn warn_of_long(scan: &Scan, reporter: &dyn Reporter) {
    if scan.long > 0 {
        reporter.message(
            Level::Warning,
            &format!(
                "{} of {} sequences have more than {USUAL_LIMIT} residues, the most that ESM saw \
                 in training; they are embedded whole (--long chooses otherwise)",
                scan.long, scan.records
            ),
        );
    }
}

/// Whether a card that cannot be used was not asked for.
fn may_do_without_card(job: &Job, plan: &Plan, error: &LoadError) -> bool {
    job.device == DeviceChoice::Auto
        && plan.device.is_cuda()
        && plan.dtype != Dtype::Tf32
        && error.is_of_card()
}

fn load(
    job: &Job,
    plan: &Plan,
    checkpoint: &Arc<Checkpoint>,
) -> std::result::Result<Embedder, LoadError> {
    let options = EmbedderOptions {
        layers: plan.layout.layers.clone(),
        weight_type: plan.dtype.weight_type(),
        path: plan.device.path,
        threads: job.threads,
        max_tokens: if job.deterministic {
            0
        } else {
            plan.max_tokens
        },
    };
    let mut embedder = Embedder::load_on(checkpoint, options, &plan.device, plan.dtype)?;
    embedder.want_residues(match (plan.layout.residues, plan.layout.dtype) {
        (Residues::None, _) => ResidueRows::None,
        (_, OutDtype::F32) => ResidueRows::F32,
        (_, OutDtype::F16) => ResidueRows::F16,
    });
    if job.max_tokens.is_none() && !job.deterministic {
        embedder.use_memory();
    }
    let may_vary = job.on_varying != OnVarying::Fail;
    embedder.redo_overflows(checkpoint, &plan.device, job.threads, may_vary);
    Ok(embedder)
}

/// Threads that embed and write.
fn workers(job: &Job, embedder: &Embedder) -> usize {
    embedder.lanes().unwrap_or(job.threads).max(1)
}

/// What embedding came to.
struct Embedded {
    sources: Vec<Source>,
    /// Of the checkpoint.
    digests: Vec<FileDigest>,
    /// Records that were done before.
    kept: u64,
    /// As [`Records::spared`].
    spared: u64,
}

/// A run with everything it needs to embed.
struct Ready<'a> {
    job: &'a Job,
    plan: &'a Plan,
    checkpoint: &'a Checkpoint,
    embedder: &'a Embedder,
    /// The records of a shard; None for all of them.
    share: Option<Share>,
    reporter: &'a dyn Reporter,
    stop: &'a Stop,
}

/// Streams all records through the workers; nothing comes back when the run was asked to stop.
fn embed_all(ready: Ready<'_>, folder: &mut OutputFolder) -> Result<Option<Embedded>> {
    let Ready {
        job,
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
        begun,
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
        pools: &plan.layout.pools,
        rows,
        journal,
        reporter,
        failed: &failed,
        stop,
        gate: &Gate::new(plan.policy.room),
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
        let digests = scope.spawn(|| -> Result<Vec<FileDigest>> {
            let known = describe::digests(job, checkpoint, stop).and_then(|digests| {
                begun.know(facts::with_digests(&begun.begun().needed, &digests)?)?;
                Ok(digests)
            });
            match &known {
                Ok(digests) => describe::tell(digests, reporter),
                Err(_) => fail(),
            }
            known
        });
        let (over, listen) = channel();
        let keeper = scope.spawn(move || {
            let kept = keep(rows, journal, stop, &listen);
            if kept.is_err() {
                fail();
            }
            kept
        });
        let mut records =
            Records::new(&job.inputs, plan.policy, job.on_invalid, share).until(stop.flag());
        let fed = feed(
            &mut records,
            Feed {
                ledger,
                done: Earlier::new(journal, rows),
                batching: Batching {
                    max_tokens: embedder.max_tokens().max(plan.max_tokens),
                    one_each: job.deterministic,
                    threads: count,
                    least: match plan.device.is_cuda() {
                        true => plan.max_tokens,
                        false => LEAST_TOKENS,
                    },
                },
                send,
                go_on: &|| !failed.load(Ordering::Relaxed) && !stop.is_asked(),
                advance: &|r, n| reporter.advance(r, n),
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
                    "work was synced {} times while it went on, in {:.3} s",
                    syncs.count,
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
        let digests = digests?;
        let kept = fed?;
        Ok(Some(Embedded {
            kept,
            spared: records.spared(),
            sources: records.into_sources(),
            digests,
        }))
    })
    .map_err(|cause| {
        anyhow!(
            "{cause:#}. Nothing in {} looks finished, and what is done is kept; run again with \
             --resume once the cause is gone",
            job.out.display()
        )
    })
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

/// Files that were scanned must still be what they were.
fn check_unchanged(before: &[Source], after: &[Source]) -> Result<()> {
    for (before, after) in before.iter().zip(after) {
        if before != after {
            bail!(
                "{}: changed while it was read ({} bytes at first, {} later{}); wait until nothing \
                 writes to it, then run again with --force",
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

/// What the user has to know of the input, in counts.
fn report(counts: &Counts, job: &Job, reporter: &dyn Reporter) {
    let told = [
        (
            "characters outside the alphabet, each read as <unk> with a row of its own",
            counts.unknown,
        ),
        ("lower-case letters, read as upper case", counts.lower),
        ("final *, dropped", counts.stops),
        ("sequences truncated", counts.truncated),
        ("sequences embedded in windows", counts.windowed),
        ("records skipped and listed in skipped.tsv", counts.skipped),
        (
            "records computed in bf16, as their numbers do not fit f16 (--dtype bf16 does so with \
             all of them)",
            counts.in_bf16,
        ),
    ];
    for (what, count) in told {
        if count > 0 {
            reporter.message(Level::Warning, &format!("{what}: {count}"));
        }
    }
    let residues = match job.residues {
        Residues::None => "not written",
        Residues::Packed => "packed",
        Residues::Files => "one file each",
    };
    reporter.message(
        Level::Info,
        &format!(
            "{}: {} records ({} distinct sequences), {} residues ({residues})",
            job.out.display(),
            counts.records,
            counts.unique_sequences,
            counts.residues
        ),
    );
}
