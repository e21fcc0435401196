//! The engine's own operations.
//!
//! Each is a Candle custom operation, so that the model reads as a Candle model and a backend
//! other than the CPU has a place beside `cpu_fwd`. What they have in common: token rows are
//! packed end to end without padding, every output element has one accumulator and a fixed
//! order of additions, and no operation looks at how many rows it was given to choose that
//! order. This is where the promise «the same bits in any batch» is kept.

mod attention;
mod buffer;
mod coming;
mod feed_forward;
#[cfg(target_arch = "x86_64")]
mod fixed;
#[cfg(target_arch = "x86_64")]
mod fixed_head;
mod head;
mod layer_norm;
mod linear;
pub mod math;
mod product;
mod project;
mod rotary;
mod rows;
mod shape;
mod simd;
mod team;
mod tile;

pub use attention::{Attention, AttentionSample, QUERY_SPAN};
pub use buffer::tensor;
pub use feed_forward::FeedForward;
pub use layer_norm::LayerNorm;
pub use linear::{Linear, PackError, WeightType};
pub use project::{Project, qkv_shape};
pub use rotary::RotaryTable;
pub use rows::padded;
pub use shape::BlockShape;
pub use simd::CpuPath;
pub use team::{Team, pool};

use candle_core::{CpuStorage, Layout};

/// The elements of a contiguous f32 tensor on the CPU.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("the operation wants a contiguous tensor"),
    }
}

/// The same, to be written.
fn contiguous_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    let CpuStorage::F32(values) = storage else {
        candle_core::bail!("the operation wants f32");
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut values[start..end]),
        None => candle_core::bail!("the operation wants a contiguous tensor"),
    }
}

#[cfg(test)]
mod tests;
