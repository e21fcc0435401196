//! The rest of a block after attention: `x ← x + out(a)`, `x ← x + fc2(gelu(fc1(LN(x))))`.

use super::buffer::scratch;
use super::layer_norm::LayerNorm;
use super::linear::{Linear, LinearSize};
use super::linear::{Target, row_block};
use super::matrix::{Chunked, RowMajor};
use super::qkv_projection::qkv_shape;
use super::simd::CpuPath;
use super::team::Team;
use candle_core::{CpuStorage, InplaceOp2, Layout};

/// Updates the residual stream `[T, D]` with what attention left in the place of q. Rows are
/// worked in blocks from end to end, so that the inner layer never leaves the caches.
pub struct FeedForward<'a> {
    /// Instructions to run with.
    pub path: CpuPath,
    /// `D → D`, after attention.
    pub out: &'a Linear,
    /// Before the feed-forward network.
    pub norm: &'a LayerNorm,
    /// `D → 4D`.
    pub fc1: &'a Linear,
    /// `4D → D`.
    pub fc2: &'a Linear,
    /// Who works.
    pub team: Team<'a>,
}

/// Floats of working memory for `rows` rows: them normalised, the inner layer, and what the
/// products need, one after the other.
pub(super) fn floats([out, fc1, fc2]: [LinearSize; 3], rows: usize) -> usize {
    let rest = [out, fc1, fc2].map(|l| l.scratch(rows));
    let rest = rest.into_iter().max().unwrap_or(0);
    rows * (fc1.inputs + fc1.outputs) + rest
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
            ..
        } = self;
        let (tokens, dim) = l.shape().dims2()?;
        let wanted = qkv_shape(self.path, dim, tokens);
        let fits = out.inputs() == dim
            && out.outputs() == dim
            && norm.features() == dim
            && fc1.inputs() == dim
            && fc2.inputs() == fc1.outputs()
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
        let lanes = wanted[3];
        let attended = Chunked {
            // Only read.
            at: super::contiguous(attended, attended_layout)?
                .as_ptr()
                .cast_mut(),
            stride: wanted[2],
        };
        let x = RowMajor {
            at: super::contiguous_mut(s, l)?.as_mut_ptr(),
            width: dim,
        };
        let blocks = self.team.parts(tokens, row_block(dim));
        self.team.each(blocks.len(), |i| {
            let (start, rows) = blocks[i];
            let (length, inner) = (rows * fc1.padded_inputs(), rows * fc1.padded_outputs());
            scratch(floats([out, fc1, fc2].map(|l| l.size()), rows), |buffer| {
                let (normed, buffer) = buffer.split_at_mut(length);
                let (hidden, rest) = buffer.split_at_mut(inner);
                let [normed, hidden] = [normed, hidden].map(|part| Chunked {
                    at: part.as_mut_ptr(),
                    stride: rows,
                });
                let x = x.skip(start);
                // SAFETY: `rows` rows from `start` on lie inside both tensors, and are this
                // part's alone; the buffers hold as many padded ones.
                unsafe {
                    let attended = attended.skip(start, lanes);
                    out.apply(attended, rows, Target::Add(x), rest);
                    norm.chunks(x, rows, normed);
                    fc1.apply(normed, rows, Target::Gelu(hidden), rest);
                    fc2.apply(hidden, rows, Target::Add(x), rest);
                }
            });
        });
        Ok(())
    }
}
