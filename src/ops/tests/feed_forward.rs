//! The half of a block after attention.

use super::block::Block;
use super::chunks::chunked;
use super::reference::{assert_close, erf64, layer_norm_f64};
use super::{numbers, paths, tensor, values, wide};
use crate::ops::{FeedForward, Team, thread_pool};

#[test]
fn feed_forward_equals_the_reference_by_one_thread_and_by_a_team() {
    let pool = thread_pool(2).unwrap();
    for path in paths() {
        for (tokens, dim, inner) in [(1, 8, 32), (17, 48, 192), (300, 24, 100), (760, 40, 800)] {
            let block = Block::new(&[(dim, dim), (dim, inner), (inner, dim)]);
            let (x, attended) = (numbers(40, tokens * dim), numbers(41, tokens * dim));
            let out = block.f64(0, &wide(&attended));
            let mut want: Vec<f64> = wide(&x).iter().zip(&out).map(|(x, y)| x + y).collect();
            let normed = layer_norm_f64(&want, &block.norm.0, &block.norm.1);
            let hidden: Vec<f64> = block
                .f64(1, &normed)
                .iter()
                .map(|y| y * 0.5 * (1.0 + erf64(y / 2f64.sqrt())))
                .collect();
            for (x, y) in want.iter_mut().zip(block.f64(2, &hidden)) {
                *x += y;
            }
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
                    fc1: &block.linear(path, 1),
                    fc2: &block.linear(path, 2),
                    team,
                };
                hidden.inplace_op2(&attended, &op).unwrap();
                let found = values(&hidden);
                assert_close(
                    &found,
                    &want,
                    2e-4,
                    &format!("{path} {tokens}×{dim}×{inner}"),
                );
                bits.push(found);
            }
            assert_eq!(bits[0], bits[1]);
        }
    }
}
