//! The linear layers of one block on made-up rows, to measure their speed.

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
    /// Rows of these tokens, as input of the first block.
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
    /// Runs everything in the block except attention, on one thread. Without a block it does nothing.
    ///
    /// # Errors
    /// An error of Candle.
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
