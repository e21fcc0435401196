//! The rest of a block after attention: `x ← x + s·out(a)`, `x ← x + s·fc2(f(fc1(LN(x))))` with GELU or
//! SwiGLU for f.

use super::buffer::scratch;
use super::layer_norm::LayerNorm;
use super::linear::{Linear, LinearSize};
use super::linear::{Target, gated_outputs, row_block};
use super::matrix::{Chunked, ChunkedMut, split_rows};
use super::qkv_projection::qkv_shape;
use super::simd::CpuPath;
use super::team::Team;
use candle_core::{CpuStorage, InplaceOp2, Layout};

/// What is between the two layers of the feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu(fc1(x))`, with the exact erf.
    Gelu,
    /// `silu(a)·g` with `a, g = fc1(x)`, whose outputs are twice as many.
    SwiGlu,
}

impl Activation {
    /// Outputs of the layer before it, if `inner` features follow.
    pub fn outputs(self, inner: usize, path: CpuPath) -> usize {
        match self {
            Activation::Gelu => inner,
            Activation::SwiGlu => gated_outputs(inner, path),
        }
    }
}

/// Updates the residual stream `[T, D]` with the result of attention, which is in the place of q.
/// A block of rows goes through all of it at once, so that the inner layer never leaves the caches.
pub struct FeedForward<'a> {
    /// Instructions to run with.
    pub path: CpuPath,
    /// `D → D`, after attention.
    pub out: &'a Linear,
    /// Before the feed-forward network.
    pub norm: &'a LayerNorm,
    /// `D → F`, or `D → 2F` in the order of [`gated_row`](super::gated_row).
    pub fc1: &'a Linear,
    /// Between the two.
    pub activation: Activation,
    /// `F → D`.
    pub fc2: &'a Linear,
    /// s, the factor of what is added to the residual stream.
    pub scale: f32,
    /// The threads that share the work.
    pub team: Team<'a>,
}

/// Floats of working memory for `rows` rows: the normalised rows, the inner layer, and what the
/// products need one after the other.
pub(super) fn floats([out, fc1, fc2]: [LinearSize; 3], rows: usize) -> usize {
    let rest = [out, fc1, fc2].map(|l| l.scratch(rows));
    let rest = rest.into_iter().max().unwrap_or(0);
    rows * (fc1.inputs + fc2.inputs) + rest
}

impl InplaceOp2 for FeedForward<'_> {
    fn name(&self) -> &'static str {
        "feed_forward"
    }

    fn cpu_fwd(
        &self,
        s: &mut CpuStorage,
        l: &Layout,
        attended: &CpuStorage,
        attended_layout: &Layout,
    ) -> candle_core::Result<()> {
        let FeedForward {
            out,
            fc1,
            fc2,
            norm,
            scale,
            ..
        } = self;
        let (tokens, dim) = l.shape().dims2()?;
        let wanted = qkv_shape(self.path, dim, tokens);
        let fits = out.inputs() == dim
            && out.outputs() == dim
            && norm.features() == dim
            && fc1.inputs() == dim
            && fc1.outputs() == self.activation.outputs(fc2.inputs(), self.path)
            && fc2.outputs() == dim;
        if attended_layout.dims() != wanted || !fits {
            candle_core::bail!(
                "feed-forward network {} → {} → {} was given {:?} and {:?}",
                fc1.inputs(),
                fc1.outputs(),
                fc2.outputs(),
                l.dims(),
                attended_layout.dims()
            );
        }
        let attended = super::contiguous(attended, attended_layout)?;
        let attended = Chunked::new(attended, wanted[2], wanted[3]);
        let x = super::contiguous_mut(s, l)?;
        let blocks = self.team.parts(tokens, row_block(dim));
        let parts = split_rows(x, dim, &blocks);
        let parts = blocks.into_iter().zip(parts).collect();
        self.team.each(parts, |((start, rows), x)| {
            let (length, inner) = (rows * fc1.size().inputs, rows * fc2.size().inputs);
            scratch(floats([out, fc1, fc2].map(|l| l.size()), rows), |buffer| {
                let (normed, buffer) = buffer.split_at_mut(length);
                let (hidden, rest) = buffer.split_at_mut(inner);
                let [mut normed, mut hidden] =
                    [normed, hidden].map(|part| ChunkedMut::new(part, rows, wanted[3]));
                out.apply(attended.rows(start, rows), Target::Add(x, *scale), rest);
                norm.chunks(x, normed.reborrow());
                let inner = match self.activation {
                    Activation::Gelu => Target::Gelu(hidden.reborrow()),
                    Activation::SwiGlu => Target::SwiGlu(hidden.reborrow()),
                };
                fc1.apply(normed.as_ref(), inner, rest);
                fc2.apply(hidden.as_ref(), Target::Add(x, *scale), rest);
            });
        });
        Ok(())
    }
}
