//! Token ids in, representations out. Knows no files.

use crate::batching;
use crate::checkpoint::{Checkpoint, EsmConfig, InvFreqSource};
#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaError, HostRows};
use crate::device::{Device, Dtype, ResidueRows};
use crate::model::{Esm, LoadError, LoadOptions, Packed};
use crate::ops::{self, CpuPath, Team, WeightType};
use crate::pooling;
use crate::tokenizer::{CLS, EOS};
use crate::windows::Blend;
use half::f16;
use rayon::ThreadPool;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

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

/// Why a batch could not be embedded.
#[derive(Debug, Error)]
pub enum EmbedError {
    /// The engine refused the batch.
    #[error("the model could not be run: {0}")]
    Engine(#[from] candle_core::Error),
    /// It was asked to stop: see [`Embedder::heed`].
    #[error("stopped as asked")]
    Stopped,
    /// A card refused the batch.
    #[cfg(feature = "cuda")]
    #[error("{error}")]
    Cuda {
        /// Index of the sequence that it concerns, if it is one.
        sequence: Option<usize>,
        /// What it said.
        error: CudaError,
    },
    /// A number that is not finite came out.
    #[cfg(feature = "cuda")]
    #[error("the model gives numbers that are not finite: choose --dtype f32, which has more room")]
    NotFinite {
        /// Index of the sequence.
        sequence: usize,
    },
    /// A number does not fit f16.
    #[cfg(feature = "cuda")]
    #[error("the model gives numbers that do not fit f16: choose --dtype bf16 or f32")]
    Overflow {
        /// Index of the sequence.
        sequence: usize,
    },
}

impl EmbedError {
    /// Index of the sequence that it concerns, if it is known.
    pub fn sequence(&self) -> Option<usize> {
        match self {
            #[cfg(feature = "cuda")]
            EmbedError::Cuda { sequence, .. } => *sequence,
            #[cfg(feature = "cuda")]
            EmbedError::NotFinite { sequence } | EmbedError::Overflow { sequence } => {
                Some(*sequence)
            }
            _ => None,
        }
    }

    /// An error of a pass over windows, as one of their sequence.
    fn of_sequence(self, _index: usize) -> EmbedError {
        match self {
            #[cfg(feature = "cuda")]
            EmbedError::Cuda { error, .. } => EmbedError::Cuda {
                sequence: Some(_index),
                error,
            },
            #[cfg(feature = "cuda")]
            EmbedError::NotFinite { .. } => EmbedError::NotFinite { sequence: _index },
            #[cfg(feature = "cuda")]
            EmbedError::Overflow { .. } => EmbedError::Overflow { sequence: _index },
            other => other,
        }
    }
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

/// One representation of one sequence of n residues.
#[derive(Clone, Copy, Debug)]
pub struct Representation<'a> {
    /// Index of the sequence in the batch.
    pub sequence: usize,
    /// Index of the layer in [`EmbedderOptions::layers`].
    pub layer: usize,
    /// The `<cls>` row, `[D]`.
    pub bos: &'a [f32],
    /// One row per residue, `[n, D]`; empty if they are not wanted, or wanted as f16: see
    /// [`Embedder::want_residues`].
    pub residues: &'a [f32],
    /// The same as f16, where they are wanted so and the device rounds them.
    pub halves: &'a [f16],
    /// Mean over the residue rows, `[D]`, where the device has computed it.
    pub mean: Option<&'a [f32]>,
    /// Largest values over the residue rows, `[D]`, where the device has computed them.
    pub max: Option<&'a [f32]>,
    /// Whether it was computed in bf16 because its numbers do not fit f16.
    pub in_bf16: bool,
}

/// One representation of one sequence of a forward pass.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bos: &'a [f32],
    residues: &'a [f32],
    halves: &'a [f16],
    mean: Option<&'a [f32]>,
    max: Option<&'a [f32]>,
    in_bf16: bool,
}

