//! FASTA to output folder: check, plan, embed, write.
//!
//! | room | |
//! |---|---|
//! | `input` | the records of the FASTA files: which belong to the shard, what they cost |
//! | `plan` | what a job comes to on this machine: layers, device, memory, disk, time |
//! | `run` | the stages of a run |
//! | `planning` | an input read once, for tasks that embed its shards |
//!
//! One thread reads records, gives each its place in the output and forms batches; worker threads
//! embed batches and write rows by position, in whatever order they finish. A bounded channel
//! connects them, so memory does not grow with the number of records. Another thread makes finished
//! work durable now and then.
//!
//! A run that died or was asked to [`Stop`] is resumed by reading the input again: every record
//! gets its place again, and those that the journal proves to be done are not embedded again.

mod checksum_cache;
mod input;
mod job;
pub(crate) mod plan;
mod planning;
mod reporter;
mod resident;
mod run;
mod stop;

pub use checksum_cache::ChecksumCache;
pub use input::shard::Shard;
pub use job::{
    Caches, ComputeOptions, Inputs, Job, Layers, MapOptions, Model, ModelAdapter, OnDuplicateId,
    OnInvalid, OnVarying, OutputOptions, SequenceOptions,
};
pub use plan::forecast::Forecast;
pub use planning::{PlanJob, plan_shards};
pub use reporter::{Computing, Counted, Level, Phase, Reporter, Silent, Totals};
pub(crate) use resident::Resident;
pub use run::notices::{warn_of_ids, warn_of_notes};
pub use stop::{Stop, Stopped};

use crate::device::{DeviceChoice, Dtype};
use crate::embedder::{Embedder, EmbedderOptions, LoadError, OnOverflow};
use crate::output::{State, Target};
use crate::product::Product;
use crate::threads::Threads;
use anyhow::Result;
use input::check::{can_be_read_twice, check_inputs};
use input::planned::PlannedShard;
use plan::Plan;
use run::begin::begin;
use run::check::{check, check_again};
use run::embed::embed;
use run::finish::finish;
use run::notices::tell_of_model;
use run::open::open;
pub use run::open::tell_of_checkpoint;
use run::pulse::Pulse;
use run::{Run, known, resume};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How a finished run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records with a row.
    pub records: u64,
    /// Records listed in `skipped.tsv`.
    pub skipped: u64,
}

/// Carries a job out, unless `stop` asks it to save its work and end early.
///
/// # Errors
/// Everything that keeps the output folder from being complete; nothing finished is touched.
/// [`Stopped`] when the run was asked to stop.
pub fn run(job: &Job, caches: &Caches, reporter: &dyn Reporter, stop: &Stop) -> Result<Outcome> {
    let pulse = Pulse::new(reporter);
    let reporter: &dyn Reporter = &pulse;
    let planned = PlannedShard::open(job, reporter)?;
    let checkpoint = Arc::new(open(job, reporter)?);
    let run = Run {
        job,
        planned: planned.as_ref(),
        caches,
        checkpoint: &checkpoint,
        threads: &Threads::new(job.compute.threads),
        reporter,
        stop,
    };
    let mut plan = Plan::new(job, caches, &checkpoint, None)?;
    check_planned(job, &plan, run.planned)?;
    let target = Target::examine(&job.output.folder, &plan.layout, job.output.existing)?;
    if let State::Sealed(_) | State::Complete(_) = target.state() {
        return resume::complete(run, &plan, target);
    }
    let mut checked = check(run, &plan, &target)?;
    let (embedder, loading) = match load_timed(run, &plan) {
        // Nothing is written yet: the run is planned again, for the CPU.
        Err(error) if !checked.is_resumed && may_use_the_cpu(job, &plan, &error) => {
            plan = Plan::new(job, caches, &checkpoint, Some(&error.to_string()))?;
            checked = check_again(run, &plan, &target, checked)?;
            load_timed(run, &plan)?
        }
        loaded => loaded?,
    };
    tell_of_model(run, &plan, &embedder, loading, Some("run.json"))?;
    let known = known::open(run, &plan, &embedder)?;
    let mut folder = begin(run, &plan, &embedder, &checked, target)?;
    pulse.write_to(folder.status());
    let manifest = std::thread::scope(|scope| {
        let (_over, listen) = channel();
        let pulse = &pulse;
        scope.spawn(move || pulse.beat(listen));
        let embedded = embed(run, &plan, &embedder, &checked, known.as_ref(), &mut folder)?;
        finish(run, &plan, &embedder, &checked, &embedded, folder)
    })?;
    Ok(Outcome {
        records: manifest.counts.records,
        skipped: manifest.counts.skipped,
    })
}

/// Predicts what a job would do, without doing it.
///
/// # Errors
/// What would stop the run before its first batch.
pub fn dry_run(job: &Job, caches: &Caches, reporter: &dyn Reporter) -> Result<Forecast> {
    let planned = PlannedShard::open(job, reporter)?;
    let planned = planned.as_ref();
    let checkpoint = Arc::new(open(job, reporter)?);
    let plan = Plan::new(job, caches, &checkpoint, None)?;
    check_planned(job, &plan, planned)?;
    let target = Target::examine(&job.output.folder, &plan.layout, job.output.existing)?;
    can_be_read_twice(job)?;
    let begin = Instant::now();
    let journal = target.journal()?;
    let rules = plan.rules(job, target.state());
    let mut scan = check_inputs(job, planned, rules, journal.as_ref(), reporter)?;
    let reading = begin.elapsed();
    resume::foresee(job, &plan, &checkpoint, target.state(), &mut scan)?;
    reporter.phase(Phase::Measuring(&job.model.asked));
    Forecast::new(job, caches, &plan, &checkpoint, &scan, reading)
}

/// Whether records are treated as they were when they were planned.
fn check_planned(job: &Job, plan: &Plan, planned: Option<&PlannedShard>) -> Result<()> {
    if let Some(planned) = planned {
        planned.check_settings(job, &plan.admission.policy)?;
    }
    Ok(())
}

/// Loads the model, and how long that took.
fn load_timed(run: Run<'_>, plan: &Plan) -> Result<(Embedder, Duration), LoadError> {
    let begin = Instant::now();
    run.reporter.phase(Phase::Loading(&run.job.model.asked));
    let embedder = load(run, plan)?;
    Ok((embedder, begin.elapsed()))
}

/// Whether `auto` chose a GPU that turned out to be unusable.
fn may_use_the_cpu(job: &Job, plan: &Plan, error: &LoadError) -> bool {
    job.compute.device == DeviceChoice::Auto
        && plan.device.is_gpu()
        && plan.dtype != Dtype::Tf32
        && error.is_of_gpu()
}

fn load(run: Run<'_>, plan: &Plan) -> Result<Embedder, LoadError> {
    let compute = &run.job.compute;
    let options = EmbedderOptions {
        threads: run.threads.clone(),
        max_tokens: match compute.deterministic {
            true => 0,
            false => plan.max_tokens,
        },
        fill_memory: compute.max_tokens.is_none() && !compute.deterministic,
        on_overflow: OnOverflow::Fallback {
            may_vary: compute.on_varying != OnVarying::Fail,
        },
        lm_head: plan.has(Product::Logits),
        contact_head: plan.has(Product::Contacts),
        ..EmbedderOptions::new(plan.device.clone(), plan.dtype, plan.top())
    };
    Embedder::load(run.checkpoint, &options)
}
