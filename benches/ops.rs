//! The engine's operations on the shapes of the published models, on one thread. Throughput is in
//! floating-point operations per second (a multiplication and an addition count as two).
//!
//!     cargo bench --bench ops
//!     cargo bench --bench ops -- attention/8M

use candle_core::Tensor;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use esm_embed::ops::math::{Function, map};
use esm_embed::ops::{
    Activation, Attention, CpuPath, FeedForward, LayerNorm, Linear, QkvProjection, RotaryTable,
    Team, WeightType, qkv_shape, tensor,
};
use std::convert::Infallible;
use std::hint::black_box;

/// Name, D and heads of the published models.
const SHAPES: [(&str, usize, usize); 4] = [
    ("8M", 320, 20),
    ("35M", 480, 20),
    ("150M", 640, 20),
    ("650M", 1280, 20),
];

/// Tokens of the sequences of a batch: about 1,000, with lengths as in proteomes.
const LENGTHS: [usize; 4] = [111, 203, 289, 418];

/// Reproducible numbers in −0.05 .. 0.05.
fn numbers(len: usize) -> impl Iterator<Item = f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..len).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.1
    })
}

fn filled(shape: &[usize]) -> Tensor {
    let t = tensor(shape).expect("memory");
    let len = t.elem_count();
    let values = Tensor::from_iter(numbers(len), t.device()).expect("memory");
    t.slice_set(&values.reshape(shape).expect("shape"), 0, 0)
        .expect("memory");
    t
}

fn linear(path: CpuPath, kind: WeightType, inputs: usize, outputs: usize) -> Linear {
    let bias: Vec<f32> = numbers(outputs).collect();
    Linear::pack(path, kind, inputs, outputs, &bias, |_, row| {
        for (to, from) in row.iter_mut().zip(numbers(inputs)) {
            *to = from;
        }
        Ok::<_, Infallible>(())
    })
    .expect("memory")
}

fn norm(dim: usize) -> LayerNorm {
    LayerNorm::new(CpuPath::detect(), vec![1.0; dim], vec![0.0; dim], 1e-5)
}

fn cu_seqlens() -> Vec<usize> {
    let mut bounds = vec![0];
    for len in LENGTHS {
        bounds.push(bounds[bounds.len() - 1] + len);
    }
    bounds
}

/// The arithmetics that blocks are measured in.
const KINDS: [(&str, WeightType); 2] = [("f32", WeightType::F32), ("f16", WeightType::F16)];

fn blocks(c: &mut Criterion) {
    let path = CpuPath::detect();
    let tokens: usize = LENGTHS.iter().sum();
    let bounds = cu_seqlens();
    for (name, dim, heads) in SHAPES {
        let shape = qkv_shape(path, dim, tokens);
        let qkv = filled(&shape);
        let apart = shape[1] * shape[3];
        for (kind_name, kind) in KINDS {
            let project = QkvProjection {
                path,
                norm: &norm(dim),
                qkv: &linear(path, kind, dim, 3 * apart),
                qk_norms: None,
                team: Team::One,
            };
            let x = filled(&[tokens, dim]);
            let mut group = c.benchmark_group(format!("project {kind_name}"));
            group.throughput(Throughput::Elements((tokens * dim * 6 * dim) as u64));
            group.bench_function(name, |b| {
                b.iter(|| qkv.inplace_op2(&x, &project).expect("shapes"));
            });
            group.finish();

            let feed_forward = FeedForward {
                path,
                out: &linear(path, kind, dim, dim),
                norm: &norm(dim),
                fc1: &linear(path, kind, dim, 4 * dim),
                activation: Activation::Gelu,
                fc2: &linear(path, kind, 4 * dim, dim),
                scale: 1.0,
                team: Team::One,
            };
            let attended = filled(&shape);
            let mut group = c.benchmark_group(format!("feed_forward {kind_name}"));
            group.throughput(Throughput::Elements((tokens * dim * 18 * dim) as u64));
            group.bench_function(name, |b| {
                b.iter(|| {
                    // Otherwise the sums would grow from call to call.
                    x.zero_set().expect("memory");
                    x.inplace_op2(&attended, &feed_forward).expect("shapes");
                });
            });
            group.finish();
        }

        let head_dim = dim / heads;
        let inv_freq: Vec<f32> = (0..head_dim / 2)
            .map(|i| 10000f32.powf(-2.0 * i as f32 / head_dim as f32))
            .collect();
        let table = RotaryTable::new(&inv_freq, 1024);
        let pairs: usize = LENGTHS.iter().map(|len| len * len).sum();
        for (kind_name, weight_type) in KINDS {
            let attention = Attention {
                path,
                weight_type,
                cu_seqlens: &bounds,
                heads,
                head_dim,
                rotary: Some(&table),
                team: Team::One,
            };
            let mut group = c.benchmark_group(format!("attention {kind_name}"));
            group.throughput(Throughput::Elements((pairs * dim * 4) as u64));
            group.bench_function(name, |b| {
                b.iter(|| qkv.inplace_op1(&attention).expect("shapes"));
            });
            group.finish();
        }
    }
}

fn rows(c: &mut Criterion) {
    let tokens: usize = LENGTHS.iter().sum();
    let mut group = c.benchmark_group("layer_norm");
    for (name, dim, _) in SHAPES {
        let (x, norm) = (filled(&[tokens, dim]), norm(dim));
        group.throughput(Throughput::Elements((tokens * dim) as u64));
        group.bench_function(name, |b| {
            b.iter(|| x.apply_op1_no_bwd(&&norm).expect("shapes"));
        });
    }
    group.finish();
    let mut group = c.benchmark_group("math");
    let values: Vec<f32> = numbers(1 << 16).map(|x| -x.abs() * 100.0).collect();
    group.throughput(Throughput::Elements(values.len() as u64));
    for function in [Function::Exp, Function::Exp2, Function::Erf, Function::Gelu] {
        group.bench_function(format!("{function:?}"), |b| {
            b.iter(|| {
                let mut y = values.clone();
                map(CpuPath::detect(), function, black_box(&mut y));
                y
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = blocks, rows
}
criterion_main!(benches);