impl<'a> Rows<'a> {
    /// Of hidden states `[n + 2, D]`.
    fn of_hidden(hidden: &'a [f32], dim: usize) -> Rows<'a> {
        Rows {
            bos: pooling::bos(hidden, dim),
            residues: pooling::residues(hidden, dim),
            halves: &[],
            mean: None,
            max: None,
            in_bf16: false,
        }
    }

    #[cfg(feature = "cuda")]
    fn of_card(rows: HostRows<'a>, in_bf16: bool) -> Rows<'a> {
        Rows {
            bos: rows.bos,
            residues: rows.residues,
            halves: rows.halves,
            mean: Some(rows.mean),
            max: Some(rows.max),
            in_bf16,
        }
    }

    fn representation(self, sequence: usize, layer: usize) -> Representation<'a> {
        Representation {
            sequence,
            layer,
            bos: self.bos,
            residues: self.residues,
            halves: self.halves,
            mean: self.mean,
            max: self.max,
            in_bf16: self.in_bf16,
        }
    }
}

/// What computes.
enum Engine {
    Cpu {
        model: Box<Esm>,
        /// Threads for long records; None when there is one thread.
        team: Option<ThreadPool>,
    },
    #[cfg(feature = "cuda")]
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
            threads => Some(ops::pool(threads)?),
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
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            let top = options.layers.last().copied().unwrap_or(0);
            let threads = options.threads;
            let esm = Box::new(cuda::Esm::load(checkpoint, device, dtype, top, threads)?);
            checkpoint.check_finite(|name| !crate::model::is_loaded(name, top))?;
            return Ok(Embedder::with(Engine::Cuda { esm, spare: None }, options));
        }
        let _ = (device, dtype);
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
    /// numbers do not fit f16. Without it they are an error.
    pub fn redo_overflows(
        &mut self,
        checkpoint: &Arc<Checkpoint>,
        device: &Device,
        threads: usize,
    ) {
        #[cfg(feature = "cuda")]
        if let Engine::Cuda { esm, spare } = &mut self.engine
            && esm.dtype() == Dtype::F16
        {
            let top = self.layers.last().copied().unwrap_or(0);
            let checkpoint = Arc::clone(checkpoint);
            *spare = Some(cuda::Spare::new(checkpoint, device.clone(), top, threads));
        }
        let _ = (checkpoint, device, threads);
    }

    /// Batches that can be worked on at the same time, if that is not for the threads to say.
    pub fn lanes(&self) -> Option<usize> {
        match &self.engine {
            Engine::Cpu { .. } => None,
            #[cfg(feature = "cuda")]
            Engine::Cuda { esm, .. } => Some(esm.lanes()),
        }
    }

    /// What computes, where it is more than instructions of a processor: libraries and algorithms.
    pub fn about(&self) -> Option<serde_json::Value> {
        match &self.engine {
            Engine::Cpu { .. } => None,
            #[cfg(feature = "cuda")]
            Engine::Cuda { esm, .. } => Some(esm.about()),
        }
    }

    /// Whether several sequences share a pass. A device on which bits would depend on that gives
    /// each its own.
    pub fn shares_passes(&self) -> bool {
        match &self.engine {
            Engine::Cpu { .. } => true,
            #[cfg(feature = "cuda")]
            Engine::Cuda { esm, .. } => esm.has_same_bits(),
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
            #[cfg(feature = "cuda")]
            Engine::Cuda { esm, .. } => esm.config(),
        }
    }

