//! Token ids in, representations out. Knows no files.

mod blended;
mod cards;
mod error;
mod rows;

pub use error::EmbedError;
pub use rows::Representation;

use crate::checkpoint::{Checkpoint, EsmConfig, InvFreqSource};
use crate::cuda;
use crate::device::{Device, Dtype, ResidueRows};
use crate::model::{Esm, LoadError, LoadOptions, Packed};
use crate::ops::{self, CpuPath, Team, WeightType};
use crate::run_record::CudaFacts;
use cards::OnCards;
use rayon::ThreadPool;
use rows::Rows;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tokens of a record above which all threads share it, if it is a batch of its own: half a
/// minute of one core with the 650M model.
pub(crate) const TEAM_TOKENS: usize = 2048;

/// Records of more tokens than this are shared by all threads.
pub(crate) fn shared_from(max_tokens: usize) -> usize {
    max_tokens.max(TEAM_TOKENS)
}

/// Tokens of the largest pass whose memory is kept for the next one. That of larger ones is had
/// anew each time, which costs nothing beside their work.
pub(crate) fn kept_tokens(max_tokens: usize) -> usize {
    max_tokens.min(TEAM_TOKENS)
}

/// What to compute, and with what.
#[derive(Clone, Debug)]
pub struct EmbedderOptions {
    /// Representation indices, ascending, each once.
    pub layers: Vec<usize>,
    /// How linear weights are stored.
    pub weight_type: WeightType,
    /// Instructions of the kernels.
    pub path: CpuPath,
    /// Threads that load weights and share long records.
    pub threads: usize,
    /// Tokens of one forward pass over windows of a long sequence.
    pub max_tokens: usize,
}

/// One sequence to embed.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Token ids with `<cls>` and `<eos>`.
    pub tokens: &'a [u8],
    /// Residue ranges to embed one by one and blend (see [`crate::windows`]); empty to embed
    /// the sequence as a whole.
    pub windows: &'a [Range<usize>],
}

/// What computes.
enum Engine {
    Cpu {
        model: Box<Esm>,
        /// Threads for long records; None when there is one thread.
        team: Option<ThreadPool>,
    },
    Cuda {
        esm: Box<cuda::Esm>,
        /// For sequences whose numbers do not fit f16.
        spare: Option<cuda::Spare>,
    },
}

/// A loaded model with what is wanted of it. Shared by all worker threads.
pub struct Embedder {
    engine: Engine,
    layers: Vec<usize>,
    max_tokens: usize,
    residues: ResidueRows,
    stop: Arc<AtomicBool>,
}

impl Embedder {
    /// Loads the blocks that the wanted layers need.
    ///
    /// # Errors
    /// A damaged checkpoint, naming tensor and file, or a layer that the model does not have.
    pub fn load(checkpoint: &Checkpoint, options: EmbedderOptions) -> Result<Embedder, LoadError> {
        Embedder::load_as(checkpoint, options, Esm::load)
    }

    /// The same without a look at the parts of the checkpoint that are not needed: to see how fast
    /// a block is.
    ///
    /// # Errors
    /// As [`Embedder::load`], for what is read.
    pub fn probe(checkpoint: &Checkpoint, options: EmbedderOptions) -> Result<Embedder, LoadError> {
        Embedder::load_as(checkpoint, options, Esm::probe)
    }

    fn load_as(
        checkpoint: &Checkpoint,
        options: EmbedderOptions,
        model: fn(&Checkpoint, &LoadOptions) -> Result<Esm, LoadError>,
    ) -> Result<Embedder, LoadError> {
        let load = LoadOptions {
            path: options.path,
            weight_type: options.weight_type,
            top: options.layers.last().copied().unwrap_or(0),
            threads: options.threads,
        };
        let team = match options.threads {
            0 | 1 => None,
            threads => Some(ops::thread_pool(threads)?),
        };
        let mut model = model(checkpoint, &load)?;
        model.keep_up_to(kept_tokens(options.max_tokens));
        let model = Box::new(model);
        Ok(Embedder::with(Engine::Cpu { model, team }, options))
    }

    fn with(engine: Engine, options: EmbedderOptions) -> Embedder {
        Embedder {
            engine,
            layers: options.layers,
            max_tokens: options.max_tokens,
            residues: ResidueRows::F32,
            stop: Arc::default(),
        }
    }

