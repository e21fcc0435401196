//! The engine's own operations.
//!
//! Each is a Candle custom operation, so that the model reads as a Candle model and a backend
//! other than the CPU has a place beside `cpu_fwd`. What they have in common: token rows are
//! packed end to end without padding, every output element has one accumulator and a fixed
//! order of additions, and no operation looks at how many rows it was given to choose that
//! order. This is where the promise «the same bits in any batch» is kept.

mod attention;
mod layer_norm;
mod linear;
pub mod math;
mod rotary;
mod scratch;
mod simd;
mod tile;

pub use attention::Attention;
pub use layer_norm::LayerNorm;
pub use linear::{Linear, LinearGelu, WeightType};
pub use rotary::RotaryTable;
pub use simd::CpuPath;

use candle_core::{CpuStorage, Layout};

/// The elements of a contiguous f32 tensor on the CPU.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("the operation wants a contiguous tensor"),
    }
}

#[cfg(test)]
mod tests;
