//! The first product of a block: `q, k, v = Linear(LN(x))`, and the norms of q and k.

use super::attention;
use super::buffer::scratch;
use super::layer_norm::LayerNorm;
use super::linear::{Linear, LinearSize};
use super::linear::{Target, row_block};
use super::matrix::{ChunkedMut, lanes, padded};
use super::simd::CpuPath;
use super::team::Team;
use candle_core::{CpuStorage, InplaceOp2, Layout};

/// Normalises the residual stream `[T, D]` and projects it into q, k and v,
/// `[3, D / lanes, rows, lanes]`, as [`Attention`](super::Attention) reads them.
pub struct QkvProjection<'a> {
    /// Instructions to run with.
    pub path: CpuPath,
    /// Before the product.
    pub norm: &'a LayerNorm,
    /// q, k and v, each padded to whole tiles.
    pub qkv: &'a Linear,
    /// Norms of q and of k over all their features, D, if the model has them.
    pub qk_norms: Option<&'a [LayerNorm; 2]>,
    /// The threads that share the work.
    pub team: Team<'a>,
}

/// Shape of the tensor for q, k and v of `tokens` tokens.
pub fn qkv_shape(path: CpuPath, dim: usize, tokens: usize) -> [usize; 4] {
    let lanes = lanes(path);
    let chunks = padded(dim, path) / lanes;
    [3, chunks, attention::rows(tokens, path), lanes]
}

/// Floats of working memory for `rows` rows: the normalised rows, and what the product needs.
pub(super) fn floats(qkv: LinearSize, rows: usize) -> usize {
    rows * qkv.inputs + qkv.scratch(rows)
}

impl InplaceOp2 for QkvProjection<'_> {
    fn name(&self) -> &'static str {
        "project"
    }

    fn cpu_fwd(
        &self,
        s: &mut CpuStorage,
        l: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (tokens, dim) = x_layout.shape().dims2()?;
        let x = super::contiguous(x, x_layout)?;
        let wanted = qkv_shape(self.path, dim, tokens);
        let (qkv, lanes) = (self.qkv, wanted[3]);
        if l.dims() != wanted
            || self.norm.features() != dim
            || self
                .qk_norms
                .iter()
                .copied()
                .flatten()
                .any(|norm| norm.features() != dim)
            || qkv.inputs() != dim
            || qkv.size().outputs != 3 * wanted[1] * lanes
        {
            candle_core::bail!(
                "projection {} → {} was given {:?} for {:?}",
                qkv.inputs(),
                qkv.outputs(),
                x_layout.dims(),
                l.dims()
            );
        }
        let out = ChunkedMut::new(super::contiguous_mut(s, l)?, wanted[2], lanes);
        let blocks = self.team.parts(tokens, row_block(dim));
        let parts = out.split(&blocks);
        let parts = blocks.into_iter().zip(parts).collect();
        self.team.each(parts, |((start, rows), out)| {
            let x = &x[start * dim..][..rows * dim];
            scratch(floats(qkv.size(), rows), |buffer| {
                let (normed, rest) = buffer.split_at_mut(rows * qkv.size().inputs);
                let mut normed = ChunkedMut::new(normed, rows, lanes);
                self.norm.chunks(x, normed.reborrow());
                let mut out = out;
                qkv.apply(normed.as_ref(), Target::Chunks(out.reborrow()), rest);
                for (part, norm) in self.qk_norms.into_iter().flatten().enumerate() {
                    norm.in_chunks(out.reborrow(), part * wanted[1] * lanes);
                }
            });
        });
        Ok(())
    }
}
