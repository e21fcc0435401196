//! Attention, with and without rotary positions, by one thread and by a team.

use super::chunks::{chunked, unchunked};
use super::reference::{assert_close, relative, softmax_f64};
use super::{numbers, paths};
use crate::ops::{Attention, RotaryTable, Team, WeightType, thread_pool};
use candle_core::InplaceOp1;

struct Case {
    heads: usize,
    head_dim: usize,
    lengths: Vec<usize>,
}

fn attention_f64(case: &Case, qkv: &[f32], inv_freq: Option<&[f32]>) -> Vec<f64> {
    let (heads, d) = (case.heads, case.head_dim);
    let dim = heads * d;
    let rotate = |x: Vec<f64>, position: usize| -> Vec<f64> {
        let Some(inv_freq) = inv_freq else { return x };
        let h = d / 2;
        (0..d)
            .map(|i| {
                let angle = f64::from(position as f32 * inv_freq[i % h]);
                let other = if i < h { -x[i + h] } else { x[i - h] };
                x[i] * angle.cos() + other * angle.sin()
            })
            .collect()
    };
    let total: usize = case.lengths.iter().sum();
    let mut out = vec![0.0; total * dim];
    let mut start = 0;
    for &len in &case.lengths {
        for h in 0..heads {
            let get = |t: usize, part: usize| -> Vec<f64> {
                let at = (start + t) * 3 * dim + part * dim + h * d;
                qkv[at..at + d].iter().map(|x| f64::from(*x)).collect()
            };
            for t in 0..len {
                let scaled = get(t, 0).iter().map(|x| x / (d as f64).sqrt()).collect();
                let q = rotate(scaled, t);
                let scores: Vec<f64> = (0..len)
                    .map(|u| q.iter().zip(rotate(get(u, 1), u)).map(|(a, b)| a * b).sum())
                    .collect();
                let p = softmax_f64(&scores);
                for (u, p) in p.iter().enumerate() {
                    for (i, v) in get(u, 2).iter().enumerate() {
                        out[(start + t) * dim + h * d + i] += p * v;
                    }
                }
            }
        }
        start += len;
    }
    out
}

fn attend(op: &Attention<'_>, qkv: &[f32], tokens: usize) -> Vec<f32> {
    let dim = op.heads * op.head_dim;
    let t = chunked(op.path, qkv, 3, dim);
    t.inplace_op1(op).unwrap();
    assert_eq!(InplaceOp1::name(op), "attention");
    unchunked(&t, 0, tokens, dim)
}

#[test]
fn attention_equals_the_reference_for_every_head_size_and_ragged_length() {
    let kinds = [WeightType::F32, WeightType::F16];
    for (path, weight_type) in paths()
        .into_iter()
        .flat_map(|path| kinds.map(|kind| (path, kind)))
    {
        for (heads, head_dim) in [(3, 16), (2, 24), (2, 32), (1, 64), (1, 128), (2, 8), (1, 2)] {
            let lengths = vec![2, 1, 3, 33, 17, 64, 130, 15, 600];
            let case = Case {
                heads,
                head_dim,
                lengths,
            };
            let total: usize = case.lengths.iter().sum();
            let dim = heads * head_dim;
            let qkv: Vec<f32> = numbers(14, total * 3 * dim)
                .iter()
                .map(|x| x * 3.0)
                .collect();
            let inv_freq: Vec<f32> = (0..head_dim / 2)
                .map(|i| 10000f32.powf(-2.0 * i as f32 / head_dim as f32))
                .collect();
            let table = RotaryTable::new(&inv_freq, 600);
            let pool = thread_pool(2).unwrap();
            let mut cu_seqlens = vec![0];
            for len in &case.lengths {
                cu_seqlens.push(cu_seqlens.last().unwrap() + len);
            }
            for rotary in [Some(&table), None] {
                let op = Attention {
                    path,
                    weight_type,
                    cu_seqlens: &cu_seqlens,
                    heads,
                    head_dim,
                    rotary,
                    team: Team::One,
                };
                let y = attend(&op, &qkv, total);
                let want = attention_f64(&case, &qkv, rotary.map(|_| &inv_freq[..]));
                let rotates = rotary.is_some();
                let what = format!("{path} {weight_type:?} {heads}×{head_dim} rotary {rotates}");
                match weight_type {
                    WeightType::F16 => {
                        let found = relative(&y, &want);
                        assert!((1e-5..4e-4).contains(&found), "{what}: {found:.1e}");
                    }
                    _ => assert_close(&y, &want, 2e-5, &what),
                }

                // A team, and each sequence in a separate call, give the same bits.
                let team = Team::Pool(&pool);
                assert_eq!(attend(&Attention { team, ..op }, &qkv, total), y, "{what}");
                for w in cu_seqlens.windows(2) {
                    let cu_seqlens = &[0, w[1] - w[0]];
                    let rows = &qkv[w[0] * 3 * dim..w[1] * 3 * dim];
                    let op = Attention { cu_seqlens, ..op };
                    let z = attend(&op, rows, w[1] - w[0]);
                    assert_eq!(z, y[w[0] * dim..w[1] * dim], "{what}");
                }
            }
        }
    }
}
