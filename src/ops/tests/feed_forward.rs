//! The half of a block after attention.

use super::block::Block;
use super::chunks::chunked;
use super::reference::{assert_close, erf64, layer_norm_f64};
use super::{numbers, paths, tensor, values, wide};
use crate::ops::{Activation, FeedForward, Team, thread_pool};

#[test]
fn feed_forward_equals_the_reference_by_one_thread_and_by_a_team() {
    for (activation, scale) in [(Activation::Gelu, 1.0), (Activation::SwiGlu, 0.75)] {
        check(activation, scale);
    }
}

/// The inner layer in f64: `a` and `g` are the first and the second half of the outputs.
fn activated(activation: Activation, fc1: &[f64], inner: usize) -> Vec<f64> {
    match activation {
        Activation::Gelu => fc1
            .iter()
            .map(|y| y * 0.5 * (1.0 + erf64(y / 2f64.sqrt())))
            .collect(),
        Activation::SwiGlu => fc1
            .chunks_exact(2 * inner)
            .flat_map(|row| {
                let (a, g) = row.split_at(inner);
                let pairs = a.iter().zip(g);
                pairs.map(|(a, g)| a / (1.0 + (-a).exp()) * g)
            })
            .collect(),
    }
}

fn check(activation: Activation, scale: f32) {
    let pool = thread_pool(2).unwrap();
    for path in paths() {
        for (tokens, dim, inner) in [(1, 8, 32), (17, 48, 192), (300, 24, 100), (760, 40, 800)] {
            let outputs = match activation {
                Activation::Gelu => inner,
                Activation::SwiGlu => 2 * inner,
            };
            let block = Block::new(&[(dim, dim), (dim, outputs), (inner, dim)]);
            let (x, attended) = (numbers(40, tokens * dim), numbers(41, tokens * dim));
            let out = block.f64(0, &wide(&attended));
            let factor = f64::from(scale);
            let mut want: Vec<f64> = wide(&x)
                .iter()
                .zip(&out)
                .map(|(x, y)| x + factor * y)
                .collect();
            let normed = layer_norm_f64(&want, &block.norm.0, &block.norm.1);
            let hidden = activated(activation, &block.f64(1, &normed), inner);
            for (x, y) in want.iter_mut().zip(block.f64(2, &hidden)) {
                *x += factor * y;
            }
            let fc1 = match activation {
                Activation::Gelu => block.linear(path, 1),
                Activation::SwiGlu => block.gated(path, 1),
            };
            let mut bits = Vec::new();
            for team in [Team::One, Team::Pool(&pool)] {
                let hidden = tensor(&x, &[tokens, dim]);
                // k and v are not read.
                let three: Vec<f32> = attended
                    .chunks_exact(dim)
                    .flat_map(|row| [row, &vec![f32::NAN; 2 * dim]].concat())
                    .collect();
                let attended = chunked(path, &three, 3, dim);
                let op = FeedForward {
                    path,
                    out: &block.linear(path, 0),
                    norm: &block.norm(path),
                    fc1: &fc1,
                    activation,
                    fc2: &block.linear(path, 2),
                    scale,
                    team,
                };
                hidden.inplace_op2(&attended, &op).unwrap();
                let found = values(&hidden);
                assert_close(
                    &found,
                    &want,
                    2e-4,
                    &format!("{activation:?} {path} {tokens}×{dim}×{inner}"),
                );
                bits.push(found);
            }
            assert_eq!(bits[0], bits[1]);
        }
    }
}
