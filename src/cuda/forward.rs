//! The blocks of the model on one lane, in the order of the computation.

use super::batch::Batch;
use super::error::{CudaError, While};
use super::kernels::{grid, launch};
use super::lane::{Lane, Shape};
use super::linear_layer::{Call, LinearLayer, To};
use super::load::{Block, Linear, Norm, RotaryTable};
use super::pass::{Each, Failure, Overflow, Pass};
use super::replica::Replica;
use super::results::Results;
use super::row_kernels::{NormTo, Rotation, RowKernels};
use super::slab;
use crate::checkpoint::EsmConfig;
use crate::ops::{self, Activation};
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

/// Rows of a batch that follow one another: pieces of matrix products, and the tokens in them.
#[derive(Clone, Copy)]
struct Part<'a> {
    pieces: &'a [usize],
    tokens: usize,
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
            if pass.logits && index == self.config.layers {
                let head = self.replica.head.as_ref().ok_or(CudaError::Defect)?;
                self.results.make_logits(lane, head)?;
            }
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
        let rows = lane.rows()?;
        let (x, h) = (rows.x.at(0), rows.h.at(0));
        // SAFETY: arguments as the kernel declares them; x has a row for each token, tokens are
        // within the table and positions within theirs, which `Batch::new` and `GpuModel::run` ensure.
        unsafe {
            launch!(
                lane.stream,
                kernels.embed,
                grid(batch.tokens, 1, 0),
                x,
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
            self.norm(lane, norm, x, NormTo::Stream)?;
        }
        match weights.blocks.first() {
            Some(block) => self.norm(lane, &block.attention_norm, x, NormTo::Rows(h)),
            None => Ok(()),
        }
    }

    /// The kernels that work on each of `rows` rows.
    fn row_kernels<'a>(&'a self, lane: &'a Lane, rows: usize) -> RowKernels<'a> {
        RowKernels {
            stream: &lane.stream,
            kernels: &self.replica.kernels,
            rows,
            dim: self.config.dim,
            eps: self.config.layer_norm_eps,
        }
    }

    /// Norm of the residual stream.
    fn norm(&self, lane: &Lane, norm: &Norm, x: u64, to: NormTo) -> Result<(), CudaError> {
        let rows = self.row_kernels(lane, self.batch.tokens);
        // SAFETY: x has a row for each token, as has h, and weights a number for each column.
        unsafe { rows.add_norm(x, None, Some(norm), to) }
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
        let (layers, weights) = (&self.replica.layers, &self.replica.weights);
        let rows = lane.rows()?;
        let (x, h, wide, y) = (rows.x.at(0), rows.h.at(0), rows.wide.at(0), rows.y.at(0));
        let all = Part {
            pieces: self.pieces,
            tokens: self.batch.tokens,
        };
        let qkv = To::Qkv {
            qkv: wide,
            rotation: self.rotation(block),
            norms: block.norms(),
        };
        self.linear(lane, &layers.qkv, &block.qkv, h, qkv, all)?;
        self.attend(lane, block, wide, h)?;
        let out = To::Outer {
            x,
            y,
            norm: Some(&block.feed_forward_norm),
            norm_to: NormTo::Rows(h),
        };
        self.linear(lane, &layers.out, &block.out, h, out, all)?;
        let (norm, norm_to) = match (next, &weights.norm_after) {
            (Some(next), _) => (Some(&next.attention_norm), NormTo::Rows(h)),
            (None, Some(norm)) if index == self.config.layers => (Some(norm), NormTo::Stream),
            (None, _) => (None, NormTo::Rows(h)),
        };
        // The feed-forward layers, for as many rows at a time as the inner layer has memory for.
        let Shape {
            dim,
            size,
            inner_rows,
            ..
        } = lane.rows()?.shape;
        let mut before = 0;
        for pieces in slab::parts(self.pieces, inner_rows) {
            let height: usize = pieces.iter().sum();
            // The last rows of the last piece are padding.
            let tokens = height.min(all.tokens - before);
            let part = Part { pieces, tokens };
            let at = (before * dim * size) as u64;
            let (inner, from) = match self.config.activation {
                Activation::Gelu => (To::Inner { u: wide }, wide),
                Activation::SwiGlu => {
                    // Behind both factors.
                    let out = wide + (height * 2 * self.config.intermediate * size) as u64;
                    (To::Gated { u: wide, out }, out)
                }
            };
            self.linear(lane, &layers.fc1, &block.fc1, h + at, inner, part)?;
            let outer = To::Outer {
                x: x + (before * dim * 4) as u64,
                y: y + at,
                norm,
                norm_to: match norm_to {
                    NormTo::Rows(h) => NormTo::Rows(h + at),
                    NormTo::Stream => NormTo::Stream,
                },
            };
            self.linear(lane, &layers.fc2, &block.fc2, from, outer, part)?;
            before += height;
        }
        Ok(())
    }

    /// A linear layer, and what follows it.
    fn linear(
        &self,
        lane: &Lane,
        layer: &LinearLayer,
        linear: &Linear,
        from: u64,
        to: To<'_>,
        part: Part<'_>,
    ) -> Result<(), CudaError> {
        let call = Call {
            rows: self.row_kernels(lane, part.tokens),
            blas: self.replica.gpu.blas.as_ref(),
            pieces: part.pieces,
            linear,
            from,
            to,
        };
        // SAFETY: addresses are parts of the lane's memory for the rows of all pieces, as wide as the
        // layer's inputs and outputs or wider, and the rotation has a row for each position.
        unsafe { layer.run(layer.by, &call) }
    }

    /// The rotation of a block's queries and keys.
    fn rotation(&self, block: &Block) -> Rotation {
        let table = block.rotary.and_then(|number| self.tables.get(number));
        let head_dim = self.config.head_dim();
        Rotation {
            cosines: table.map_or(0, |table| table.cosines.at(0)),
            sines: table.map_or(0, |table| table.sines.at(0)),
            positions: self.at + self.batch.positions_at as u64,
            scale: ops::score_scale(head_dim),
            half: head_dim / 2,
        }
    }

    /// Attention, which adds the bias of v.
    fn attend(&self, lane: &Lane, block: &Block, qkv: u64, out: u64) -> Result<(), CudaError> {
        let (config, kernels, batch) = (self.config, &self.replica.kernels, self.batch);
        // SAFETY: arguments as the kernel declares them; qkv has 3 and out 1 row of `dim` for each
        // token, and tiles name rows of the batch.
        unsafe {
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
        }
        .while_("starting a kernel")?;
        Ok(())
    }
}
