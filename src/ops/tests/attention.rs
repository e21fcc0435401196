//! Attention, with and without rotary positions, by one thread and by a team.

use super::chunks::{chunked, unchunked};
use super::reference::{assert_close, relative, softmax_f64};
use super::{numbers, paths};
use crate::ops::{
    Attention, AttentionSample, AttentionWithMaps, CpuPath, RotaryTable, TakeMaps, Team,
    WeightType, thread_pool,
};
use candle_core::InplaceOp1;
use std::ops::ControlFlow;

struct Case {
    heads: usize,
    head_dim: usize,
    lengths: Vec<usize>,
}

/// The result, and the maps of all sequences and heads.
fn attention_f64(case: &Case, qkv: &[f32], inv_freq: Option<&[f32]>) -> (Vec<f64>, Vec<Vec<f64>>) {
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
    let mut maps = Vec::new();
    let mut start = 0;
    for &len in &case.lengths {
        for h in 0..heads {
            let get = |t: usize, part: usize| -> Vec<f64> {
                let at = (start + t) * 3 * dim + part * dim + h * d;
                qkv[at..at + d].iter().map(|x| f64::from(*x)).collect()
            };
            let mut map = Vec::new();
            for t in 0..len {
                let scaled = get(t, 0).iter().map(|x| x / (d as f64).sqrt()).collect();
                let q = rotate(scaled, t);
                let scores: Vec<f64> = (0..len)
                    .map(|u| q.iter().zip(rotate(get(u, 1), u)).map(|(a, b)| a * b).sum())
                    .collect();
                let p = softmax_f64(&scores);
                map.extend(&p);
                for (u, p) in p.iter().enumerate() {
                    for (i, v) in get(u, 2).iter().enumerate() {
                        out[(start + t) * dim + h * d + i] += p * v;
                    }
                }
            }
            maps.push(map);
        }
        start += len;
    }
    (out, maps)
}

/// Takes the maps of some heads, up to a number of them.
struct Taken {
    heads: Vec<usize>,
    limit: usize,
    /// Sequence, head and map.
    maps: Vec<(usize, usize, Vec<f32>)>,
}

impl TakeMaps for Taken {
    fn wants(&self, head: usize) -> bool {
        self.heads.contains(&head)
    }

