//! A session: a loaded model that embeds sequences in memory and writes no files. Python's
//! `Embedder` holds one.
//!
//! It treats sequences as [`pipeline`](crate::pipeline) does: the same admission, the same batches, the
//! same engine. A sequence therefore has the bits that `esm-embed run` writes.
//!
//! ```
//! use esm_embed::cancel::Cancel;
//! use esm_embed::device::DeviceChoice;
//! use esm_embed::pipeline::{ComputeOptions, Silent};
//! use esm_embed::product::{OutDtype, Pool, Product, Request, Values};
//! use esm_embed::session::{Session, SessionOptions};
//! use std::sync::Mutex;
//!
//! let options = SessionOptions {
//!     compute: ComputeOptions { device: DeviceChoice::Cpu, ..ComputeOptions::default() },
//!     ..SessionOptions::default()
//! };
//! let session = Session::load("fixtures/esm2_hd16".as_ref(), &options, &Silent)?;
//! let layer = session.layer(-1)?;
//! let request = Request::new([Product::Pooled { layer, pool: Pool::Mean }], OutDtype::F32);
//!
//! let sequence = session.admit(b"MKTVRQERLK", &request)?;
//! let first = Mutex::new(0.0);
//! session.embed(&[sequence], &request, &Cancel::default(), &|_| (), &|computed| {
//!     if let Values::F32(mean) = computed.values {
//!         *first.lock().unwrap() = mean[0];
//!     }
//! })?;
//! assert!((*first.lock().unwrap() - 0.753_530f32).abs() < 2e-5);
//! # Ok::<(), esm_embed::session::SessionError>(())
//! ```

mod embed;
mod error;
mod stream;
#[cfg(test)]
mod tests;

pub use error::SessionError;
pub use stream::{StreamOptions, Streamed, collect, stream};

use crate::admission::{
    Admission, Gaps, Long, MapCost, MemoryBudget, ModelMemory, PassCost, PassLimits, Policy,
    Prepared,
};
use crate::checkpoint::{Additions, Checkpoint, EsmConfig};
use crate::device::{Device, DeviceChoice, Dtype, Tested};
use crate::embedder::{Embedder, EmbedderOptions, OnOverflow};
use crate::memory::MemoryLimit;
use crate::model::PassMemory;
use crate::ops::CpuPath;
use crate::pipeline::plan::{CPU_TOKENS, GPU_TOKENS, layers};
use crate::pipeline::{ComputeOptions, Layers, Level, OnVarying, Reporter};
use crate::product::{Product, Request};
use crate::threads::Threads;
use crate::tokenizer::UnknownPolicy;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How a session computes and how it treats sequences.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// How it computes.
    pub compute: ComputeOptions,
    /// Long sequences; None for the model's default.
    pub long: Option<Long>,
    /// Characters outside the alphabet.
    pub unknown: UnknownPolicy,
    /// Gaps of an alignment.
    pub gaps: Gaps,
    /// Which self-tests of GPUs can be skipped.
    pub self_tests: Tested,
    /// The folder of a LoRA adapter to add to the weights.
    pub adapter: Option<PathBuf>,
}

/// A loaded model, all layers of it, with its heads if the checkpoint has them.
pub struct Session {
    checkpoint: Arc<Checkpoint>,
    options: SessionOptions,
    policy: Policy,
    device: Device,
    dtype: Dtype,
    embedder: Embedder,
    /// Calls from several threads take turns: each of them uses all threads and all memory.
    turn: Mutex<()>,
    /// Computes contacts where a GPU computes everything else; loaded when it is first needed.
    for_contacts: OnceLock<Box<Session>>,
}

