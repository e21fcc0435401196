//! From a checkpoint to a GPU: every weight is read once and stored in the number format of the
//! computation.

use super::error::CudaError;
use super::gpu::OpenGpu;
use super::memory::Memory;
use super::number_format::put;
use super::row_kernels::QkNorms;
use crate::checkpoint::{Checkpoint, InvFreqSource, Positions};
use crate::device::Dtype;
use crate::model::{BlockNames, Frequencies};
use crate::ops;
use crate::threads::Threads;
use std::sync::{Arc, Mutex, PoisonError};

/// Rotary tables are made for this many tokens at load; longer sequences make larger ones.
const ROTARY_POSITIONS: usize = 2048;

/// Weight and bias of a LayerNorm, f32.
pub(super) struct Norm {
    pub(super) weight: Memory,
    pub(super) bias: Memory,
}

/// Weights `[outputs, inputs]` in the number format of the computation, and bias in f32.
pub(super) struct Linear {
    pub(super) weight: Memory,
    pub(super) bias: Memory,
}

/// One block of the model.
pub(super) struct Block {
    /// Index of its frequencies in [`Weights::rotary`]; None for learned positions.
    pub(super) rotary: Option<usize>,
    pub(super) attention_norm: Norm,
    /// q, k and v, one after another.
    pub(super) qkv: Linear,
    /// Weights of the norms of q and of k, f32, if the model has them.
    pub(super) qk_norms: Option<[Memory; 2]>,
    pub(super) out: Linear,
    pub(super) feed_forward_norm: Norm,
    pub(super) fc1: Linear,
    pub(super) fc2: Linear,
}

impl Block {
    /// Addresses of the norms of q and k.
    pub(super) fn norms(&self) -> Option<QkNorms> {
        let norms = self.qk_norms.as_ref()?;
        Some(norms.each_ref().map(|weight| weight.at(0)))
    }

    /// Its linear layers, in the order of [`super::replica::Layers`].
    pub(super) fn linears(&self) -> [&Linear; 4] {
        [&self.qkv, &self.out, &self.fc1, &self.fc2]
    }
}

/// The weights of a model on a GPU.
pub(super) struct Weights {
    /// `[vocab, dim]`, f32.
    pub(super) tokens: Memory,
    /// `[rows, dim]`, f32; None for rotary models.
    pub(super) positions: Option<Memory>,
    /// `emb_layer_norm_before`.
    pub(super) norm_before: Option<Norm>,
    pub(super) blocks: Vec<Block>,
    /// `emb_layer_norm_after`, if the model is loaded up to the last representation.
    pub(super) norm_after: Option<Norm>,
    /// Each set of frequencies once.
    pub(super) rotary: Vec<Rotary>,
}

impl Weights {
    /// The layers of the first block that products are tested with; none if there is no block.
    pub(super) fn of_products(&self) -> impl Iterator<Item = &Linear> {
        let first = self.blocks.first().into_iter();
        first.flat_map(Block::linears)
    }
}

/// The rotary frequencies of one or more blocks, and the largest table made from them so far.
pub(super) struct Rotary {
    inv_freq: Vec<f32>,
    table: Mutex<Arc<RotaryTable>>,
}

/// cos and sin of `position · inv_freq`, `[positions, head_dim / 2]` each: the angle is the f32
/// product of the reference implementations, its cosine and sine are correctly rounded.
pub(super) struct RotaryTable {
    positions: usize,
    pub(super) cosines: Memory,
    pub(super) sines: Memory,
}

impl Rotary {
    fn new(gpu: &OpenGpu, inv_freq: Vec<f32>) -> Result<Rotary, CudaError> {
        let table = RotaryTable::new(gpu, &inv_freq, ROTARY_POSITIONS)?;
        Ok(Rotary {
            inv_freq,
            table: Mutex::new(Arc::new(table)),
        })
    }

    /// A table of at least `positions` positions. The caller keeps it until the GPU is done.
    pub(super) fn table(
        &self,
        gpu: &OpenGpu,
        positions: usize,
    ) -> Result<Arc<RotaryTable>, CudaError> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.positions < positions {
            *table = Arc::new(RotaryTable::new(gpu, &self.inv_freq, positions)?);
        }
        Ok(Arc::clone(&table))
    }
}

impl RotaryTable {
    /// Its positions.
    pub(super) fn positions(&self) -> usize {
        self.positions
    }

    pub(super) fn new(
        gpu: &OpenGpu,
        inv_freq: &[f32],
        positions: usize,
    ) -> Result<RotaryTable, CudaError> {
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        for position in 0..positions {
            for frequency in inv_freq {
                let (cosine, sine) = ops::cos_sin(position, *frequency);
                cosines.push(cosine);
                sines.push(sine);
            }
        }
        Ok(RotaryTable {
            positions,
            cosines: Memory::upload_floats(&gpu.stream, "rotary tables", &cosines)?,
            sines: Memory::upload_floats(&gpu.stream, "rotary tables", &sines)?,
        })
    }
}