    /// Where the rotary frequencies came from; None for learned positions.
    pub fn inv_freq(&self) -> Option<InvFreqSource> {
        match &self.engine {
            Engine::Cpu { model, .. } => model.inv_freq(),
            #[cfg(feature = "cuda")]
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
            #[cfg(feature = "cuda")]
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
        let _ = (residues, numbers);
        match result {
            Ok(()) => Ok(()),
            Err(Stopped::Caller(e)) => Err(e),
            Err(Stopped::Engine(e)) => Err(EmbedError::Engine(e).into()),
            Err(Stopped::Asked) => Err(EmbedError::Stopped.into()),
            #[cfg(feature = "cuda")]
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

    fn embed_windows<E: From<EmbedError>>(
        &self,
        index: usize,
        sequence: &Sequence<'_>,
        each: &mut impl FnMut(Representation<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let blended = match self.blend(sequence, Numbers::Own) {
            // One window in another number format would stand beside others: all of them have it.
            Ok(blended) if blended.mixed => self.blend(sequence, Numbers::Bf16),
            other => other,
        }
        .map_err(|error| error.of_sequence(index))?;
        for (layer, (blend, bos)) in blended.layers.into_iter().enumerate() {
            each(Representation {
                sequence: index,
                layer,
                bos: &bos,
                residues: &blend.finish(),
                halves: &[],
                mean: None,
                max: None,
                in_bf16: blended.in_bf16,
            })?;
        }
        Ok(())
    }

    /// Passes over the windows of a sequence.
    fn blend(&self, sequence: &Sequence<'_>, numbers: Numbers) -> Result<Blended, EmbedError> {
        let dim = self.config().dim;
        let length = sequence.tokens.len().saturating_sub(2);
        let in_bf16 = numbers == Numbers::Bf16;
        let mut blended = Blended {
            layers: Vec::new(),
            in_bf16,
            mixed: false,
        };
        blended
            .layers
            .resize_with(self.layers.len(), || (Blend::new(length, dim), Vec::new()));
        let pieces: Vec<Vec<u8>> = sequence
            .windows
            .iter()
            .map(|w| {
                let residues = sequence.tokens.get(w.start + 1..w.end + 1);
                let mut piece = vec![CLS];
                piece.extend_from_slice(residues.unwrap_or_default());
                piece.push(EOS);
                piece
            })
            .collect();
        // Windows of one sequence have one length: batches keep their order.
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        for group in batching::batches(&lengths, self.max_tokens, false) {
            let tokens: Vec<&[u8]> = group.iter().map(|&w| pieces[w].as_slice()).collect();
            self.run(
                &tokens,
                ResidueRows::F32,
                numbers,
                |i, layer, rows| -> Result<(), EmbedError> {
                    blended.mixed |= rows.in_bf16 && !in_bf16;
                    let (blend, bos) = &mut blended.layers[layer];
                    if bos.is_empty() {
                        *bos = rows.bos.to_vec();
                    }
                    let window = sequence.windows[group[i]].clone();
                    blend.add(window, rows.residues);
                    Ok(())
                },
            )?;
            if blended.mixed {
                break;
            }
        }
        Ok(blended)
    }
}

/// The windows of a sequence, put together.
struct Blended {
    /// For each layer, its residue rows and its `<cls>` row.
    layers: Vec<(Blend, Vec<f32>)>,
    /// Whether all of it was computed in bf16.
    in_bf16: bool,
    /// Whether some of it was, and the rest was not.
    mixed: bool,
}

/// Number format of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// That which the model was loaded with, and bf16 for what does not fit it.
    Own,
    /// bf16, on a device that has it beside f16.
    Bf16,
}

/// A model on cards, and what is wanted of a batch.
#[cfg(feature = "cuda")]
struct OnCards<'a> {
    esm: &'a cuda::Esm,
    spare: Option<&'a cuda::Spare>,
    layers: &'a [usize],
    residues: ResidueRows,
}

#[cfg(feature = "cuda")]
impl OnCards<'_> {
    /// One pass, and more in bf16 for sequences whose numbers do not fit f16: of these, the layers
    /// from the first on that do not fit. So a row depends on its sequence and layer alone.
    fn run<E>(
        &self,
        sequences: &[&[u8]],
        go_on: &dyn Fn() -> Result<(), Stopped<E>>,
        mut each: impl FnMut(usize, usize, Rows<'_>) -> Result<(), E>,
    ) -> Result<(), Stopped<E>> {
        let mut hand = |layer: usize, sequence: usize, rows: HostRows<'_>| {
            each(sequence, layer, Rows::of_card(rows, false)).map_err(Stopped::Caller)
        };
        let mut overflows =
            self.esm
                .forward(sequences, self.layers, self.residues, go_on, &mut hand)?;
        overflows.sort_by_key(|overflow| (overflow.layer, overflow.sequence));
        for group in overflows.chunk_by(|a, b| a.layer == b.layer) {
            let of_batch: Vec<usize> = group.iter().map(|overflow| overflow.sequence).collect();
            let first = group.first().map_or(0, |overflow| overflow.layer);
            self.run_in_bf16(sequences, &of_batch, first, go_on, &mut each)?;
        }
        Ok(())
    }

    /// One pass in bf16 over some sequences of a batch, and over the wanted layers from the one at
    /// position `first` on.
    fn run_in_bf16<E>(
        &self,
        batch: &[&[u8]],
        of_batch: &[usize],
        first: usize,
        go_on: &dyn Fn() -> Result<(), Stopped<E>>,
        each: &mut impl FnMut(usize, usize, Rows<'_>) -> Result<(), E>,
    ) -> Result<(), Stopped<E>> {
        let at = |i: usize| of_batch.get(i).copied().unwrap_or_default();
        let Some(spare) = self.spare else {
            return Err(Stopped::Card(EmbedError::Overflow { sequence: at(0) }));
        };
        let own = |error| {
            Stopped::Card(EmbedError::Cuda {
                sequence: Some(at(0)),
                error,
            })
        };
        let sequences: Vec<&[u8]> = of_batch
            .iter()
            .filter_map(|&i| batch.get(i).copied())
            .collect();
        let layers = self.layers.get(first..).unwrap_or_default();
        let mut hand = |layer: usize, sequence: usize, rows: HostRows<'_>| {
            each(at(sequence), first + layer, Rows::of_card(rows, true)).map_err(Stopped::Caller)
        };
        let esm = spare.get().map_err(own)?;
        esm.forward(&sequences, layers, self.residues, go_on, &mut hand)
            .map_err(|failure| match Stopped::from(failure) {
                Stopped::Card(error) => {
                    let sequence = at(error.sequence().unwrap_or(0));
                    Stopped::Card(error.of_sequence(sequence))
                }
                other => other,
            })?;
        Ok(())
    }
}

/// Why a forward pass ended early.
enum Stopped<E> {
    Engine(candle_core::Error),
    Caller(E),
    Asked,
    #[cfg(feature = "cuda")]
    Card(EmbedError),
}

impl<E> From<candle_core::Error> for Stopped<E> {
    fn from(e: candle_core::Error) -> Self {
        Stopped::Engine(e)
    }
}

#[cfg(feature = "cuda")]
impl<E> From<cuda::Failure<Stopped<E>>> for Stopped<E> {
    fn from(failure: cuda::Failure<Stopped<E>>) -> Self {
        match failure {
            cuda::Failure::Caller(stopped) => stopped,
            cuda::Failure::Cuda { sequence, error } => {
                Stopped::Card(EmbedError::Cuda { sequence, error })
            }
            cuda::Failure::NotFinite { sequence } => {
                Stopped::Card(EmbedError::NotFinite { sequence })
            }
        }
    }
}
