//! The operations of the CPU engine.
//!
//! Each is a Candle custom operation, so that the model reads like a Candle model. Token rows are
//! packed end to end, without padding. Every output element has a fixed order of additions, which
//! depends neither on the number of rows nor on the instructions of the [`CpuPath`], and every
//! operation is rounded as IEEE 754 says: this is why a sequence gets the same bits in any batch
//! and on any processor. (The CUDA engine has its own kernels, in `cuda`.)

mod attention;
mod block_shape;
mod buffer;
mod feed_forward;
mod fixed_point;
mod layer_norm;
mod linear;
pub mod math;
mod matrix;
mod prefetch;
mod qkv_projection;
mod simd;
mod team;
mod tile;

pub use attention::{
    Attention, AttentionSample, AttentionWithMaps, QUERY_GROUP, QUERY_SPAN, RotaryTable, TakeMaps,
};
// For the engine on NVIDIA GPUs, which is on Linux only.
#[cfg(target_os = "linux")]
pub(crate) use attention::{cos_sin, score_scale};
pub use block_shape::BlockShape;
pub use buffer::tensor;
pub use feed_forward::{Activation, FeedForward};
pub use layer_norm::LayerNorm;
pub use linear::{Linear, PackError, WeightType, gated_outputs, gated_row};
pub use matrix::padded;
pub use qkv_projection::{QkvProjection, qkv_shape};
pub use simd::CpuPath;
pub use team::{Team, thread_pool};

use candle_core::{CpuStorage, Layout};

/// The elements of a contiguous f32 tensor on the CPU.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("the operation needs a contiguous tensor"),
    }
}

/// The same, for writing.
fn contiguous_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    let CpuStorage::F32(values) = storage else {
        candle_core::bail!("the operation needs f32");
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut values[start..end]),
        None => candle_core::bail!("the operation needs a contiguous tensor"),
    }
}

#[cfg(test)]
mod tests;
