//! Token ids in, representations out. Knows no files.

use crate::batching;
use crate::checkpoint::{Checkpoint, EsmConfig, InvFreqSource};
use crate::model::{Esm, LoadError, LoadOptions, Packed};
use crate::ops::{self, CpuPath, Team, WeightType};
use crate::pooling;
use crate::tokenizer::{CLS, EOS};
use crate::windows::Blend;
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
    /// One row per residue, `[n, D]`.
    pub residues: &'a [f32],
}

/// A loaded model with what is wanted of it. Shared by all worker threads.
pub struct Embedder {
    model: Esm,
    layers: Vec<usize>,
    max_tokens: usize,
    /// Threads for long records; None when there is one thread.
    team: Option<ThreadPool>,
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
        Ok(Embedder {
            model,
            layers: options.layers,
            max_tokens: options.max_tokens,
            team,
            stop: Arc::default(),
        })
    }

    /// Gives batches up, between two blocks of the model, once `stop` is true.
    pub fn heed(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Shape of the model.
    pub fn config(&self) -> &EsmConfig {
        self.model.config()
    }

    /// Where the rotary frequencies came from; None for learned positions.
    pub fn inv_freq(&self) -> Option<InvFreqSource> {
        self.model.inv_freq()
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
            self.run(
                whole.iter().map(|&i| batch[i].tokens),
                |i, layer, hidden| each(self.representation(whole[i], layer, hidden)),
            )?;
        }
        for (i, sequence) in batch.iter().enumerate() {
            if !sequence.windows.is_empty() {
                self.embed_windows(i, sequence, &mut each)?;
            }
        }
        Ok(())
    }

    fn representation<'a>(
        &self,
        sequence: usize,
        layer: usize,
        hidden: &'a [f32],
    ) -> Representation<'a> {
        let dim = self.config().dim;
        Representation {
            sequence,
            layer,
            bos: pooling::bos(hidden, dim),
            residues: pooling::residues(hidden, dim),
        }
    }

    /// One forward pass; `each(sequence, layer, hidden)` gets `[tokens of the sequence, D]`.
    fn run<'a, E: From<EmbedError>>(
        &self,
        sequences: impl IntoIterator<Item = &'a [u8]>,
        mut each: impl FnMut(usize, usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let packed = Packed::new(sequences);
        let dim = self.config().dim;
        let mut layer = 0;
        // A record that is longer than a batch would keep one thread busy while others wait.
        let team = match &self.team {
            Some(pool) if packed.longest() > shared_from(self.max_tokens) => Team::Pool(pool),
            _ => Team::One,
        };
        let go_on = || match self.stop.load(Ordering::Acquire) {
            true => Err(Stopped::Asked),
            false => Ok(()),
        };
        let result = self
            .model
            .forward(&packed, &self.layers, team, go_on, |_, hidden| {
                for (i, rows) in packed.ranges().enumerate() {
                    let hidden = hidden
                        .get(rows.start * dim..rows.end * dim)
                        .unwrap_or_default();
                    each(i, layer, hidden).map_err(Stopped::Caller)?;
                }
                layer += 1;
                Ok(())
            });
        if packed.longest() > TEAM_TOKENS {
            team.release();
        }
        match result {
            Ok(()) => Ok(()),
            Err(Stopped::Caller(e)) => Err(e),
            Err(Stopped::Engine(e)) => Err(EmbedError::Engine(e).into()),
            Err(Stopped::Asked) => Err(EmbedError::Stopped.into()),
        }
    }

    fn embed_windows<E: From<EmbedError>>(
        &self,
        index: usize,
        sequence: &Sequence<'_>,
        each: &mut impl FnMut(Representation<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let dim = self.config().dim;
        let length = sequence.tokens.len().saturating_sub(2);
        let mut blends: Vec<Blend> = Vec::new();
        blends.resize_with(self.layers.len(), || Blend::new(length, dim));
        let mut bos: Vec<Vec<f32>> = vec![Vec::new(); self.layers.len()];

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
            self.run(
                group.iter().map(|&w| pieces[w].as_slice()),
                |i, layer, hidden| -> Result<(), EmbedError> {
                    if bos[layer].is_empty() {
                        bos[layer] = pooling::bos(hidden, dim).to_vec();
                    }
                    let window = sequence.windows[group[i]].clone();
                    blends[layer].add(window, pooling::residues(hidden, dim));
                    Ok(())
                },
            )?;
        }
        for (layer, (blend, bos)) in blends.into_iter().zip(&bos).enumerate() {
            each(Representation {
                sequence: index,
                layer,
                bos,
                residues: &blend.finish(),
            })?;
        }
        Ok(())
    }
}

/// Why a forward pass ended early.
enum Stopped<E> {
    Engine(candle_core::Error),
    Caller(E),
    Asked,
}

impl<E> From<candle_core::Error> for Stopped<E> {
    fn from(e: candle_core::Error) -> Self {
        Stopped::Engine(e)
    }
}
