//! From a checkpoint to a model: every weight is read once, row by row, into its packed form.

use super::blocks::{BlockNames, Frequencies};
use super::{Embedding, Esm, Rotary, TransformerLayer, Workspaces};
use crate::checkpoint::{
    Checkpoint, CheckpointError, InvFreqSource, Positions, Weight, WeightRows,
};
use crate::ops::{self, CpuPath, LayerNorm, Linear, PackError, WeightType, padded};
use crate::threads::Threads;
use std::sync::Arc;
use thiserror::Error;

/// Why a model could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The checkpoint is damaged or contradicts itself.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A representation above the model's last layer.
    #[error("layer {wanted} was requested, but the model has layers 0 to {last}")]
    Layer {
        /// The requested representation.
        wanted: usize,
        /// The model's last representation.
        last: usize,
    },
    /// The packed weights do not fit into memory.
    #[error(
        "the machine has no memory for {} of weights ({source})\n\
         hint: use `dtype=f16`, which halves the memory of the weights\n\
         hint: use a machine with more memory",
        crate::numerals::bytes(*bytes as u64)
    )]
    Memory {
        /// Bytes of one linear layer.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
}

/// How to load a model.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions<'a> {
    /// Instructions of the kernels.
    pub path: CpuPath,
    /// How linear weights are stored.
    pub weight_type: WeightType,
    /// The highest representation that passes will compute: blocks above it are not loaded.
    pub top: usize,
    /// Tokens of the largest pass whose memory is kept for the next one.
    pub kept_tokens: usize,
    /// Threads that pack weights.
    pub threads: &'a Threads,
}

impl Esm {
    /// Loads the blocks up to `options.top`.
    ///
    /// # Errors
    /// A damaged checkpoint, naming tensor and file; a checkpoint that changed while it was read; a `top`
    /// above the last layer.
    pub fn load(checkpoint: &Checkpoint, options: &LoadOptions<'_>) -> Result<Esm, LoadError> {
        let model = Esm::probe(checkpoint, options)?;
        // A damaged checkpoint is refused as a whole, even where this run does not read it.
        checkpoint.check_finite(|name| !is_loaded(name, options.top))?;
        checkpoint.check_unchanged()?;
        Ok(model)
    }

    /// Loads the blocks up to `options.top` without checking the rest of the checkpoint: enough to
    /// measure their speed.
    ///
    /// # Errors
    /// As [`Esm::load`], for what is read.
    pub fn probe(checkpoint: &Checkpoint, options: &LoadOptions<'_>) -> Result<Esm, LoadError> {
        let config = checkpoint.config().clone();
        if options.top > config.layers {
            return Err(LoadError::Layer {
                wanted: options.top,
                last: config.layers,
            });
        }
        let loader = Loader {
            checkpoint,
            options,
        };
        let (rotary, inv_freq) = loader.rotary()?;
        let embedding = loader.embedding()?;
        let layers = loader.layers(&rotary)?;
        let final_norm = if options.top == config.layers {
            Some(loader.layer_norm("emb_layer_norm_after")?)
        } else {
            None
        };
        let kept = ops::qkv_shape(options.path, config.dim, options.kept_tokens);
        Ok(Esm {
            config,
            embedding,
            layers,
            final_norm,
            inv_freq,
            path: options.path,
            workspaces: Workspaces::new(kept.iter().product()),
        })
    }
}

/// The frequencies of one layer; None for models with learned positions.
type LayerRotary = Option<Arc<Rotary>>;

/// Whether a weight is read, and so checked, when a model is loaded up to representation `top`.
pub(crate) fn is_loaded(name: &str, top: usize) -> bool {
    let layer = name
        .strip_prefix("layers.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|index| index.parse::<usize>().ok());
    match layer {
        Some(layer) => layer < top,
        None => name.starts_with("embed_"),
    }
}

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a LoadOptions<'a>,
}

