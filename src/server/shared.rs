//! What all requests share: whether the model is loaded, how much is going on, and the limits.

use super::access::ApiKey;
use super::byte_budget::ByteBudget;
use super::grpc::BionemoOptions;
use super::job::{Limits, ServeJob};
use super::metrics;
use super::refusal::{Kind, Refusal};
use super::service::Service;
use crate::pipeline::Reporter;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Bodies of the largest size that are in memory at the same time, where there is memory for them.
const BODIES: u64 = 16;
/// Time that a request waits for the model to be loaded.
const LOADING: Duration = Duration::from_secs(30);

/// What the server is doing.
#[derive(Clone)]
pub enum Phase {
    /// It listens, and the model is not loaded yet.
    Loading,
    /// It answers.
    Ready(Arc<Service>),
    /// It finishes what is running and refuses everything else.
    Ending,
}

/// What all requests share.
pub struct Shared {
    /// The name of the model in answers.
    pub name: String,
    /// Commit of its repository.
    pub revision: Option<String>,
    /// The name of the adapter in its weights.
    pub adapter: Option<String>,
    /// What is refused.
    pub limits: Limits,
    /// Memory for bodies.
    pub bodies: ByteBudget,
    /// The key that requests must have.
    pub api_key: Option<ApiKey>,
    /// How clients of BioNeMo are answered.
    pub bionemo: BionemoOptions,
    /// Receives messages.
    pub reporter: Arc<dyn Reporter + Send + Sync>,
    /// What Prometheus reads.
    pub prometheus: PrometheusHandle,
    phase: watch::Sender<Phase>,
    permits: Arc<Semaphore>,
    active: AtomicUsize,
}

impl Shared {
    /// A server that is loading its model, with at most `memory` for bodies.
    pub fn new(
        job: &ServeJob,
        memory: u64,
        reporter: Arc<dyn Reporter + Send + Sync>,
        prometheus: PrometheusHandle,
    ) -> Arc<Shared> {
        let bodies = BODIES.saturating_mul(job.limits.max_body_bytes as u64);
        Arc::new(Shared {
            bodies: ByteBudget::new(memory.min(bodies)),
            name: job.name.clone(),
            revision: job.model.revision.clone(),
            adapter: job.model.adapter.as_ref().map(|adapter| adapter.name()),
            limits: job.limits,
            api_key: job.api_key.clone(),
            bionemo: job.bionemo,
            reporter,
            prometheus,
            phase: watch::Sender::new(Phase::Loading),
            permits: Arc::new(Semaphore::new(job.limits.max_requests)),
            active: AtomicUsize::new(0),
        })
    }

    /// What the server is doing now.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// What the server is doing, now and later.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Waits until the server is about to end.
    pub async fn ending(&self) {
        let mut phases = self.phases();
        // An error means that the server has ended.
        let _ = phases
            .wait_for(|phase| matches!(phase, Phase::Ending))
            .await;
    }

    /// It does something else from now on.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// The loaded model. While it is loading, a request waits for a while.
    ///
    /// # Errors
    /// It is still loading, or the server is about to end.
    pub async fn service(&self) -> Result<Arc<Service>, Refusal> {
        let mut phase = self.phase.subscribe();
        let known = phase.wait_for(|phase| !matches!(phase, Phase::Loading));
        match tokio::time::timeout(LOADING, known).await {
            Ok(Ok(phase)) => match &*phase {
                Phase::Ready(service) => Ok(Arc::clone(service)),
                Phase::Loading | Phase::Ending => Err(ending()),
            },
            Ok(Err(_)) => Err(ending()),
            Err(_) => {
                let refusal = Refusal::new(Kind::Unavailable, "the model is not loaded yet");
                Err(refusal.retry_after(Duration::from_secs(5)))
            }
        }
    }

    /// A permit to work on a request, which is held until its answer has been sent.
    ///
    /// # Errors
    /// Too many requests are in progress.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let text = "too many requests are in progress";
            Refusal::new(Kind::Busy, text).retry_after(Duration::from_secs(1))
        })
    }

    /// Counts a request until what is returned is dropped.
    pub fn begin(self: &Arc<Self>) -> Active {
        let active = self.active.fetch_add(1, Ordering::AcqRel) + 1;
        metrics::in_progress(active);
        Active(Arc::clone(self))
    }

    /// Requests whose answers have not been sent.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }
}

/// The refusal of a server that is about to end.
pub fn ending() -> Refusal {
    Refusal::new(Kind::Unavailable, "the server is shutting down")
}

/// A request whose answer has not been sent.
pub struct Active(Arc<Shared>);

impl Drop for Active {
    fn drop(&mut self) {
        let before = self.0.active.fetch_sub(1, Ordering::AcqRel);
        metrics::in_progress(before.saturating_sub(1));
    }
}