    /// Loads the blocks that the wanted layers need onto a device; `dtype` is that of the
    /// computation there.
    ///
    /// # Errors
    /// As [`Embedder::load`], and what keeps a card from being used.
    pub fn load_on(
        checkpoint: &Checkpoint,
        options: EmbedderOptions,
        device: &Device,
        dtype: Dtype,
    ) -> Result<Embedder, LoadError> {
        if device.is_cuda() {
            let top = options.layers.last().copied().unwrap_or(0);
            let threads = options.threads;
            let esm = Box::new(cuda::Esm::load(
                checkpoint, device, dtype, top, threads, None,
            )?);
            checkpoint.check_finite(|name| !crate::model::is_loaded(name, top))?;
            return Ok(Embedder::with(Engine::Cuda { esm, spare: None }, options));
        }
        Embedder::load(checkpoint, options)
    }

    /// From now on hands over residue rows like this, or pooled rows alone, if the device pools and
    /// rounds: what is not wanted need not leave it. A sequence with windows keeps its rows as f32, to
    /// be blended.
    pub fn want_residues(&mut self, residues: ResidueRows) {
        if !matches!(self.engine, Engine::Cpu { .. }) {
            self.residues = residues;
        }
    }

    /// From now on computes sequences in bf16, from the same checkpoint and on the same device, whose
    /// numbers do not fit f16. Without it they are an error. `may_vary` says whether that may go on if
    /// their bits depend on the batch, each in a pass of its own.
    pub fn redo_overflows(
        &mut self,
        checkpoint: &Arc<Checkpoint>,
        device: &Device,
        threads: usize,
        may_vary: bool,
    ) {
        if let Engine::Cuda { esm, spare } = &mut self.engine
            && esm.dtype() == Dtype::F16
        {
            let top = self.layers.last().copied().unwrap_or(0);
            let checkpoint = Arc::clone(checkpoint);
            *spare = Some(cuda::Spare::new(
                checkpoint,
                device.clone(),
                top,
                threads,
                may_vary,
            ));
        }
    }

    /// From now on batches, and passes over windows, may have as many tokens as the device has memory
    /// for beside the weights, if it has memory of its own. After [`Embedder::want_residues`], as rows
    /// take memory too.
    pub fn use_memory(&mut self) {
        if let Engine::Cuda { esm, .. } = &self.engine {
            self.max_tokens = esm.batch_tokens(self.residues);
        }
    }

    /// Tokens of a batch at most.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Batches that can be worked on at the same time, if that is not for the threads to say.
    pub fn lanes(&self) -> Option<usize> {
        match &self.engine {
            Engine::Cpu { .. } => None,
            Engine::Cuda { esm, .. } => Some(esm.lanes()),
        }
    }

    /// What computes, where it is more than instructions of a processor: libraries and algorithms.
    pub fn about(&self) -> Option<CudaFacts> {
        match &self.engine {
            Engine::Cpu { .. } => None,
            Engine::Cuda { esm, .. } => Some(esm.about()),
        }
    }

    /// Whether several sequences share a pass. A device on which bits would depend on that gives
    /// each its own.
    pub fn shares_passes(&self) -> bool {
        match &self.engine {
            Engine::Cpu { .. } => true,
            Engine::Cuda { esm, .. } => esm.has_same_bits(),
        }
    }

    /// Whether sequences that were computed in bf16 had a pass each because their bits were seen to
    /// depend on the batch, unlike those of the others.
    pub fn redone_alone(&self) -> bool {
        match &self.engine {
            Engine::Cpu { .. } => false,
            Engine::Cuda { esm, spare } => {
                esm.has_same_bits() && spare.as_ref().is_some_and(cuda::Spare::gave_each_its_own)
            }
        }
    }

