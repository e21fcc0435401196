//! FASTA to output folder: read, plan, embed, write.
//!
//! One thread reads records, gives each its place in the output and forms batches; worker
//! threads embed batches and write rows by position, in whatever order they finish. Between
//! them stands a bounded channel: memory does not grow with the number of records.

mod describe;
mod feed;
mod forecast;
mod job;
mod pace;
mod plan;
mod prepare;
mod records;
mod reporter;
mod room;
mod scan;
mod shard;
mod work;

pub use forecast::Forecast;
pub use job::{Job, Long, Model, OnInvalid, USUAL_LIMIT};
pub use reporter::{Level, Reporter, Silent, Totals};
pub use shard::Shard;

use crate::checkpoint::{Checkpoint, InvFreqSource};
use crate::embedder::{Embedder, EmbedderOptions};
use crate::memory;
use crate::output::{Counts, OutputFolder, Residues, ShardEntry};
use anyhow::{Result, anyhow, bail};
use feed::{Batching, feed};
use plan::Plan;
use records::{Records, Source};
use room::{Bytes, Gate};
use scan::Scan;
use shard::Share;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use work::Workers;

/// How a finished run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records with a row.
    pub records: u64,
    /// Records listed in `skipped.tsv`.
    pub skipped: u64,
}

/// Carries a job out.
///
/// # Errors
/// Everything that keeps the output folder from being complete; nothing finished is touched.
pub fn run(job: &Job, reporter: &dyn Reporter) -> Result<Outcome> {
    let checkpoint = Checkpoint::open(&job.model.path)?;
    let plan = Plan::new(job, &checkpoint)?;
    OutputFolder::check(&job.out, &plan.layout, job.force)?;
    let part = part(job, &plan)?;
    let scan = check_inputs(job, &plan, part.as_ref(), reporter)?;
    if let Some(scan) = &scan {
        forecast::check_space(job, &plan, scan)?;
        warn_of_memory(job, &plan, scan, reporter);
    }

    let started = Instant::now();
    let embedder = load(job, &plan, &checkpoint)?;
    reporter.message(
        Level::Info,
        &format!(
            "loaded {} ({} layers of {}, {}) in {:.2} s; computing on {} ({}), {} thread{}, {}",
            job.model.asked,
            embedder.config().layers,
            embedder.config().dim,
            checkpoint.layout(),
            started.elapsed().as_secs_f64(),
            plan.device,
            plan.device.path,
            job.threads,
            if job.threads == 1 { "" } else { "s" },
            plan.dtype,
        ),
    );
    if embedder.inv_freq() == Some(InvFreqSource::Computed) {
        reporter.message(
            Level::Warning,
            "the checkpoint holds no inv_freq: rotary frequencies are computed. Published \
             checkpoints hold rounded ones; run.json records this",
        );
    }

    let mut folder = OutputFolder::create(&job.out, plan.layout.clone(), job.force)?;
    reporter.start(Totals {
        records: scan.as_ref().map(|s| s.records),
        residues: scan.as_ref().map(|s| s.residues),
    });
    if let Some(part) = &part {
        folder.set_shard(part.entry)?;
    }
    let embedded = embed_all(
        job,
        &plan,
        &checkpoint,
        &embedder,
        part.as_ref(),
        &mut folder,
        reporter,
    );
    reporter.finish();
    let (sources, digests) = embedded?;
    if let Some(scan) = &scan {
        check_unchanged(&scan.sources, &sources)?;
    }
    if sources.iter().all(|s| s.records == 0) {
        bail!(no_record(job));
    }
    let manifest = folder.finish(
        describe::asked(job),
        describe::resolved(
            job,
            &plan,
            &checkpoint,
            embedder.inv_freq(),
            &digests,
            &sources,
        ),
    )?;
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
    OutputFolder::check(&job.out, &plan.layout, job.force)?;
    let part = part(job, &plan)?;
    let scan = scan_part(job, &plan, part.as_ref())?;
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
fn part(job: &Job, plan: &Plan) -> Result<Option<Part>> {
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
    let (survey, sources) = scan::survey(&job.inputs, plan.policy, job.on_invalid)?;
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
fn scan_part(job: &Job, plan: &Plan, part: Option<&Part>) -> Result<Scan> {
    let share = part.map(|part| part.share.clone());
    let scan = scan::scan(&job.inputs, plan.policy, job.on_invalid, share)?;
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
    let scan = scan_part(job, plan, part)?;
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

fn load(job: &Job, plan: &Plan, checkpoint: &Checkpoint) -> Result<Embedder> {
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
    Ok(Embedder::load(checkpoint, options)?)
}

/// Streams all records through the workers; the inputs and the checkpoint's digests come back.
fn embed_all(
    job: &Job,
    plan: &Plan,
    checkpoint: &Checkpoint,
    embedder: &Embedder,
    part: Option<&Part>,
    folder: &mut OutputFolder,
    reporter: &dyn Reporter,
) -> Result<(Vec<Source>, Vec<describe::FileDigest>)> {
    let (ledger, rows) = folder.split();
    let (send, receive) = sync_channel(job.threads.max(1));
    // Owned by the workers alone: when the last of them stops, sending fails instead of waiting.
    let receive = Arc::new(Mutex::new(receive));
    let stop = AtomicBool::new(false);
    let workers = Workers {
        embedder,
        pools: &plan.layout.pools,
        rows,
        reporter,
        stop: &stop,
        gate: &Gate::new(plan.policy.room),
        cost: plan.cost,
    };
    let batching = Batching {
        max_tokens: plan.max_tokens,
        one_each: job.deterministic,
        threads: job.threads,
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..job.threads.max(1))
            .map(|_| {
                let (workers, receive) = (&workers, Arc::clone(&receive));
                scope.spawn(move || workers.run(&receive))
            })
            .collect();
        drop(receive);
        let digests = scope.spawn(|| describe::digests(checkpoint.files()));
        let mut records = Records::new(
            &job.inputs,
            plan.policy,
            job.on_invalid,
            part.map(|part| part.share.clone()),
        );
        let fed = feed(&mut records, ledger, batching, &send, &stop, &|r, n| {
            reporter.advance(r, n);
        });
        if fed.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        drop(send);
        let mut failed = None;
        for thread in threads {
            let result = thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a worker thread stopped: this is a defect")));
            failed = failed.or(result.err());
        }
        let digests = digests
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the checksum thread stopped: this is a defect")));
        // A worker's failure is the cause when both sides stopped.
        if let Some(error) = failed {
            return Err(error);
        }
        fed?;
        Ok((records.into_sources(), digests?))
    })
    .map_err(|cause| {
        anyhow!(
            "{cause:#}. Nothing in {} looks finished; run again with --force once the cause is \
             gone",
            job.out.display()
        )
    })
}

/// Files that were scanned must still be what they were.
fn check_unchanged(before: &[Source], after: &[Source]) -> Result<()> {
    for (before, after) in before.iter().zip(after) {
        if before != after {
            bail!(
                "{}: changed while it was read ({} bytes at first, {} later); wait until nothing \
                 writes to it, then run again with --force",
                after.path.display(),
                before.digest.bytes,
                after.digest.bytes
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
