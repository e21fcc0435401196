//! From a checkpoint to a model: every weight is read once, row by row, into its packed form.

use super::blocks::{BlockNames, Frequencies};
use super::{Embedding, Esm, Rotary, TransformerLayer, Workspaces};
use crate::checkpoint::{
    Checkpoint, CheckpointError, InvFreqSource, Positions, Weight, WeightRows,
};
use crate::ops::{
    self, Activation, CpuPath, LayerNorm, Linear, PackError, WeightType, gated_row, padded,
};
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
            Some(loader.norm("emb_layer_norm_after", config.biases)?)
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
        self.norm(name, true)
    }

    /// A bias that the model does not have is zero.
    fn norm(&self, name: &str, has_bias: bool) -> Result<LayerNorm, CheckpointError> {
        let weight = self.vector(&format!("{name}.weight"))?;
        let bias = match has_bias {
            true => self.vector(&format!("{name}.bias"))?,
            false => vec![0.0; weight.len()],
        };
        let eps = self.checkpoint.config().layer_norm_eps;
        Ok(LayerNorm::new(self.options.path, weight, bias, eps))
    }

    /// Packs one layer, or several that share their input with their outputs side by side.
    fn linear(&self, names: &[String]) -> Result<Linear, LoadError> {
        let path = self.options.path;
        let each = self.rows(names)?;
        // Each layer starts with a new tile.
        let apart = match names.len() {
            1 => each,
            _ => padded(each, path),
        }
        .max(1);
        let place = |n: usize| Some((n / apart, n % apart)).filter(|(_, row)| *row < each);
        self.pack(names, names.len() * apart, place)
    }

    /// Packs the layer before the activation, in the order that the activation needs.
    fn inner(&self, names: &[String], activation: Activation) -> Result<Linear, LoadError> {
        match activation {
            Activation::Gelu => self.linear(names),
            Activation::SwiGlu => {
                let (path, each) = (self.options.path, self.rows(names)?);
                let place = |n: usize| Some(gated_row(n, path)).filter(|(_, row)| *row < each);
                self.pack(names, activation.outputs(each, path), place)
            }
        }
    }

    /// Rows of each of these layers.
    fn rows(&self, names: &[String]) -> Result<usize, CheckpointError> {
        let first = names.first().map(|name| format!("{name}.weight"));
        let first = first
            .map(|name| self.checkpoint.weight(&name))
            .transpose()?;
        Ok(first.map_or(0, |weight| weight.shape()[0]))
    }

    /// Packs several layers as one of `outputs` outputs: `place` says which layer's row each of them is;
    /// None for zeros.
    fn pack(
        &self,
        names: &[String],
        outputs: usize,
        place: impl Fn(usize) -> Option<(usize, usize)>,
    ) -> Result<Linear, LoadError> {
        let weights = names
            .iter()
            .map(|name| self.checkpoint.weight(&format!("{name}.weight")))
            .collect::<Result<Vec<_>, _>>()?;
        let inputs = weights.first().map_or(0, |w| w.shape()[1]);
        let mut bias = vec![0.0; outputs];
        if self.checkpoint.config().biases {
            let biases = names
                .iter()
                .map(|name| self.vector(&format!("{name}.bias")));
            let biases = biases.collect::<Result<Vec<_>, _>>()?;
            for (n, to) in bias.iter_mut().enumerate() {
                let from = place(n).and_then(|(layer, row)| biases.get(layer)?.get(row));
                *to = from.copied().unwrap_or(0.0);
            }
        }
        let mut rows: Vec<WeightRows<'_>> = weights.iter().map(Weight::rows).collect();
        Linear::pack(
            self.options.path,
            self.options.weight_type,
            inputs,
            outputs,
            &bias,
            |n, to| match place(n).and_then(|(layer, row)| Some((rows.get_mut(layer)?, row))) {
                Some((rows, row)) => rows.read(row, to),
                None => {
                    to.fill(0.0);
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
            dropped: config.dropped_token(),
        })
    }

    fn layer(&self, i: usize, rotary: LayerRotary) -> Result<TransformerLayer, LoadError> {
        let config = self.checkpoint.config();
        let names = BlockNames::new(i, config.activation);
        let qk_norms = match config.qk_norm {
            true => {
                let [q, k] = names.qk_norms.each_ref().map(|name| self.norm(name, false));
                Some([q?, k?])
            }
            false => None,
        };
        Ok(TransformerLayer {
            path: self.options.path,
            heads: config.heads,
            head_dim: config.head_dim(),
            rotary,
            attention_norm: self.layer_norm(&names.attention_norm)?,
            qkv: self.linear(&names.qkv)?,
            qk_norms,
            out: self.linear(&names.out)?,
            feed_forward_norm: self.layer_norm(&names.feed_forward_norm)?,
            fc1: self.inner(&names.fc1, config.activation)?,
            activation: config.activation,
            fc2: self.linear(&names.fc2)?,
            scale: config.residual_scale,
        })
    }

    /// Packs the layers.
    fn layers(&self, rotary: &[LayerRotary]) -> Result<Vec<TransformerLayer>, LoadError> {
        let layer = |i| self.layer(i, rotary.get(i).cloned().flatten());
        self.options.threads.map(rotary.len(), layer)
    }
}
