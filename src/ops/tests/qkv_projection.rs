//! The projection to queries, keys and values.

use super::block::Block;
use super::chunks::unchunked;
use super::reference::{assert_close, layer_norm_f64};
use super::{numbers, paths, tensor, wide};
use crate::ops::{QkvProjection, Team, padded, qkv_shape, thread_pool};

#[test]
fn projection_equals_the_reference_by_one_thread_and_by_a_team() {
    let pool = thread_pool(2).unwrap();
    for path in paths() {
        for (tokens, dim) in [(1, 8), (17, 48), (300, 24), (760, 32)] {
            // q, k and v start at a tile each.
            let apart = padded(dim, path);
            let block = Block::new(&[(dim, 3 * apart)]);
            let x = numbers(30, tokens * dim);
            let normed = layer_norm_f64(&wide(&x), &block.norm.0, &block.norm.1);
            let want = block.f64(0, &normed);
            let hidden = tensor(&x, &[tokens, dim]);
            let mut bits = Vec::new();
            for team in [Team::One, Team::Pool(&pool)] {
                let out = self::tensor(
                    &vec![7.0; qkv_shape(path, dim, tokens).iter().product()],
                    &qkv_shape(path, dim, tokens),
                );
                let project = QkvProjection {
                    path,
                    norm: &block.norm(path),
                    qkv: &block.linear(path, 0),
                    team,
                };
                out.inplace_op2(&hidden, &project).unwrap();
                for part in 0..3 {
                    let found = unchunked(&out, part, tokens, apart);
                    let want: Vec<f64> = want
                        .chunks_exact(3 * apart)
                        .flat_map(|row| row[part * apart..(part + 1) * apart].to_vec())
                        .collect();
                    assert_close(&found, &want, 3e-5, &format!("{path} {tokens}×{dim}"));
                    bits.push(found);
                }
            }
            assert_eq!(bits[..3], bits[3..]);
        }
    }
}