/// Where weights come from and go to.
pub(super) struct Loader<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) gpu: &'a OpenGpu,
    pub(super) dtype: Dtype,
    /// The highest representation that passes will compute.
    pub(super) top: usize,
    /// Threads that read weights.
    pub(super) threads: usize,
}

impl Loader<'_> {
    /// Loads what representations up to `top` need.
    pub(super) fn load(&self) -> Result<(Weights, Option<InvFreqSource>), CudaError> {
        let config = self.checkpoint.config();
        let Frequencies {
            sets,
            of_block,
            source,
        } = Frequencies::read(self.checkpoint, self.top)?;
        let rotary = sets.into_iter().map(|set| Rotary::new(self.gpu, set));
        let rotary = rotary.collect::<Result<Vec<_>, _>>()?;
        let block = |i| self.block(i, of_block.get(i).copied().flatten());
        let blocks = Threads::new(self.threads).map(of_block.len(), block)?;
        let positions = match config.positions {
            Positions::Rotary => None,
            Positions::Learned { .. } => Some(self.floats("embed_positions.weight")?),
        };
        let norm = |name: &str, is_there: bool| match is_there {
            true => self.norm(name).map(Some),
            false => Ok(None),
        };
        let weights = Weights {
            tokens: self.floats("embed_tokens.weight")?,
            positions,
            norm_before: norm("emb_layer_norm_before", config.emb_layer_norm_before)?,
            blocks,
            norm_after: match self.top == config.layers {
                true => Some(self.last_norm()?),
                false => None,
            },
            rotary,
        };
        Ok((weights, source))
    }

    fn floats(&self, name: &str) -> Result<Memory, CudaError> {
        let values = self.checkpoint.weight(name)?.to_vec()?;
        Memory::upload_floats(&self.gpu.stream, "weights", &values)
    }

    fn norm(&self, name: &str) -> Result<Norm, CudaError> {
        Ok(Norm {
            weight: self.floats(&format!("{name}.weight"))?,
            bias: self.floats(&format!("{name}.bias"))?,
        })
    }

    /// The norm after the last block. A bias that the model does not have is zero.
    fn last_norm(&self) -> Result<Norm, CudaError> {
        let config = self.checkpoint.config();
        if config.biases {
            return self.norm("emb_layer_norm_after");
        }
        let none = vec![0.0; config.dim];
        Ok(Norm {
            weight: self.floats("emb_layer_norm_after.weight")?,
            bias: Memory::upload_floats(&self.gpu.stream, "weights", &none)?,
        })
    }

    /// One layer, or several that share their input: their outputs follow one another.
    fn linear(&self, names: &[String]) -> Result<Linear, CudaError> {
        self.scaled(names, 1.0)
    }

    /// The same with weights and bias times a factor. A bias that the model does not have is zero.
    fn scaled(&self, names: &[String], factor: f32) -> Result<Linear, CudaError> {
        let scale = |values: &mut [f32]| {
            if factor != 1.0 {
                values.iter_mut().for_each(|value| *value *= factor);
            }
        };
        let (mut bytes, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            let weight = self.checkpoint.weight(&format!("{name}.weight"))?;
            let [count, columns] = weight.shape();
            let mut rows = weight.rows();
            let mut values = vec![0.0; columns];
            for row in 0..count {
                rows.read(row, &mut values)?;
                scale(&mut values);
                put(self.dtype, &values, &mut bytes);
            }
            if self.checkpoint.config().biases {
                bias.extend(self.checkpoint.weight(&format!("{name}.bias"))?.to_vec()?);
            } else {
                bias.resize(bias.len() + count, 0.0);
            }
        }
        scale(&mut bias);
        Ok(Linear {
            weight: Memory::upload(&self.gpu.stream, "weights", &bytes)?,
            bias: Memory::upload_floats(&self.gpu.stream, "weights", &bias)?,
        })
    }

    fn block(&self, i: usize, rotary: Option<usize>) -> Result<Block, CudaError> {
        let config = self.checkpoint.config();
        let names = BlockNames::new(i, config.activation);
        let qk_norms = match config.qk_norm {
            true => {
                let weight = |name: &String| self.floats(&format!("{name}.weight"));
                let [q, k] = names.qk_norms.each_ref().map(weight);
                Some([q?, k?])
            }
            false => None,
        };
        // What a block adds is scaled by its last weights.
        let factor = config.residual_scale;
        Ok(Block {
            rotary,
            attention_norm: self.norm(&names.attention_norm)?,
            qkv: self.linear(&names.qkv)?,
            qk_norms,
            out: self.scaled(&names.out, factor)?,
            feed_forward_norm: self.norm(&names.feed_forward_norm)?,
            fc1: self.linear(&names.fc1)?,
            fc2: self.scaled(&names.fc2, factor)?,
        })
    }
}
