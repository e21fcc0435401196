//! Tensors in chunks of lanes, as attention reads and writes them.

use super::{tensor, values};
use crate::ops::{CpuPath, qkv_shape};
use candle_core::Tensor;

/// `[T, parts·D]` → `[parts, D / lanes, rows, lanes]`; rows beyond the tokens are NaN, as those of
/// another sequence could be.
pub fn chunked(path: CpuPath, x: &[f32], parts: usize, dim: usize) -> Tensor {
    let tokens = x.len() / (parts * dim);
    let [_, chunks, rows, lanes] = qkv_shape(path, dim, tokens);
    let mut out = vec![f32::NAN; parts * chunks * rows * lanes];
    for part in 0..parts {
        for t in 0..tokens {
            for f in 0..chunks * lanes {
                let at = ((part * chunks + f / lanes) * rows + t) * lanes + f % lanes;
                out[at] = match f < dim {
                    true => x[(t * parts + part) * dim + f],
                    false => 0.0,
                };
            }
        }
    }
    tensor(&out, &[parts, chunks, rows, lanes])
}

/// One part of such a tensor as `[T, D]`; its padding must be zero.
pub fn unchunked(x: &Tensor, part: usize, tokens: usize, dim: usize) -> Vec<f32> {
    let (_, chunks, rows, lanes) = x.dims4().unwrap();
    let all = values(x);
    let mut out = Vec::new();
    for t in 0..tokens {
        for f in 0..chunks * lanes {
            let value = all[((part * chunks + f / lanes) * rows + t) * lanes + f % lanes];
            match f < dim {
                true => out.push(value),
                false => assert_eq!(value, 0.0),
            }
        }
    }
    out
}
