//! Weights of a block of the model, and their products in f64.

use super::{gated, numbers, pack};
use crate::ops::{CpuPath, LayerNorm, Linear, WeightType};

/// Weights of a block of `dim` features with an inner layer of `inner`.
pub struct Block {
    pub norm: (Vec<f32>, Vec<f32>),
    layers: Vec<(Vec<f32>, Vec<f32>, usize)>,
}

impl Block {
    pub fn new(shapes: &[(usize, usize)]) -> Block {
        let dim = shapes[0].0;
        Block {
            norm: (numbers(20, dim), numbers(21, dim)),
            layers: shapes
                .iter()
                .enumerate()
                .map(|(i, (k, n))| {
                    let seed = 22 + 2 * i as u64;
                    (numbers(seed, n * k), numbers(seed + 1, *n), *k)
                })
                .collect(),
        }
    }

    pub fn norm(&self, path: CpuPath) -> LayerNorm {
        LayerNorm::new(path, self.norm.0.clone(), self.norm.1.clone(), 1e-5)
    }

    pub fn linear(&self, path: CpuPath, i: usize) -> Linear {
        let (w, b, k) = &self.layers[i];
        pack(path, WeightType::F32, w, b, *k)
    }

    /// Layer i with a and g, one after the other, as SwiGLU needs it.
    pub fn gated(&self, path: CpuPath, i: usize) -> Linear {
        let (w, b, k) = &self.layers[i];
        gated(path, WeightType::F32, w, b, *k)
    }

    /// Layer 0, of whose outputs only the first `dim` of every `apart` have weights.
    pub fn padded(&self, path: CpuPath, dim: usize, apart: usize) -> Linear {
        let (w, b, k) = &self.layers[0];
        let is_used = |n: usize| n % apart < dim;
        let values = w.chunks_exact(*k).enumerate();
        let w: Vec<f32> = values
            .flat_map(|(n, row)| match is_used(n) {
                true => row.to_vec(),
                false => vec![0.0; *k],
            })
            .collect();
        let b = b.iter().enumerate();
        let b: Vec<f32> = b.map(|(n, b)| if is_used(n) { *b } else { 0.0 }).collect();
        pack(path, WeightType::F32, &w, &b, *k)
    }

    pub fn f64(&self, i: usize, x: &[f64]) -> Vec<f64> {
        let (w, b, k) = &self.layers[i];
        x.chunks_exact(*k)
            .flat_map(|row| {
                w.chunks_exact(*k).zip(b).map(|(w, b)| {
                    let sum: f64 = row.iter().zip(w).map(|(x, w)| x * f64::from(*w)).sum();
                    sum + f64::from(*b)
                })
            })
            .collect()
    }
}