    fn take(&mut self, sequence: usize, head: usize, map: &[f32]) -> ControlFlow<()> {
        self.maps.push((sequence, head, map.to_vec()));
        match self.maps.len() == self.limit {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// The output, the maps (sequence, head, numbers), and whether all were taken.
type WithMaps = (Vec<f32>, Vec<(usize, usize, Vec<f32>)>, ControlFlow<()>);

fn attend_with_maps(
    op: Attention<'_>,
    qkv: &[f32],
    tokens: usize,
    heads: Vec<usize>,
    limit: usize,
) -> WithMaps {
    let dim = op.heads * op.head_dim;
    let t = chunked(op.path, qkv, 3, dim);
    let maps = Vec::new();
    let mut taken = Taken { heads, limit, maps };
    let mut buffer = Vec::new();
    let with = AttentionWithMaps::new(op, &mut taken, &mut buffer);
    t.inplace_op1(&with).unwrap();
    let flow = with.flow();
    (unchunked(&t, 0, tokens, dim), taken.maps, flow)
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
                let (want, want_maps) = attention_f64(&case, &qkv, rotary.map(|_| &inv_freq[..]));
                let rotates = rotary.is_some();
                let what = format!("{path} {weight_type:?} {heads}×{head_dim} rotary {rotates}");
                match weight_type {
                    WeightType::F16 => {
                        let found = relative(&y, &want);
                        assert!((1e-5..4e-4).contains(&found), "{what}: {found:.1e}");
                    }
                    _ => assert_close(&y, &want, 2e-5, &what),
                }

                let every = || (0..heads).collect();
                let (z, maps, flow) =
                    attend_with_maps(Attention { ..op }, &qkv, total, every(), usize::MAX);
                assert_eq!((z, flow), (y.clone(), ControlFlow::Continue(())), "{what}");
                let bound = match weight_type {
                    WeightType::F16 => 2e-3,
                    _ => 3e-6,
                };
                assert_eq!(maps.len(), want_maps.len());
                for (i, ((sequence, head, map), want)) in maps.iter().zip(&want_maps).enumerate() {
                    assert_eq!((*sequence, *head), (i / heads, i % heads), "{what}");
                    assert_close(map, want, bound, &what);
                }

                // A team, and each sequence in a separate call, give the same bits.
                let team = Team::Pool(&pool);
                assert_eq!(attend(&Attention { team, ..op }, &qkv, total), y, "{what}");
                let shared = Attention { team, ..op };
                let (z, parts, _) = attend_with_maps(shared, &qkv, total, every(), usize::MAX);
                assert_eq!((&z, &parts), (&y, &maps), "{what}");
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

#[test]
fn only_wanted_maps_are_handed_over_until_the_taker_has_enough() {
    let (heads, head_dim) = (3, 8);
    let cu_seqlens = [0, 5, 12];
    let qkv = numbers(3, 12 * 3 * heads * head_dim);
    let op = || Attention {
        path: CpuPath::detect(),
        weight_type: WeightType::F32,
        cu_seqlens: &cu_seqlens,
        heads,
        head_dim,
        rotary: None,
        team: Team::One,
    };
    let whole = attend(&op(), &qkv, 12);
    let names = |maps: &[(usize, usize, Vec<f32>)]| -> Vec<_> {
        maps.iter()
            .map(|&(s, h, ref map)| (s, h, map.len()))
            .collect()
    };
    let (y, maps, flow) = attend_with_maps(op(), &qkv, 12, vec![0, 2], usize::MAX);
    assert_eq!((y, flow), (whole, ControlFlow::Continue(())));
    assert_eq!(
        names(&maps),
        [(0, 0, 25), (0, 2, 25), (1, 0, 49), (1, 2, 49)]
    );
    let (_, some, flow) = attend_with_maps(op(), &qkv, 12, vec![0, 2], 3);
    assert_eq!((&some[..], flow), (&maps[..3], ControlFlow::Break(())));
}

/// Tiles of queries go through the keys of a long sequence together. The checksums are those of the
/// kernel that took one tile after the other.
#[test]
fn long_sequences_have_the_same_bits_in_groups_of_tiles() {
    let (tokens, heads, head_dim) = (2_100, 3, 8);
    let dim = heads * head_dim;
    let qkv: Vec<f32> = numbers(5, tokens * 3 * dim)
        .iter()
        .map(|x| x * 3.0)
        .collect();
    let table = RotaryTable::new(&[1.0, 0.1, 0.01, 0.001], tokens);
    let kinds = [
        (WeightType::F32, 0x31d6_af9e),
        (WeightType::F16, 0x9332_8440),
    ];
    for (path, (weight_type, expected)) in paths()
        .into_iter()
        .flat_map(|path| kinds.map(|kind| (path, kind)))
    {
        // 128 queries, then 67 of which the last three are a narrow tile on every path.
        let (queries, parts) = (195, 2);
        let sample = AttentionSample {
            attention: Attention {
                path,
                weight_type,
                cu_seqlens: &[0, tokens],
                heads,
                head_dim,
                rotary: Some(&table),
                team: Team::One,
            },
            queries,
            parts,
        };
        let t = chunked(path, &qkv, 3, dim);
        t.inplace_op1(&sample).unwrap();
        let mut crc = crc32fast::Hasher::new();
        for value in &unchunked(&t, 0, tokens, dim)[..queries * parts * dim] {
            crc.update(&value.to_le_bytes());
        }
        let found = crc.finalize();
        assert_eq!(found, expected, "{path} {weight_type:?}: {found:#010x}");
    }
}
