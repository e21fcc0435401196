//! Every kernel against a plain f64 reference, on every path of this processor.

mod attention;
mod block;
mod chunks;
mod feed_forward;
mod fixed_point;
mod layer_norm;
mod linear;
mod math;
mod qkv_projection;
mod reference;
mod same_bits;
mod shapes;
mod widen;

use super::{CpuPath, Linear, WeightType, gated_outputs, gated_row};
use candle_core::{Device, Tensor};
use std::convert::Infallible;

fn paths() -> Vec<CpuPath> {
    let mut all = CpuPath::ALL.to_vec();
    all.retain(|path| path.is_available());
    all
}

/// Reproducible numbers in −1 .. 1.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn pack(path: CpuPath, kind: WeightType, w: &[f32], b: &[f32], k: usize) -> Linear {
    Linear::pack(path, kind, k, b.len(), b, |n, row: &mut [f32]| {
        row.copy_from_slice(&w[n * k..(n + 1) * k]);
        Ok::<_, Infallible>(())
    })
    .unwrap()
}

/// A layer whose outputs are a and g, one after the other, packed for SwiGLU.
fn gated(path: CpuPath, kind: WeightType, w: &[f32], b: &[f32], k: usize) -> Linear {
    let inner = b.len() / 2;
    let outputs = gated_outputs(inner, path);
    let source = |n: usize| {
        let (half, feature) = gated_row(n, path);
        (feature < inner).then_some(half * inner + feature)
    };
    let bias: Vec<f32> = (0..outputs)
        .map(|n| source(n).map_or(0.0, |n| b[n]))
        .collect();
    Linear::pack(path, kind, k, outputs, &bias, |n, row: &mut [f32]| {
        match source(n) {
            Some(n) => row.copy_from_slice(&w[n * k..(n + 1) * k]),
            None => row.fill(0.0),
        }
        Ok::<_, Infallible>(())
    })
    .unwrap()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}
