//! The projection to queries, keys and values.

use super::block::Block;
use super::chunks::unchunked;
use super::reference::{assert_close, layer_norm_f64};
use super::{numbers, paths, tensor, wide};
use crate::ops::{LayerNorm, QkvProjection, Team, padded, qkv_shape, thread_pool};

#[test]
fn projection_equals_the_reference_by_one_thread_and_by_a_team() {
    check(false);
    check(true);
}

/// With norms of q and k over all their features, or without.
fn check(is_normed: bool) {
    let pool = thread_pool(2).unwrap();
    for path in paths() {
        for (tokens, dim) in [(1, 8), (17, 48), (300, 24), (760, 32)] {
            // q, k and v start at a tile each.
            let apart = padded(dim, path);
            // Without norms, the padding has values too, to see that each part begins with a tile.
            let width = if is_normed { dim } else { apart };
            let block = Block::new(&[(dim, 3 * apart)]);
            let x = numbers(30, tokens * dim);
            let normed = layer_norm_f64(&wide(&x), &block.norm.0, &block.norm.1);
            let want = block.f64(0, &normed);
            // Weights that differ, and no bias, as in ESM C.
            let weights = [numbers(31, dim), numbers(32, dim)];
            let none = vec![0.0; dim];
            let norms = weights
                .clone()
                .map(|weight| LayerNorm::new(path, weight, none.clone(), 1e-5));
            let hidden = tensor(&x, &[tokens, dim]);
            let qkv = match is_normed {
                true => block.padded(path, dim, apart),
                false => block.linear(path, 0),
            };
            let mut bits = Vec::new();
            for team in [Team::One, Team::Pool(&pool)] {
                let out = self::tensor(
                    &vec![7.0; qkv_shape(path, dim, tokens).iter().product()],
                    &qkv_shape(path, dim, tokens),
                );
                let project = QkvProjection {
                    path,
                    norm: &block.norm(path),
                    qkv: &qkv,
                    qk_norms: is_normed.then_some(&norms),
                    team,
                };
                out.inplace_op2(&hidden, &project).unwrap();
                for part in 0..3 {
                    let found = unchunked(&out, part, tokens, width);
                    let rows = want.chunks_exact(3 * apart);
                    let want: Vec<f64> = match weights.get(part).filter(|_| is_normed) {
                        Some(weight) => {
                            let rows = rows.flat_map(|row| row[part * apart..][..dim].to_vec());
                            layer_norm_f64(&rows.collect::<Vec<_>>(), weight, &none)
                        }
                        None => rows
                            .flat_map(|row| row[part * apart..][..width].to_vec())
                            .collect(),
                    };
                    let what = format!("{path} {tokens}×{dim} {is_normed} {part}");
                    assert_close(&found, &want, 3e-5, &what);
                    bits.push(found);
                }
            }
            assert_eq!(bits[..3], bits[3..]);
        }
    }
}