    /// Gives batches up, between two blocks of the model, once `stop` is true.
    pub fn heed(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Shape of the model.
    pub fn config(&self) -> &EsmConfig {
        match &self.engine {
            Engine::Cpu { model, .. } => model.config(),
            Engine::Cuda { esm, .. } => esm.config(),
        }
    }

    /// Where the rotary frequencies came from; None for learned positions.
    pub fn inv_freq(&self) -> Option<InvFreqSource> {
        match &self.engine {
            Engine::Cpu { model, .. } => model.inv_freq(),
            Engine::Cuda { esm, .. } => esm.inv_freq(),
        }
    }

    /// Embeds a batch in one forward pass and hands over every wanted layer of every sequence,
    /// layers ascending, sequences in order. A sequence with windows takes passes of its own.
    ///
    /// The bits of a representation depend on its sequence alone, not on the batch.
    ///
    /// # Errors
    /// An engine error, or whatever `each` returns.
    pub fn embed<E: From<EmbedError>>(
        &self,
        batch: &[Sequence<'_>],
        mut each: impl FnMut(Representation<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let whole: Vec<usize> = (0..batch.len())
            .filter(|&i| batch[i].windows.is_empty())
            .collect();
        if !whole.is_empty() {
            let tokens: Vec<&[u8]> = whole.iter().map(|&i| batch[i].tokens).collect();
            self.run(&tokens, self.residues, Numbers::Own, |i, layer, rows| {
                each(rows.representation(whole[i], layer))
            })?;
        }
        for (i, sequence) in batch.iter().enumerate() {
            if !sequence.windows.is_empty() {
                self.embed_windows(i, sequence, &mut each)?;
            }
        }
        Ok(())
    }

    /// One forward pass; `each(sequence, layer, rows)` gets what becomes of a sequence.
    fn run<E: From<EmbedError>>(
        &self,
        sequences: &[&[u8]],
        residues: ResidueRows,
        numbers: Numbers,
        each: impl FnMut(usize, usize, Rows<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let go_on = || match self.stop.load(Ordering::Acquire) {
            true => Err(Stopped::Asked),
            false => Ok(()),
        };
        let result = match &self.engine {
            Engine::Cpu { model, team } => {
                self.run_on_cpu(model, team.as_ref(), sequences, go_on, each)
            }
            Engine::Cuda { esm, spare } => {
                let cards = OnCards {
                    esm,
                    spare: spare.as_ref(),
                    layers: &self.layers,
                    residues,
                };
                match numbers {
                    Numbers::Own => cards.run(sequences, &go_on, each),
                    Numbers::Bf16 => {
                        let all: Vec<usize> = (0..sequences.len()).collect();
                        let mut each = each;
                        cards.run_in_bf16(sequences, &all, 0, &go_on, &mut each)
                    }
                }
            }
        };
        match result {
            Ok(()) => Ok(()),
            Err(Stopped::Caller(e)) => Err(e),
            Err(Stopped::Engine(e)) => Err(EmbedError::Engine(e).into()),
            Err(Stopped::Asked) => Err(EmbedError::Stopped.into()),
            Err(Stopped::Card(e)) => Err(e.into()),
        }
    }

    fn run_on_cpu<E: From<EmbedError>>(
        &self,
        model: &Esm,
        team: Option<&ThreadPool>,
        sequences: &[&[u8]],
        go_on: impl Fn() -> Result<(), Stopped<E>>,
        mut each: impl FnMut(usize, usize, Rows<'_>) -> Result<(), E>,
    ) -> Result<(), Stopped<E>> {
        let packed = Packed::new(sequences.iter().copied());
        let dim = self.config().dim;
        let mut layer = 0;
        // A record that is longer than a batch would keep one thread busy while others wait.
        let team = match team {
            Some(pool) if packed.longest() > shared_from(self.max_tokens) => Team::Pool(pool),
            _ => Team::One,
        };
        let result = model.forward(&packed, &self.layers, team, go_on, |_, hidden| {
            for (i, rows) in packed.ranges().enumerate() {
                let hidden = hidden
                    .get(rows.start * dim..rows.end * dim)
                    .unwrap_or_default();
                each(i, layer, Rows::of_hidden(hidden, dim)).map_err(Stopped::Caller)?;
            }
            layer += 1;
            Ok(())
        });
        if packed.longest() > TEAM_TOKENS {
            team.release();
        }
        result
    }
}

/// Number format of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// That which the model was loaded with, and bf16 for what does not fit it.
    Own,
    /// bf16, on a device that has it beside f16.
    Bf16,
}

/// Why a forward pass ended early.
enum Stopped<E> {
    Engine(candle_core::Error),
    Caller(E),
    Asked,
    Card(EmbedError),
}

impl<E> From<candle_core::Error> for Stopped<E> {
    fn from(e: candle_core::Error) -> Self {
        Stopped::Engine(e)
    }
}
