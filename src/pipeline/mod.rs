//! FASTA to output folder: read, plan, embed, write.
//!
//! One thread reads records, gives each its place in the output and forms batches; worker
//! threads embed batches and write rows by position, in whatever order they finish. Between
//! them stands a bounded channel: memory does not grow with the number of records. Another thread
//! makes the work durable now and then.
//!
//! A run that died or was asked to [`Stop`] is gone on with by reading the input again: every
//! record gets its place anew, and those that the journal proves to be done are not embedded again.

mod checksum_cache;
mod input;
mod job;
mod plan;
mod reporter;
mod run;
mod stop;

pub use checksum_cache::ChecksumCache;
pub use input::shard::Shard;
pub use job::{
    Caches, ComputeOptions, Inputs, Job, Layers, Model, OnDuplicateId, OnInvalid, OnVarying,
    OutputOptions, SequenceOptions,
};
pub use plan::forecast::Forecast;
pub use reporter::{Level, Phase, Reporter, Silent, Totals};
pub use run::notices::{warn_of_ids, warn_of_notes};
pub use stop::{Stop, Stopped};

use crate::checkpoint::{Checkpoint, InvFreqSource};
use crate::device::{DeviceChoice, Dtype, ResidueRows};
use crate::embedder::{Embedder, EmbedderOptions};
use crate::model::LoadError;
use crate::numerals::{self, grouped};
use crate::output::{OutDtype, Parts, Residues, RunIdentity, State, Target, sync_work};
use anyhow::{Result, bail};
use input::inputs::{check_inputs, check_unchanged, no_record, scan_part};
use input::part::part;
use input::scan::Scan;
use plan::throughput::Reading;
use plan::{Plan, forecast};
use run::embed::{Embedded, Ready, embed_all, workers};
use run::notices::{report, tell_of_output, warn_of_findings, warn_of_long, warn_of_memory};
use run::{describe, model_files, open, resume};
use std::sync::Arc;
use std::time::Instant;

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
pub fn run(job: &Job, caches: &Caches, reporter: &dyn Reporter, stop: &Stop) -> Result<Outcome> {
    let checkpoint = Arc::new(open::open(job, reporter)?);
    let mut no_gpu = None;
    loop {
        match attempt(job, caches, &checkpoint, no_gpu.as_deref(), reporter, stop)? {
            Attempt::Done(outcome) => return Ok(outcome),
            Attempt::NoGpu(why) => no_gpu = Some(why),
        }
    }
}

/// What came of a run on the planned device.
enum Attempt {
    /// It is finished.
    Done(Outcome),
    /// The GPU that `auto` chose cannot be used; nothing was written.
    NoGpu(String),
}