impl Session {
    /// Loads a checkpoint. With [`DeviceChoice::Auto`], the CPU computes if the GPU cannot be used.
    ///
    /// # Errors
    /// A checkpoint, a device or memory that does not allow it.
    pub fn load(
        path: &Path,
        options: &SessionOptions,
        reporter: &dyn Reporter,
    ) -> Result<Session, SessionError> {
        let additions = Additions {
            adapter: options.adapter.as_deref(),
            ..Additions::default()
        };
        let checkpoint = Arc::new(Checkpoint::open_with(path, additions)?);
        for warning in checkpoint.warnings() {
            reporter.message(Level::Warning, warning);
        }
        let compute = &options.compute;
        let device = Device {
            tested: options.self_tests.clone(),
            ..compute.resolve_device()?
        };
        let path = device.path;
        let is_chosen = compute.device == DeviceChoice::Auto && device.is_gpu();
        let loaded = Session::on(device, checkpoint.clone(), options);
        let session = match loaded {
            Err(SessionError::Load(error))
                if is_chosen && compute.dtype != Some(Dtype::Tf32) && error.is_of_gpu() =>
            {
                reporter.message(Level::Warning, &format!("no GPU is used: {error}"));
                Session::on(Device::cpu(path), checkpoint, options)?
            }
            loaded => loaded?,
        };
        session.check_bits(reporter)?;
        if let Some(text) = session.embedder.engine().about().notice {
            reporter.message(Level::Info, &text);
        }
        Ok(session)
    }

    fn on(
        device: Device,
        checkpoint: Arc<Checkpoint>,
        options: &SessionOptions,
    ) -> Result<Session, SessionError> {
        let compute = &options.compute;
        let config = checkpoint.config();
        let policy = Policy::new(config, options.unknown, options.gaps, options.long)?;
        let dtype = compute.dtype.unwrap_or(device.usual_dtype());
        let embedder = {
            let needs = Needs {
                config,
                compute,
                dtype,
                path: device.path,
                is_gpu: device.is_gpu(),
            };
            let (_, cost) = needs.of(&Request::new([], crate::product::OutDtype::F32))?;
            let options = EmbedderOptions {
                lm_head: checkpoint.lm_head().is_ok(),
                contact_head: !device.is_gpu() && checkpoint.contact_regression().is_ok(),
                threads: Threads::new(compute.threads),
                max_tokens: match compute.deterministic {
                    true => 0,
                    false => cost.max_tokens(),
                },
                fill_memory: compute.max_tokens.is_none() && !compute.deterministic,
                on_overflow: OnOverflow::Fallback {
                    may_vary: compute.on_varying != OnVarying::Fail,
                },
                ..EmbedderOptions::new(device.clone(), dtype, config.layers)
            };
            Embedder::load(&checkpoint, &options)?
        };
        Ok(Session {
            checkpoint,
            options: options.clone(),
            policy,
            device,
            dtype,
            embedder,
            turn: Mutex::default(),
            for_contacts: OnceLock::new(),
        })
    }

