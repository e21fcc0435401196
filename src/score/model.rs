//! A model that scores proteins: opened, checked against them, and run over all pieces.

use super::compute::Compute;
use super::job::ScoreJob;
use super::journal::Journal;
use super::method::Window;
use super::piece::Pieces;
use super::protein::Protein;
use crate::admission::{MemoryBudget, ModelMemory, PassCost, PassLimits};
use crate::checkpoint::Checkpoint;
use crate::device::{Device, Dtype};
use crate::embedder::{Embedder, EmbedderOptions, OnOverflow};
use crate::memory::MemoryLimit;
use crate::model::PassMemory;
use crate::numerals::{self, count};
use crate::pipeline::{Computing, OnVarying, Phase, Reporter, Stop};
use crate::stamp::Stamp;
use crate::threads::Threads;
use crate::tokenizer::Alphabet;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Tokens of a batch on the CPU by default.
const CPU_TOKENS: usize = 1024;

/// A model that was opened and checked.
pub(super) struct Opened {
    pub(super) name: String,
    path: PathBuf,
    checkpoint: Arc<Checkpoint>,
    pub(super) window: Window,
}

/// Refuses a model whose tokens are pairs of an amino acid and its structure.
///
/// # Errors
/// It reads structure-aware sequences.
pub fn check_alphabet(checkpoint: &Checkpoint) -> Result<()> {
    if checkpoint.config().alphabet != Alphabet::SaProt {
        return Ok(());
    }
    bail!(
        "{}: variants of structure-aware sequences are not scored: a mutation such as A42G names an amino \
         acid, and this model has 21 tokens for each\n\
         hint: embed the sequences with `include=logits`, where the tokens of an amino acid are columns \
         next to each other",
        checkpoint.path().display()
    )
}

impl Opened {
    /// Checks that a model can score these proteins.
    pub(super) fn new(
        job: &ScoreJob,
        proteins: &[Protein],
        name: &str,
        path: &Path,
        checkpoint: Checkpoint,
    ) -> Result<Opened> {
        checkpoint.lm_head()?;
        let positions = checkpoint.config().positions;
        let window = Window::resolve(job.window, job.method, positions)?;
        if let (Window::None, Some(most)) = (window, positions.max_residues())
            && let Some(long) = proteins.iter().find(|protein| protein.residues() > most)
        {
            bail!(
                "{} has {}, but {} takes {} at most\n\
                 hint: leave out `window=none`",
                long.shown(),
                count(long.residues() as u64, "residue"),
                path.display(),
                numerals::grouped(most as u64)
            );
        }
        Ok(Opened {
            name: name.to_owned(),
            path: path.to_owned(),
            checkpoint: Arc::new(checkpoint),
            window,
        })
    }
}

/// What all models share.
pub(super) struct Shared<'a> {
    pub(super) job: &'a ScoreJob,
    pub(super) device: &'a Device,
    pub(super) dtype: Dtype,
    pub(super) proteins: &'a [Protein],
    pub(super) journal: &'a Journal,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) stop: &'a Stop,
}

impl Shared<'_> {
    /// Loads a model and computes all pieces; None if it was asked to stop.
    pub(super) fn compute(
        &self,
        model: &Opened,
        pieces: &Pieces,
    ) -> Result<Option<Vec<Box<[f64]>>>> {
        let compute = &self.job.compute;
        let (memory, cost) = self.memory(model, pieces)?;
        self.reporter.phase(Phase::Loading(&model.name));
        let layers = model.checkpoint.config().layers;
        let options = EmbedderOptions {
            lm_head: true,
            threads: Threads::new(compute.threads),
            max_tokens: match compute.deterministic {
                true => 0,
                false => cost.max_tokens(),
            },
            fill_memory: compute.max_tokens.is_none() && !compute.deterministic,
            on_overflow: OnOverflow::Fallback {
                may_vary: compute.on_varying != OnVarying::Fail,
            },
            ..EmbedderOptions::new(self.device.clone(), self.dtype, layers)
        };
        let embedder = Embedder::load(&model.checkpoint, &options)?;
        let computed_by = self.identity(model, &embedder)?;
        Compute {
            embedder: &embedder,
            computed_by,
            computing: Computing {
                device: self.device,
                dtype: self.dtype,
            },
            proteins: self.proteins,
            threads: compute.threads,
            max_tokens: match self.device.is_gpu() {
                true => compute.max_tokens,
                false => Some(cost.max_tokens()),
            },
            one_each: compute.deterministic,
            cost,
            memory,
            journal: Some(self.journal),
            reporter: self.reporter,
            stop: self.stop,
        }
        .all(pieces)
    }

    /// Bytes for passes, if there is a limit, and what they take.
    fn memory(&self, model: &Opened, pieces: &Pieces) -> Result<(Option<u64>, PassCost)> {
        let compute = &self.job.compute;
        let config = model.checkpoint.config();
        let weight_type = self.dtype.weight_type();
        let limits = PassLimits {
            max_tokens: compute.max_tokens.unwrap_or(CPU_TOKENS),
            threads: compute.threads,
            one_each: compute.deterministic,
        };
        let memory = PassMemory::new(config, self.device.path, weight_type);
        let cost = PassCost::new(config, memory, 1, limits).with_logits(config);
        let limit = match self.device.is_gpu() {
            true => None,
            false => MemoryLimit::here(),
        };
        let Some(limit) = limit else {
            return Ok((None, cost));
        };
        let weights = ModelMemory::new(config, config.layers, weight_type, compute.threads);
        let weights = weights.with_lm_head(config);
        let budget = MemoryBudget::new(limit, &weights, 0, cost, compute.max_tokens.is_none())
            .with_context(|| model.name.clone())?;
        let longest = pieces.all.iter().map(|piece| piece.window.len()).max();
        let needed = budget.cost.record(longest.unwrap_or(0), &[]);
        if needed > budget.bytes {
            bail!(
                "a pass over the longest protein takes {} of memory, but {} are left beside the model\n\
                 hint: use `window=optimal`, or a machine with more memory",
                numerals::bytes(needed),
                numerals::bytes(budget.bytes)
            );
        }
        Ok((Some(budget.bytes), budget.cost))
    }

    /// Everything that numbers depend on besides tokens.
    fn identity(&self, model: &Opened, embedder: &Embedder) -> Result<String> {
        let mut text = format!(
            "{} {} {}",
            env!("CARGO_PKG_VERSION"),
            self.dtype,
            self.device
        );
        if let Some(gpus) = embedder.engine().about().gpus {
            text += &serde_json::to_string(&gpus)?;
        }
        for file in model.checkpoint.files() {
            let metadata = file
                .metadata()
                .with_context(|| file.display().to_string())?;
            let Stamp {
                bytes, modified, ..
            } = Stamp::of(&metadata);
            text += &format!("\n{} {bytes} {modified:?}", file.display());
        }
        text += &format!("\n{}", model.path.display());
        Ok(text)
    }
}
