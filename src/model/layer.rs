//! One pre-LayerNorm transformer block:
//!
//! ```text
//! h = LN₁(x)    q, k, v = Linear(h)    x ← x + Linear(attention(q, k, v))
//! h = LN₂(x)    x ← x + fc2(gelu(fc1(h)))
//! ```

use super::Rotary;
use crate::ops::{Attention, CpuPath, LayerNorm, Linear, LinearGelu, RotaryTable};
use candle_core::Tensor;
use std::sync::Arc;

/// Rows of the feed-forward network worked at a time: its inner width is four times the
/// model's, and a single long sequence must not need that for all of its rows at once.
const FEED_FORWARD_ROWS: usize = 4096;

pub(super) struct TransformerLayer {
    pub(super) path: CpuPath,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    pub(super) rotary: Option<Arc<Rotary>>,
    /// `self_attn_layer_norm`.
    pub(super) attention_norm: LayerNorm,
    /// q, k and v in one product, `D → 3D`.
    pub(super) qkv: Linear,
    /// `out_proj`, `D → D`.
    pub(super) out: Linear,
    /// `final_layer_norm`.
    pub(super) feed_forward_norm: LayerNorm,
    /// `D → 4D`.
    pub(super) fc1: Linear,
    /// `4D → D`.
    pub(super) fc2: Linear,
}

impl TransformerLayer {
    pub(super) fn rotary(&self) -> Option<&Arc<Rotary>> {
        self.rotary.as_ref()
    }

    /// `[T, D] → [T, D]`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        cu_seqlens: &[usize],
        rotary: Option<&RotaryTable>,
    ) -> candle_core::Result<Tensor> {
        let h = x.apply_op1_no_bwd(&&self.attention_norm)?;
        let qkv = h.apply_op1_no_bwd(&&self.qkv)?;
        let attention = Attention {
            path: self.path,
            cu_seqlens,
            heads: self.heads,
            head_dim: self.head_dim,
            rotary,
        };
        let h = qkv.apply_op1_no_bwd(&&attention)?;
        drop(qkv);
        let x = h.apply_op2_no_bwd(x, &&self.out)?;
        drop(h);

        let tokens = x.dim(0)?;
        if tokens <= FEED_FORWARD_ROWS {
            return self.feed_forward(&x);
        }
        let parts = (0..tokens)
            .step_by(FEED_FORWARD_ROWS)
            .map(|t| self.feed_forward(&x.narrow(0, t, FEED_FORWARD_ROWS.min(tokens - t))?))
            .collect::<candle_core::Result<Vec<_>>>()?;
        Tensor::cat(&parts, 0)
    }

    fn feed_forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let h = x.apply_op1_no_bwd(&&self.feed_forward_norm)?;
        let h = h.apply_op1_no_bwd(&LinearGelu(&self.fc1))?;
        h.apply_op2_no_bwd(x, &&self.fc2)
    }
}