fn attempt(
    job: &Job,
    caches: &Caches,
    checkpoint: &Arc<Checkpoint>,
    no_gpu: Option<&str>,
    reporter: &dyn Reporter,
    stop: &Stop,
) -> Result<Attempt> {
    let plan = Plan::new(job, caches, checkpoint, no_gpu)?;
    let target = Target::examine(&job.output.folder, &plan.layout, job.output.existing)?;
    if let State::Sealed(_) | State::Complete(_) = target.state() {
        return resume::complete(job, caches, &plan, checkpoint, target, reporter)
            .map(Attempt::Done);
    }
    let part = part(job, plan.rules(job, None), reporter)?;
    // Which records are left out for want of memory is decided when a run begins.
    let longest = match (target.state(), job.sequences.on_invalid) {
        (State::Begun(before), _) => before.longest,
        (_, OnInvalid::Skip) => u64::try_from(plan.admission.longest()).ok(),
        (_, OnInvalid::Fail) => None,
    };
    let left_out_beyond = match target.state() {
        State::Begun(_) => longest.and_then(|residues| usize::try_from(residues).ok()),
        _ => None,
    };
    let rules = plan.rules(job, left_out_beyond);
    let scan = check_inputs(
        job,
        rules,
        part.as_ref(),
        target.journal()?.as_ref(),
        reporter,
    )?;
    let stamps = model_files::stamps(checkpoint.files())?;
    let known = scan.as_ref().map_or(&[][..], |scan| &scan.sources);
    let is_begun = match target.state() {
        State::Begun(before) => {
            let now = describe::record(job, &plan, checkpoint, None, known);
            resume::check_begun(job, caches, checkpoint, before, now, &stamps)?;
            true
        }
        _ => false,
    };
    if let Some(scan) = &scan {
        forecast::check_space(job, &plan, scan, target.held_bytes())?;
        warn_of_memory(job, &plan, scan, reporter);
    }
    tell_of_output(job, &plan, scan.as_ref(), reporter);

    let started = Instant::now();
    reporter.phase(Phase::Loading(&job.model.asked));
    let mut embedder = match load(job, &plan, &checkpoint) {
        Ok(embedder) => embedder,
        // Nothing is written as yet.
        Err(error) if !is_begun && may_do_without_card(job, &plan, &error) => {
            return Ok(Attempt::NoGpu(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    embedder.heed(stop.flag());
    let mut record = describe::record(job, &plan, checkpoint, Some(&embedder), known);
    if let State::Begun(before) = target.state() {
        resume::check_loaded(job, before, &record)?;
    }
    reporter.message(
        Level::Info,
        &format!(
            "loaded {} ({} of {}, {}) in {:.2} s; computing on {}, {}, {}{}",
            job.model.asked,
            numerals::count(embedder.config().layers as u64, "layer"),
            embedder.config().dim,
            checkpoint.naming(),
            started.elapsed().as_secs_f64(),
            match plan.device.is_cuda() {
                true => plan.device.to_string(),
                false => format!("{} ({})", plan.device, plan.device.path),
            },
            numerals::count(workers(job, &embedder) as u64, "thread"),
            plan.dtype,
            match (plan.device.is_cuda(), job.compute.deterministic) {
                (true, false) => format!(
                    ", {} tokens to a batch",
                    grouped(embedder.max_tokens() as u64)
                ),
                _ => String::new(),
            },
        ),
    );
    if let Some(why) = &plan.device.why_cpu {
        let level = match no_gpu {
            Some(_) => Level::Warning,
            None => Level::Info,
        };
        reporter.message(level, &format!("no CUDA card is used: {why}"));
    }
    if !embedder.shares_passes() {
        if job.compute.on_varying == OnVarying::Fail {
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
        false => target.begin(RunIdentity::new(record.clone(), stamps, longest))?,
    };
    if is_begun {
        let count = folder.parts().journal.count()?;
        reporter.message(
            Level::Info,
            &format!(
                "{}: resuming an interrupted run, whose journal lists {} as done",
                job.output.folder.display(),
                numerals::count(count, "distinct sequence")
            ),
        );
    }
    if !folder.is_locked() {
        reporter.message(
            Level::Warning,
            &format!(
                "{}: the file system knows no locks, so nothing keeps another run from writing \
                 into this folder at the same time: see to it that none does",
                job.output.folder.display()
            ),
        );
    }
    reporter.start(scan.as_ref().map_or_else(Totals::default, Scan::totals));
    folder.set_threads(job.compute.threads);
    if let Some(part) = &part {
        folder.set_shard(part.entry)?;
    }
    let ready = Ready {
        job,
        rules,
        caches,
        plan: &plan,
        checkpoint,
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
        findings,
        model_files,
        kept,
        spared,
    } = match embedded {
        Some(embedded) if !stop.is_asked() => embedded,
        _ => bail!(Stopped {
            signal: stop.signal(),
            out: job.output.folder.display().to_string(),
        }),
    };
    if let Some(scan) = &scan {
        check_unchanged(&scan.sources, &sources)?;
    }
    if sources.iter().all(|s| s.records == 0) {
        bail!(no_record(job));
    }
    let ids = folder.parts().ledger.ids();
    reporter.phase(Phase::Finishing);
    record.resolved.inputs = describe::inputs(&sources);
    record.resolved.model.files = model_files;
    let manifest = folder.finish(record.asked, record.resolved)?;
    if is_begun {
        reporter.message(
            Level::Info,
            &format!(
                "{} of {} {} found done, the others were embedded now",
                grouped(kept),
                numerals::count(manifest.counts.unique_sequences, "distinct sequence"),
                if kept == 1 { "was" } else { "were" },
            ),
        );
    }
    if embedder.redone_alone() {
        reporter.message(
            Level::Warning,
            "a self-test on this card found that in bf16 the bits of a sequence depend on its batch: \
             each record that was computed so had a pass of its own",
        );
    }
    if spared > 0 {
        reporter.message(
            Level::Warning,
            &format!(
                "{} left out because memory was short when the run began, although there is enough \
                 now: a run into another folder (--out) embeds {} too",
                match spared {
                    1 => "1 record was".to_owned(),
                    records => format!("{} records were", grouped(records)),
                },
                if spared == 1 { "it" } else { "them" },
            ),
        );
    }
    // Of files they were told before the work.
    if scan.is_none() {
        warn_of_findings(&findings, job, reporter);
    }
    warn_of_notes(&manifest, reporter);
    warn_of_ids(ids, reporter);
    report(&manifest.counts, job, reporter);
    Ok(Attempt::Done(Outcome {
        records: manifest.counts.records,
        skipped: manifest.counts.skipped,
    }))
}

/// Says what a job would do, without doing it.
///
/// # Errors
/// What would stop the run before its first batch.
pub fn dry_run(job: &Job, caches: &Caches, reporter: &dyn Reporter) -> Result<Forecast> {
    let checkpoint = open::open(job, reporter)?;
    let plan = Plan::new(job, caches, &checkpoint, None)?;
    let target = Target::examine(&job.output.folder, &plan.layout, job.output.existing)?;
    let left_out_beyond = match target.state() {
        State::Begun(before) => before.longest.and_then(|n| usize::try_from(n).ok()),
        _ => None,
    };
    let rules = plan.rules(job, left_out_beyond);
    let begin = Instant::now();
    let part = part(job, plan.rules(job, None), reporter)?;
    let again = Instant::now();
    let journal = target.journal()?;
    let mut scan = scan_part(job, rules, part.as_ref(), journal.as_ref(), reporter)?;
    let reading = Reading {
        before: begin.elapsed(),
        meanwhile: again.elapsed(),
    };
    if scan.sources.iter().all(|s| s.records == 0) {
        bail!(no_record(job));
    }
    resume::foresee(job, &plan, &checkpoint, target.state(), &mut scan)?;
    warn_of_long(&scan, reporter);
    warn_of_findings(&scan.findings, job, reporter);
    reporter.phase(Phase::Measuring(&job.model.asked));
    Forecast::new(job, caches, &plan, &checkpoint, &scan, reading)
}

/// Whether a card that cannot be used was not asked for.
fn may_do_without_card(job: &Job, plan: &Plan, error: &LoadError) -> bool {
    job.compute.device == DeviceChoice::Auto
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
        threads: job.compute.threads,
        max_tokens: if job.compute.deterministic {
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
    if job.compute.max_tokens.is_none() && !job.compute.deterministic {
        embedder.use_memory();
    }
    let may_vary = job.compute.on_varying != OnVarying::Fail;
    embedder.redo_overflows(checkpoint, &plan.device, job.compute.threads, may_vary);
    Ok(embedder)
}
