//! The same bits on every path of this processor: each operation, and whole blocks.

use super::chunks::unchunked;
use super::math::arguments;
use super::{gated, numbers, pack, paths, tensor, values};
use crate::ops::math::{Function, map};
use crate::ops::{
    Activation, Attention, CpuPath, FeedForward, LayerNorm, Linear, QkvProjection, RotaryTable,
    Team, WeightType, padded, qkv_shape,
};
use candle_core::Tensor;
use proptest::prelude::*;
use std::convert::Infallible;

/// Computes something on every path and compares the bits with those of the first.
fn same(what: &str, compute: impl Fn(CpuPath) -> Vec<f32>) {
    let paths = paths();
    let first = compute(paths[0]);
    for path in &paths[1..] {
        let found = compute(*path);
        assert_eq!(found.len(), first.len());
        for (i, (a, b)) in first.iter().zip(&found).enumerate() {
            assert!(
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
                "{what}: element {i} is {a:e} on {}, {b:e} on {path}",
                paths[0]
            );
        }
    }
}

#[test]
fn functions_have_the_same_bits_on_every_path() {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let all: Vec<f32> = arguments().into_iter().chain(special).collect();
    for function in [
        Function::Exp,
        Function::Exp2,
        Function::Erf,
        Function::Gelu,
        Function::Silu,
    ] {
        let mut x = all.clone();
        if function == Function::Exp2 {
            x.retain(|x| *x <= 1.0);
        }
        same(&format!("{function:?}"), |path| {
            let mut y = x.clone();
            map(path, function, &mut y);
            y
        });
    }
}

/// Numbers of very different size, in rows of `width`.
fn uneven(seed: u64, rows: usize, width: usize) -> Vec<f32> {
    let mut x = numbers(seed, rows * width);
    for (i, row) in x.chunks_exact_mut(width.max(1)).enumerate() {
        let scale = [1.0, 30.0, 1e-3, 1e4][i % 4];
        row.iter_mut().for_each(|x| *x *= scale);
        // An outlier channel, as in trained ESM-2.
        row[(seed as usize + 5) % width] += 300.0;
    }
    x
}

/// A block of the model of `heads` heads of `head_dim` features, with an inner layer of `inner`.
#[derive(Debug)]
struct Shape {
    heads: usize,
    head_dim: usize,
    inner: usize,
    lengths: Vec<usize>,
    rotary: bool,
    /// Norms of q and k, SwiGLU and a factor of what is added, as in ESM C.
    esm_c: bool,
    seed: u64,
}

impl Shape {
    fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    fn norm(&self, path: CpuPath, seed: u64) -> LayerNorm {
        let weight = numbers(seed, self.dim());
        LayerNorm::new(path, weight, numbers(seed + 1, self.dim()), 1e-5)
    }

    /// Weights as large as trained ones, so that attention is far from uniform.
    fn linear(
        &self,
        path: CpuPath,
        kind: WeightType,
        seed: u64,
        inputs: usize,
        outputs: usize,
    ) -> Linear {
        let size = 3.0 / (inputs as f32).sqrt();
        let w: Vec<f32> = numbers(seed, inputs * outputs)
            .iter()
            .map(|w| w * size)
            .collect();
        pack(path, kind, &w, &numbers(seed + 1, outputs), inputs)
    }

    fn fc1(&self, path: CpuPath, kind: WeightType) -> Linear {
        let (dim, seed) = (self.dim(), self.seed + 50);
        if !self.esm_c {
            return self.linear(path, kind, seed, dim, self.inner);
        }
        let size = 3.0 / (dim as f32).sqrt();
        let w = numbers(seed, 2 * self.inner * dim);
        let w: Vec<f32> = w.iter().map(|w| w * size).collect();
        gated(path, kind, &w, &numbers(seed + 1, 2 * self.inner), dim)
    }

    /// q, k and v start at a tile each, whose width depends on the path.
    fn qkv(&self, path: CpuPath, kind: WeightType) -> Linear {
        let (dim, apart) = (self.dim(), padded(self.dim(), path));
        let size = 6.0 / (dim as f32).sqrt();
        let (w, b) = (
            numbers(self.seed + 10, 3 * dim * dim),
            numbers(self.seed + 11, 3 * dim),
        );
        let mut bias = vec![0.0; 3 * apart];
        for (part, b) in b.chunks_exact(dim).enumerate() {
            bias[part * apart..][..dim].copy_from_slice(b);
        }
        Linear::pack(path, kind, dim, 3 * apart, &bias, |n, row: &mut [f32]| {
            let (part, n) = (n / apart, n % apart);
            match n < dim {
                true => {
                    let w = &w[(part * dim + n) * dim..][..dim];
                    row.iter_mut().zip(w).for_each(|(to, w)| *to = w * size);
                }
                false => row.fill(0.0),
            }
            Ok::<_, Infallible>(())
        })
        .unwrap()
    }

