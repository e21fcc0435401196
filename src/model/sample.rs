//! The linear layers of one block at work on made-up rows, to see how fast they are.

use super::{Esm, Packed};
use crate::ops::{self, Team};
use candle_core::{Result, Tensor};

/// One thread's rows in a loaded block.
pub struct BlockSample<'a> {
    esm: &'a Esm,
    hidden: Tensor,
    qkv: Tensor,
}

impl Esm {
    /// Rows of these tokens, to be worked on by the first block.
    ///
    /// # Errors
    /// As [`Esm::forward`].
    pub fn block_sample(&self, batch: &Packed) -> Result<BlockSample<'_>> {
        let (tokens, dim) = (batch.token_ids().len(), self.config.dim);
        let [a, b, c, d] = ops::qkv_shape(self.path, dim, tokens);
        let hidden = ops::tensor((tokens, dim))?;
        hidden.slice_set(&self.embedding.forward(batch)?, 0, 0)?;
        Ok(BlockSample {
            esm: self,
            hidden,
            qkv: ops::tensor((a, b, c, d))?,
        })
    }
}

impl BlockSample<'_> {
    /// Everything in the block but attention, on one thread. Nothing is done without a block.
    ///
    /// # Errors
    /// Candle's.
    pub fn run_linear(&self) -> Result<()> {
        match self.esm.layers.first() {
            Some(block) => {
                block.project(&self.hidden, &self.qkv, Team::One)?;
                block.feed_forward(&self.hidden, &self.qkv, Team::One)
            }
            None => Ok(()),
        }
    }
}
