//! From a checkpoint to a card: every weight is read once, in the number format of the computation.

use super::card::{Card, Memory};
use super::error::CudaError;
use crate::checkpoint::{Checkpoint, InvFreqSource, Positions};
use crate::device::Dtype;
use crate::model::{BlockNames, Frequencies, make_blocks};
use crate::ops;
use half::{bf16, f16};
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
    /// Number of its frequencies in [`Weights::rotary`]; None for learned positions.
    pub(super) rotary: Option<usize>,
    pub(super) attention_norm: Norm,
    /// q, k and v, one after another.
    pub(super) qkv: Linear,
    pub(super) out: Linear,
    pub(super) feed_forward_norm: Norm,
    pub(super) fc1: Linear,
    pub(super) fc2: Linear,
}

/// A model on a card.
pub(super) struct Weights {
    /// `[vocab, dim]`, f32.
    pub(super) tokens: Memory,
    /// `[rows, dim]`, f32; None for rotary models.
    pub(super) positions: Option<Memory>,
    /// `emb_layer_norm_before`.
    pub(super) norm_before: Option<Norm>,
    pub(super) blocks: Vec<Block>,
    /// `emb_layer_norm_after`, if the last representation is wanted.
    pub(super) norm_after: Option<Norm>,
    /// Each set of frequencies once.
    pub(super) rotary: Vec<Rotary>,
}

impl Weights {
    /// Weights of the first block by which products are tested, in the order of
    /// [`super::replica::Products`]; none where there is no block.
    pub(super) fn of_products(&self) -> impl Iterator<Item = &Memory> {
        let first = self.blocks.first().into_iter();
        first.flat_map(|block| [&block.qkv, &block.out, &block.fc1, &block.fc2].map(|l| &l.weight))
    }
}

/// The rotary frequencies of one or more blocks, and the largest table made of them so far.
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
    fn new(card: &Card, inv_freq: Vec<f32>) -> Result<Rotary, CudaError> {
        let table = RotaryTable::new(card, &inv_freq, ROTARY_POSITIONS)?;
        Ok(Rotary {
            inv_freq,
            table: Mutex::new(Arc::new(table)),
        })
    }

    /// A table of at least so many positions. Whoever works with it keeps it until the card is done.
    pub(super) fn table(
        &self,
        card: &Card,
        positions: usize,
    ) -> Result<Arc<RotaryTable>, CudaError> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.positions < positions {
            *table = Arc::new(RotaryTable::new(card, &self.inv_freq, positions)?);
        }
        Ok(Arc::clone(&table))
    }
}

impl RotaryTable {
    fn new(card: &Card, inv_freq: &[f32], positions: usize) -> Result<RotaryTable, CudaError> {
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
            cosines: card.upload_floats("rotary tables", &cosines)?,
            sines: card.upload_floats("rotary tables", &sines)?,
        })
    }
}

/// Where weights come from and go to.
pub(super) struct Loader<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) card: &'a Card,
    pub(super) dtype: Dtype,
    /// The highest representation that will be asked for.
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
        let rotary = sets.into_iter().map(|set| Rotary::new(self.card, set));
        let rotary = rotary.collect::<Result<Vec<_>, _>>()?;
        let block = |i| self.block(i, of_block.get(i).copied().flatten());
        let blocks = make_blocks(of_block.len(), self.threads, block)?;
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
            blocks: blocks.ok_or(CudaError::Thread)?,
            norm_after: norm("emb_layer_norm_after", self.top == config.layers)?,
            rotary,
        };
        Ok((weights, source))
    }

    fn floats(&self, name: &str) -> Result<Memory, CudaError> {
        let values = self.checkpoint.weight(name)?.to_vec()?;
        self.card.upload_floats("weights", &values)
    }

    fn norm(&self, name: &str) -> Result<Norm, CudaError> {
        Ok(Norm {
            weight: self.floats(&format!("{name}.weight"))?,
            bias: self.floats(&format!("{name}.bias"))?,
        })
    }

    /// One layer, or several that share their input, their outputs one after another.
    fn linear(&self, names: &[String]) -> Result<Linear, CudaError> {
        let (mut bytes, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            let weight = self.checkpoint.weight(&format!("{name}.weight"))?;
            let [count, columns] = weight.shape();
            let mut rows = weight.rows();
            let mut values = vec![0.0; columns];
            for row in 0..count {
                rows.read(row, &mut values)?;
                put(self.dtype, &values, &mut bytes);
            }
            bias.extend(self.checkpoint.weight(&format!("{name}.bias"))?.to_vec()?);
        }
        Ok(Linear {
            weight: self.card.upload("weights", &bytes)?,
            bias: self.card.upload_floats("weights", &bias)?,
        })
    }

    fn block(&self, i: usize, rotary: Option<usize>) -> Result<Block, CudaError> {
        let names = BlockNames::new(i);
        Ok(Block {
            rotary,
            attention_norm: self.norm(&names.attention_norm)?,
            qkv: self.linear(&names.qkv)?,
            out: self.linear(&names.out)?,
            feed_forward_norm: self.norm(&names.feed_forward_norm)?,
            fc1: self.linear(&names.fc1)?,
            fc2: self.linear(&names.fc2)?,
        })
    }
}

/// Appends numbers in a format, rounded to nearest.
pub(super) fn put(dtype: Dtype, values: &[f32], into: &mut Vec<u8>) {
    match dtype {
        Dtype::F32 | Dtype::Tf32 => into.extend(values.iter().flat_map(|x| x.to_ne_bytes())),
        Dtype::F16 => into.extend(values.iter().flat_map(|x| f16::from_f32(*x).to_ne_bytes())),
        Dtype::Bf16 => into.extend(values.iter().flat_map(|x| bf16::from_f32(*x).to_ne_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::put;
    use crate::device::Dtype;

    #[test]
    fn numbers_in_each_format() {
        let bytes = |dtype| {
            let mut bytes = Vec::new();
            put(dtype, &[1.0, -2.5], &mut bytes);
            bytes
        };
        assert_eq!(bytes(Dtype::F16), [0x00, 0x3c, 0x00, 0xc1]);
        assert_eq!(bytes(Dtype::Bf16), [0x80, 0x3f, 0x20, 0xc0]);
        assert_eq!(bytes(Dtype::F32), [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
    }
}