    /// Reports a GPU on which bits depend on the batch, or refuses it if that is asked for.
    fn check_bits(&self, reporter: &dyn Reporter) -> Result<(), SessionError> {
        let request = Request::new([], crate::product::OutDtype::F32);
        if self.embedder.engine().capacity(&request).shares_passes {
            return Ok(());
        }
        if self.options.compute.on_varying == OnVarying::Fail {
            return Err(SessionError::Varying);
        }
        let text = format!("{}; each has a separate pass", SessionError::VARYING);
        reporter.message(Level::Warning, &text);
        Ok(())
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The shape of the model.
    pub fn config(&self) -> &EsmConfig {
        self.checkpoint.config()
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// In which number format it computes.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The loaded model.
    pub fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    /// Waits until no other thread computes.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it computes.
    pub fn compute(&self) -> &ComputeOptions {
        &self.options.compute
    }

    /// The index of a layer; negative numbers count from the end.
    ///
    /// # Errors
    /// The model does not have it.
    pub fn layer(&self, layer: i64) -> Result<usize, SessionError> {
        let found = layers(&[Layers::One(layer)], self.config())
            .map_err(|error| SessionError::NoLayer(error.to_string()))?;
        Ok(found.first().copied().unwrap_or(self.config().layers))
    }

    /// Checks that the checkpoint has what a request needs.
    ///
    /// # Errors
    /// It lacks the language-model head or the contact regression.
    pub fn check(&self, request: &Request) -> Result<(), SessionError> {
        if request.has(Product::Logits) {
            self.checkpoint.lm_head()?;
        }
        if request.has(Product::Contacts) {
            self.checkpoint.contact_regression()?;
        }
        Ok(())
    }

    /// The session that computes contacts: this one on a CPU, and beside a GPU that was not asked for by
    /// name, another.
    ///
    /// # Errors
    /// A GPU was asked for, or the model does not fit in memory.
    pub fn for_contacts(&self) -> Result<&Session, SessionError> {
        if !self.device.is_gpu() {
            return Ok(self);
        }
        if let DeviceChoice::Cuda(gpus) = &self.options.compute.device {
            return Err(SessionError::ContactsOnGpu(gpus.clone()));
        }
        if let Some(session) = self.for_contacts.get() {
            return Ok(session);
        }
        let mut options = self.options.clone();
        options.compute.device = DeviceChoice::Cpu;
        options.compute.dtype = Some(Dtype::F32);
        let device = Device::cpu(self.device.path);
        let session = Box::new(Session::on(device, self.checkpoint.clone(), &options)?);
        Ok(self.for_contacts.get_or_init(|| session))
    }

    /// Turns the text of a sequence, without white space, into what is embedded for a request.
    ///
    /// # Errors
    /// Why it cannot be embedded.
    pub fn admit(&self, sequence: &[u8], request: &Request) -> Result<Prepared, SessionError> {
        let admission = self.admission(request)?;
        Ok(admission.admit(sequence)?)
    }

    /// What a sequence has to pass before it is embedded for a request.
    ///
    /// # Errors
    /// The model leaves no memory.
    pub fn admission(&self, request: &Request) -> Result<Admission, SessionError> {
        Ok(Admission {
            policy: self.policy,
            memory: self.needs_of(request)?.0,
            maps: None,
        })
    }

    /// The memory for passes of a request, None without a limit, and what they take.
    pub(crate) fn needs_of(
        &self,
        request: &Request,
    ) -> Result<(Option<MemoryBudget>, PassCost), SessionError> {
        self.needs().of(request)
    }

    fn needs(&self) -> Needs<'_> {
        Needs {
            config: self.config(),
            compute: &self.options.compute,
            dtype: self.dtype,
            path: self.device.path,
            is_gpu: self.device.is_gpu(),
        }
    }
}

/// What a request costs.
struct Needs<'a> {
    config: &'a EsmConfig,
    compute: &'a ComputeOptions,
    dtype: Dtype,
    path: CpuPath,
    is_gpu: bool,
}

impl Needs<'_> {
    /// The memory for passes, None without a limit, and what they take.
    fn of(&self, request: &Request) -> Result<(Option<MemoryBudget>, PassCost), SessionError> {
        let compute = self.compute;
        // On a GPU, weights and passes are in its own memory, which the engine checks.
        let (top, usual_tokens) = match self.is_gpu {
            true => (0, GPU_TOKENS),
            false => (self.config.layers, CPU_TOKENS),
        };
        let limits = PassLimits {
            max_tokens: compute.max_tokens.unwrap_or(usual_tokens),
            threads: compute.threads,
            one_each: compute.deterministic,
        };
        let weight_type = self.dtype.weight_type();
        let memory = PassMemory::new(self.config, self.path, weight_type);
        let layers = request.layers().len().max(1);
        let mut cost = PassCost::new(self.config, memory, layers, limits);
        if request.has(Product::Logits) {
            cost = cost.with_logits(self.config);
        }
        if request.has(Product::Contacts) {
            cost = cost.with_maps(Some(MapCost {
                channels: Some(self.config.layers * self.config.heads),
                mean: false,
            }));
        }
        let Some(limit) = MemoryLimit::here().filter(|_| !self.is_gpu) else {
            return Ok((None, cost));
        };
        let model = ModelMemory::new(self.config, top, weight_type, compute.threads);
        let model = model.with_lm_head(self.config);
        let budget = MemoryBudget::new(limit, &model, 0, cost, compute.max_tokens.is_none())?;
        Ok((Some(budget), budget.cost))
    }
}
