//! One pre-LayerNorm transformer block:
//!
//! ```text
//! h = LN₁(x)    q, k, v = Linear(h)    x ← x + s·Linear(attention(q, k, v))
//! h = LN₂(x)    x ← x + s·fc2(gelu(fc1(h)))
//! ```
//!
//! ESM C has norms of q and of k over the whole width, before the heads; `silu(a)·g` with `a, g = fc1(h)`
//! in the place of GELU; no biases; and s = √(36 / layers), which is 1 in the other models.

use super::Rotary;
use super::visit::BlockMaps;
use crate::ops::{
    Activation, Attention, AttentionWithMaps, CpuPath, FeedForward, LayerNorm, Linear,
    QkvProjection, RotaryTable, Team,
};
use candle_core::Tensor;
use std::ops::ControlFlow;
use std::sync::Arc;

pub(super) struct TransformerLayer {
    pub(super) path: CpuPath,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    pub(super) rotary: Option<Arc<Rotary>>,
    /// `self_attn_layer_norm`.
    pub(super) attention_norm: LayerNorm,
    /// q, k and v in one product, `D → 3D`, each padded to whole tiles.
    pub(super) qkv: Linear,
    /// `q_norm` and `k_norm`, if the model has them.
    pub(super) qk_norms: Option<[LayerNorm; 2]>,
    /// `out_proj`, `D → D`.
    pub(super) out: Linear,
    /// `final_layer_norm`.
    pub(super) feed_forward_norm: LayerNorm,
    /// `D → F`, or `D → 2F` for SwiGLU.
    pub(super) fc1: Linear,
    pub(super) activation: Activation,
    /// `F → D`.
    pub(super) fc2: Linear,
    /// s.
    pub(super) scale: f32,
}

impl TransformerLayer {
    pub(super) fn rotary(&self) -> Option<&Arc<Rotary>> {
        self.rotary.as_ref()
    }

    /// Updates the residual stream `[T, D]`, with working memory for q, k and v, and hands over
    /// attention maps, with working memory for one. If their taker has enough, the stream is left as
    /// it is.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        qkv: &Tensor,
        cu_seqlens: &[usize],
        rotary: Option<&RotaryTable>,
        team: Team<'_>,
        maps: Option<(BlockMaps<'_>, &mut Vec<f32>)>,
    ) -> candle_core::Result<ControlFlow<()>> {
        self.project(x, qkv, team)?;
        let attention = Attention {
            path: self.path,
            weight_type: self.qkv.weight_type(),
            cu_seqlens,
            heads: self.heads,
            head_dim: self.head_dim,
            rotary,
            team,
        };
        match maps {
            None => qkv.inplace_op1(&attention)?,
            Some((mut maps, buffer)) => {
                let with_maps = AttentionWithMaps::new(attention, &mut maps, buffer);
                qkv.inplace_op1(&with_maps)?;
                if with_maps.flow().is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        self.feed_forward(x, qkv, team)?;
        Ok(ControlFlow::Continue(()))
    }

    /// The first product: `q, k, v = Linear(LN₁(x))`.
    pub(super) fn project(
        &self,
        x: &Tensor,
        qkv: &Tensor,
        team: Team<'_>,
    ) -> candle_core::Result<()> {
        qkv.inplace_op2(
            x,
            &QkvProjection {
                path: self.path,
                norm: &self.attention_norm,
                qkv: &self.qkv,
                qk_norms: self.qk_norms.as_ref(),
                team,
            },
        )
    }

    /// The products that follow attention.
    pub(super) fn feed_forward(
        &self,
        x: &Tensor,
        qkv: &Tensor,
        team: Team<'_>,
    ) -> candle_core::Result<()> {
        x.inplace_op2(
            qkv,
            &FeedForward {
                path: self.path,
                out: &self.out,
                norm: &self.feed_forward_norm,
                fc1: &self.fc1,
                activation: self.activation,
                fc2: &self.fc2,
                scale: self.scale,
                team,
            },
        )
    }
}
