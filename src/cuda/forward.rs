//! The blocks of the model on one lane, in the order of the computation.

use super::batch::Batch;
use super::error::{CudaError, While};
use super::kernels::{grid, launch};
use super::lane::{Lane, Rows, Shape};
use super::load::{Block, Linear, Norm, RotaryTable};
use super::matmul::Matmul;
use super::memory::Memory;
use super::pass::{Each, Failure, Overflow, Pass};
use super::replica::Replica;
use super::results::Results;
use super::slab;
use crate::checkpoint::EsmConfig;
use crate::ops;
use std::sync::Arc;

/// A pass that has all the memory it needs.
pub(super) struct Running<'a> {
    pub(super) config: &'a EsmConfig,
    pub(super) replica: &'a Replica,
    pub(super) batch: &'a Batch,
    /// Heights of the matrix products that its rows are computed in.
    pub(super) pieces: &'a [usize],
    /// Address of the batch's arrays.
    pub(super) at: u64,
    pub(super) tables: &'a [Arc<RotaryTable>],
    pub(super) results: Results<'a>,
    /// Whether numbers that are not finite are an [`Overflow`]; otherwise they are a failure.
    pub(super) may_overflow: bool,
}

impl Running<'_> {
    /// Runs up to the highest layer of the pass and hands each of its layers over. Returns the sequences
    /// that do not fit the number format, if that may happen; their later layers are not handed over.
    pub(super) fn layers(
        &self,
        lane: &mut Lane,
        pass: &Pass<'_>,
        each: Each<'_>,
    ) -> Result<Vec<Overflow>, Failure> {
        let mut overflows: Vec<Overflow> = Vec::new();
        let Some(&top) = pass.layers.last() else {
            return Ok(overflows);
        };
        let weights = &self.replica.weights;
        if top > weights.blocks.len() {
            return Err(Failure::from(CudaError::Batch(format!(
                "representation {top} was requested of a model loaded up to {}",
                weights.blocks.len()
            ))));
        }
        self.embed(lane)?;
        let mut wanted = pass.layers.iter().enumerate().peekable();
        for index in 0..=top {
            if let Some(block) = index.checked_sub(1).and_then(|i| weights.blocks.get(i)) {
                if pass.cancel.is_cancelled() {
                    return Err(Failure::Cancelled);
                }
                // The norm that follows the block: the next one's, or the last.
                let next = weights.blocks.get(index).filter(|_| index < top);
                self.block(lane, block, next, index)?;
            }
            let Some((layer, _)) = wanted.next_if(|(_, wanted)| **wanted == index) else {
                continue;
            };
            self.results.hand_over(lane, |sequence, rows| {
                if overflows.iter().any(|o| o.sequence == sequence) {
                    return Ok(());
                }
                match rows {
                    Some(rows) if each(layer, sequence, rows).is_break() => Err(Failure::Broken),
                    Some(_) => Ok(()),
                    None if self.may_overflow => {
                        overflows.push(Overflow { sequence, layer });
                        Ok(())
                    }
                    None => Err(Failure::NotFinite { sequence }),
                }
            })?;
        }
        Ok(overflows)
    }

    /// Representation 0, and the input of the first block.
    fn embed(&self, lane: &mut Lane) -> Result<(), CudaError> {
        let (batch, weights, kernels) = (self.batch, &self.replica.weights, &self.replica.kernels);
        let dim = self.config.dim;
        let stream = Arc::clone(&lane.stream);
        let rows = lane.rows(0)?;
        // SAFETY: arguments as the kernel declares them; x has a row for each token, tokens are
        // within the table and positions within theirs, which `Batch::new` and `GpuModel::run` ensure.
        unsafe {
            launch!(
                stream,
                kernels.embed,
                grid(batch.tokens, 1, 0),
                rows.x.at(0),
                weights.tokens.at(0),
                weights.positions.as_ref().map_or(0, |places| places.at(0)),
                self.at + batch.tokens_at as u64,
                self.at + batch.scales_at as u64,
                self.at + batch.positions_at as u64,
                dim as i32,
            )
        }
        .while_("starting a kernel")?;
        if let Some(norm) = &weights.norm_before {
            self.add_norm(lane, None, Some(norm), true)?;
        }
        match weights.blocks.first() {
            Some(block) => self.add_norm(lane, None, Some(&block.attention_norm), false),
            None => Ok(()),
        }
    }

    /// x += y + bias if there is a bias, then h = norm(x), or x = norm(x) if `into_x`.
    fn add_norm(
        &self,
        lane: &mut Lane,
        y_bias: Option<&Memory>,
        norm: Option<&Norm>,
        into_x: bool,
    ) -> Result<(), CudaError> {
        let kernels = &self.replica.kernels;
        let config = self.config;
        let stream = Arc::clone(&lane.stream);
        let rows = lane.rows(0)?;
        let (kernel, out) = match into_x {
            true => (&kernels.final_norm, rows.x.at(0)),
            false => (&kernels.add_norm, rows.h.at(0)),
        };
        // SAFETY: arguments as both kernels declare them; x, y and out have a row for each token,
        // and weights and biases a number for each column.
        unsafe {
            launch!(
                stream,
                kernel,
                grid(self.batch.tokens, 1, 0),
                rows.x.at(0),
                y_bias.map_or(0, |_| rows.y.at(0)),
                y_bias.map_or(0, |bias| bias.at(0)),
                norm.map_or(0, |norm| norm.weight.at(0)),
                norm.map_or(0, |norm| norm.bias.at(0)),
                config.layer_norm_eps,
                out,
                config.dim as i32,
            )
        }
        .while_("starting a kernel")?;
        Ok(())
    }

    /// h holds the block's input after its first norm; x is the residual stream. Afterwards x is
    /// representation `index`, and h the input of `next` after its norm.
    fn block(
        &self,
        lane: &mut Lane,
        block: &Block,
        next: Option<&Block>,
        index: usize,
    ) -> Result<(), CudaError> {
        let (products, weights) = (&self.replica.products, &self.replica.weights);
        let part = |rows: &Rows| (rows.h.at(0), rows.wide.at(0), rows.y.at(0));
        let (h, wide, y) = part(lane.rows(0)?);
        self.product(lane, &products.qkv, &block.qkv, h, wide, self.pieces)?;
        self.attend(lane, block, wide, h)?;
        self.product(lane, &products.out, &block.out, h, y, self.pieces)?;
        self.add_norm(
            lane,
            Some(&block.out.bias),
            Some(&block.feed_forward_norm),
            false,
        )?;
        self.feed_forward(lane, block, h, wide, y)?;
        let bias = Some(&block.fc2.bias);
        match (next, &weights.norm_after) {
            (Some(next), _) => self.add_norm(lane, bias, Some(&next.attention_norm), false),
            (None, Some(norm)) if index == self.config.layers => {
                self.add_norm(lane, bias, Some(norm), true)
            }
            (None, _) => self.add_norm(lane, bias, None, false),
        }
    }

    /// fc1, GELU and fc2, for as many rows at a time as the inner layer has memory for.
    fn feed_forward(
        &self,
        lane: &Lane,
        block: &Block,
        h: u64,
        inner: u64,
        y: u64,
    ) -> Result<(), CudaError> {
        let products = &self.replica.products;
        let Shape {
            dim,
            size,
            inner_rows,
            ..
        } = lane.shape;
        let mut before = 0;
        for pieces in slab::parts(self.pieces, inner_rows) {
            let at = (before * dim * size) as u64;
            let rows: usize = pieces.iter().sum();
            // The last rows of the last piece are padding.
            let tokens = rows.min(self.batch.tokens - before);
            self.product(lane, &products.fc1, &block.fc1, h + at, inner, pieces)?;
            self.gelu(lane, block, inner, tokens)?;
            self.product(lane, &products.fc2, &block.fc2, inner, y + at, pieces)?;
            before += rows;
        }
        Ok(())
    }

    fn product(
        &self,
        lane: &Lane,
        product: &Matmul,
        linear: &Linear,
        from: u64,
        to: u64,
        pieces: &[usize],
    ) -> Result<(), CudaError> {
        let (blas, stream) = (&self.replica.gpu.blas, &lane.stream);
        // SAFETY: `from` and `to` are parts of the lane's memory for the rows of all pieces, as wide as
        // the product's inputs and outputs or wider.
        unsafe { product.run(blas, stream, &linear.weight, from, to, pieces) }
    }

    /// Bias and rotation of q and k, then attention, which adds the bias of v.
    fn attend(&self, lane: &Lane, block: &Block, qkv: u64, out: u64) -> Result<(), CudaError> {
        let (config, kernels, batch) = (self.config, &self.replica.kernels, self.batch);
        let head_dim = config.head_dim();
        let table = block.rotary.and_then(|number| self.tables.get(number));
        let scale = ops::score_scale(head_dim);
        // SAFETY: arguments as the kernels declare them; qkv has 3 and out 1 row of `dim` for each
        // token, the table has a row for each position, and tiles name rows of the batch.
        unsafe {
            launch!(
                lane.stream,
                kernels.bias_rotary,
                grid(batch.tokens, 1, 0),
                qkv,
                block.qkv.bias.at(0),
                table.map_or(0, |table| table.cosines.at(0)),
                table.map_or(0, |table| table.sines.at(0)),
                self.at + batch.positions_at as u64,
                scale,
                config.dim as i32,
                (head_dim / 2) as i32,
            )
            .while_("starting a kernel")?;
            launch!(
                lane.stream,
                kernels.attention,
                grid(batch.tiles, config.heads, kernels.attention_shared),
                out,
                qkv,
                block.qkv.bias.at(0),
                self.at + batch.tiles_at as u64,
                config.dim as i32,
            )
            .while_("starting a kernel")?;
        }
        Ok(())
    }

    fn gelu(&self, lane: &Lane, block: &Block, inner: u64, tokens: usize) -> Result<(), CudaError> {
        // SAFETY: arguments as the kernel declares them; there is a row for each token.
        unsafe {
            launch!(
                lane.stream,
                self.replica.kernels.bias_gelu,
                grid(tokens, 1, 0),
                inner,
                block.fc1.bias.at(0),
                self.config.intermediate as i32,
            )
        }
        .while_("starting a kernel")?;
        Ok(())
    }
}
