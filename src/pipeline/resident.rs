//! A model that stays loaded, for sequences that do not come from files: opened, planned and loaded as
//! a run does it.

use super::job::{Caches, Job};
use super::plan::Plan;
use super::reporter::Reporter;
use super::run::notices::tell_of_model;
use super::run::open::open;
use super::run::{Run, workers};
use super::stop::Stop;
use super::{load_timed, may_use_the_cpu};
use crate::admission::{Admission, PassCost};
use crate::checkpoint::Checkpoint;
use crate::device::{Device, Dtype};
use crate::embedder::Embedder;
use crate::threads::Threads;
use anyhow::Result;
use std::sync::Arc;

/// A model that is open, with everything decided that can be decided before it is loaded.
pub(crate) struct Opened {
    job: Job,
    caches: Caches,
    checkpoint: Arc<Checkpoint>,
    plan: Plan,
}

/// A loaded model.
pub(crate) struct Resident {
    /// Computes.
    pub(crate) embedder: Embedder,
    /// What a sequence has to pass.
    pub(crate) admission: Admission,
    /// Memory of passes.
    pub(crate) cost: PassCost,
    /// What computes.
    pub(crate) device: Device,
    /// Number format of the computation.
    pub(crate) dtype: Dtype,
    /// The layers that may be asked for, ascending.
    pub(crate) layers: Vec<usize>,
    /// Tokens of a batch.
    pub(crate) max_tokens: usize,
    /// Threads that call the embedder.
    pub(crate) workers: usize,
}

impl Resident {
    /// Opens the checkpoint of a job; its inputs and its folder are not used.
    ///
    /// # Errors
    /// As [`super::run()`], before a model is loaded.
    pub(crate) fn open(job: Job, caches: Caches, reporter: &dyn Reporter) -> Result<Opened> {
        let checkpoint = Arc::new(open(&job, reporter)?);
        let plan = Plan::new(&job, &caches, &checkpoint, None)?;
        Ok(Opened {
            job,
            caches,
            checkpoint,
            plan,
        })
    }
}

impl Opened {
    /// Bytes that are free beside the model; None without a limit.
    pub(crate) fn free_memory(&self) -> Option<u64> {
        self.plan.admission.memory.map(|budget| budget.bytes)
    }

    /// Loads the model.
    ///
    /// # Errors
    /// The device cannot take it, or the files are damaged.
    pub(crate) fn load(self, reporter: &dyn Reporter) -> Result<Resident> {
        let Opened {
            job,
            caches,
            checkpoint,
            mut plan,
        } = self;
        let run = Run {
            job: &job,
            planned: None,
            caches: &caches,
            checkpoint: &checkpoint,
            threads: &Threads::new(job.compute.threads),
            reporter,
            stop: &Stop::default(),
        };
        let (embedder, loading) = match load_timed(run, &plan) {
            Err(error) if may_use_the_cpu(&job, &plan, &error) => {
                plan = Plan::new(&job, &caches, &checkpoint, Some(&error.to_string()))?;
                load_timed(run, &plan)?
            }
            loaded => loaded?,
        };
        tell_of_model(run, &plan, &embedder, loading, None)?;
        let capacity = embedder.engine().capacity(&plan.request());
        Ok(Resident {
            workers: workers(&job, capacity),
            max_tokens: match job.compute.deterministic {
                true => 0,
                false => capacity.tokens.max(plan.max_tokens),
            },
            admission: plan.admission,
            cost: plan.cost,
            device: plan.device,
            dtype: plan.dtype,
            layers: plan.layout.layers,
            embedder,
        })
    }
}