impl Loader<'_> {
    fn vector(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        self.checkpoint.weight(name)?.to_vec()
    }

    fn layer_norm(&self, name: &str) -> Result<LayerNorm, CheckpointError> {
        Ok(LayerNorm::new(
            self.options.path,
            self.vector(&format!("{name}.weight"))?,
            self.vector(&format!("{name}.bias"))?,
            self.checkpoint.config().layer_norm_eps,
        ))
    }

    /// Packs one layer, or several that share their input with their outputs side by side.
    fn linear(&self, names: &[String]) -> Result<Linear, LoadError> {
        let weights = names
            .iter()
            .map(|name| self.checkpoint.weight(&format!("{name}.weight")))
            .collect::<Result<Vec<_>, _>>()?;
        let inputs = weights.first().map_or(0, |w| w.shape()[1]);
        // Each layer starts with a new tile.
        let each = weights.first().map_or(0, |w| w.shape()[0]);
        let apart = match names.len() {
            1 => each,
            _ => padded(each, self.options.path),
        }
        .max(1);
        let mut bias = Vec::new();
        for (i, name) in names.iter().enumerate() {
            bias.resize(i * apart, 0.0);
            bias.extend(self.vector(&format!("{name}.bias"))?);
        }
        if names.len() > 1 {
            bias.resize(names.len() * apart, 0.0);
        }
        let mut rows: Vec<WeightRows<'_>> = weights.iter().map(Weight::rows).collect();
        Linear::pack(
            self.options.path,
            self.options.weight_type,
            inputs,
            bias.len(),
            &bias,
            |n, row| match rows.get_mut(n / apart) {
                Some(rows) if n % apart < each => rows.read(n % apart, row),
                _ => {
                    row.fill(0.0);
                    Ok(())
                }
            },
        )
        .map_err(|error| match error {
            PackError::Weights(error) => LoadError::Checkpoint(error),
            PackError::Memory { bytes, source } => LoadError::Memory { bytes, source },
        })
    }

    /// One entry for each layer; layers with equal frequencies share a table.
    fn rotary(&self) -> Result<(Vec<LayerRotary>, Option<InvFreqSource>), CheckpointError> {
        let frequencies = Frequencies::read(self.checkpoint, self.options.top)?;
        let sets = frequencies.sets.into_iter();
        let tables: Vec<Arc<Rotary>> = sets.map(|set| Arc::new(Rotary::new(set))).collect();
        let of_block = frequencies.of_block.into_iter();
        let of_block = of_block.map(|set| tables.get(set?).cloned());
        Ok((of_block.collect(), frequencies.source))
    }

    fn embedding(&self) -> Result<Embedding, CheckpointError> {
        let config = self.checkpoint.config();
        Ok(Embedding {
            dim: config.dim,
            tokens: self.vector("embed_tokens.weight")?,
            positions: match config.positions {
                Positions::Rotary => None,
                Positions::Learned { .. } => Some(self.vector("embed_positions.weight")?),
            },
            norm: if config.emb_layer_norm_before {
                Some(self.layer_norm("emb_layer_norm_before")?)
            } else {
                None
            },
            token_dropout: config.token_dropout,
        })
    }

    fn layer(&self, i: usize, rotary: LayerRotary) -> Result<TransformerLayer, LoadError> {
        let config = self.checkpoint.config();
        let names = BlockNames::new(i);
        Ok(TransformerLayer {
            path: self.options.path,
            heads: config.heads,
            head_dim: config.head_dim(),
            rotary,
            attention_norm: self.layer_norm(&names.attention_norm)?,
            qkv: self.linear(&names.qkv)?,
            out: self.linear(&names.out)?,
            feed_forward_norm: self.layer_norm(&names.feed_forward_norm)?,
            fc1: self.linear(&names.fc1)?,
            fc2: self.linear(&names.fc2)?,
        })
    }

    /// Packs the layers.
    fn layers(&self, rotary: &[LayerRotary]) -> Result<Vec<TransformerLayer>, LoadError> {
        let layer = |i| self.layer(i, rotary.get(i).cloned().flatten());
        self.options.threads.map(rotary.len(), layer)
    }
}