    /// q, k, v, the attended values, and the hidden states after the block.
    fn run(&self, path: CpuPath, kind: WeightType) -> Vec<f32> {
        let (dim, team) = (self.dim(), Team::One);
        let tokens: usize = self.lengths.iter().sum();
        let x = tensor(&uneven(self.seed, tokens, dim), &[tokens, dim]);
        let shape = qkv_shape(path, dim, tokens);
        // Rows beyond the tokens are read, but must not matter.
        let qkv = tensor(&vec![f32::NAN; shape.iter().product()], &shape);
        let mut all = Vec::new();
        let norms = [70, 80].map(|seed| self.norm(path, self.seed + seed));
        let project = QkvProjection {
            path,
            norm: &self.norm(path, self.seed + 20),
            qkv: &self.qkv(path, kind),
            qk_norms: self.esm_c.then_some(&norms),
            team,
        };
        qkv.inplace_op2(&x, &project).unwrap();
        let mut take = |qkv: &Tensor, parts: std::ops::Range<usize>| {
            for part in parts {
                all.extend(unchunked(qkv, part, tokens, dim));
            }
        };
        take(&qkv, 0..3);

        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let frequencies: Vec<f32> = (0..self.head_dim / 2)
            .map(|i| libm::powf(1e4, -2.0 * i as f32 / self.head_dim as f32))
            .collect();
        let table = RotaryTable::new(&frequencies, longest);
        let mut cu_seqlens = vec![0];
        for length in &self.lengths {
            cu_seqlens.push(cu_seqlens[cu_seqlens.len() - 1] + length);
        }
        let attention = Attention {
            path,
            weight_type: kind,
            cu_seqlens: &cu_seqlens,
            heads: self.heads,
            head_dim: self.head_dim,
            rotary: self.rotary.then_some(&table),
            team,
        };
        qkv.inplace_op1(&attention).unwrap();
        take(&qkv, 0..1);

        let feed_forward = FeedForward {
            path,
            out: &self.linear(path, kind, self.seed + 30, dim, dim),
            norm: &self.norm(path, self.seed + 40),
            fc1: &self.fc1(path, kind),
            activation: match self.esm_c {
                true => Activation::SwiGlu,
                false => Activation::Gelu,
            },
            fc2: &self.linear(path, kind, self.seed + 60, self.inner, dim),
            scale: if self.esm_c { 0.9 } else { 1.0 },
            team,
        };
        x.inplace_op2(&qkv, &feed_forward).unwrap();
        all.extend(values(&x));
        all
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let head_dims = prop::sample::select(vec![2usize, 6, 8, 16, 20, 24, 32, 48, 64, 128]);
    let lengths = prop::collection::vec(prop_oneof![1usize..40, 250usize..300], 1..5);
    (
        1usize..4,
        head_dims,
        1usize..600,
        lengths,
        any::<bool>(),
        any::<bool>(),
        0u64..1000,
    )
        .prop_map(
            |(heads, head_dim, inner, lengths, rotary, esm_c, seed)| Shape {
                heads,
                head_dim,
                inner,
                lengths,
                rotary,
                esm_c,
                seed,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn blocks_have_the_same_bits_on_every_path(shape in shapes()) {
        for kind in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
            same(&format!("{kind:?} {shape:?}"), |path| shape.run(path, kind));
        }
    }

    /// Inner dimensions of up to four blocks, whole vectors or not.
    #[test]
    fn products_have_the_same_bits_on_every_path(
        rows in 1usize..40,
        inputs in 1usize..1100,
        outputs in 1usize..80,
        seed in 0u64..1000,
    ) {
        let x = uneven(seed, rows, inputs);
        let (w, b) = (uneven(seed + 1, outputs, inputs), numbers(seed + 2, outputs));
        for kind in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
            same(&format!("{rows}×{inputs}×{outputs} {kind:?}"), |path| {
                let layer = pack(path, kind, &w, &b, inputs);
                values(&tensor(&x, &[rows, inputs]).apply_op1_no_bwd(&&layer).unwrap())
            });
        }
    }

    #[test]
    fn normalised_rows_have_the_same_bits_on_every_path(
        rows in 1usize..12,
        dim in 1usize..700,
        seed in 0u64..1000,
    ) {
        let x = uneven(seed, rows, dim);
        let (w, b) = (numbers(seed + 1, dim), numbers(seed + 2, dim));
        same(&format!("{rows} rows of {dim}"), |path| {
            let norm = LayerNorm::new(path, w.clone(), b.clone(), 1e-5);
            values(&tensor(&x, &[rows, dim]).apply_op1_no_bwd(&&norm).unwrap())
        });
    }
}
