//! Every kernel against a plain f64 reference, on every path that this processor has.

use super::math::{Function, map};
use super::simd::{Kernel, Simd};
use super::*;
use candle_core::{Device, InplaceOp1, Tensor};
use half::{bf16, f16};
use std::convert::Infallible;

fn paths() -> Vec<CpuPath> {
    [CpuPath::Portable, CpuPath::Avx2, CpuPath::Avx512]
        .into_iter()
        .filter(|p| p.is_available())
        .collect()
}

/// Reproducible numbers in −1 .. 1.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn pack(path: CpuPath, kind: WeightType, w: &[f32], b: &[f32], k: usize) -> Linear {
    Linear::pack(path, kind, k, b.len(), b, |n, row: &mut [f32]| {
        row.copy_from_slice(&w[n * k..(n + 1) * k]);
        Ok::<_, Infallible>(())
    })
    .unwrap()
}

fn erf64(x: f64) -> f64 {
    // Maclaurin series up to 3, the continued fraction of erfc beyond.
    let a = x.abs();
    let y = if a < 3.0 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-18 {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut f = a;
        for n in (1..200).rev() {
            f = a + f64::from(n) / 2.0 / f;
        }
        1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / f
    };
    y.copysign(x)
}

/// Every 4099th f32 of the whole range, the specials, and a fine grid where it matters.
fn arguments() -> Vec<f32> {
    let mut all: Vec<f32> = (0..u32::MAX)
        .step_by(4099)
        .map(f32::from_bits)
        .filter(|x| !x.is_nan())
        .collect();
    all.extend((-120_000..120_000).map(|i| i as f32 / 1000.0 + 1e-5));
    all.extend([
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
    ]);
    all
}

fn ulp(x: f64) -> f64 {
    let x = (x.abs() as f32).max(f32::MIN_POSITIVE);
    f64::from(f32::from_bits(x.to_bits() + 1)) - f64::from(x)
}

#[test]
fn exp_keeps_its_stated_error_over_the_whole_range() {
    for path in paths() {
        let x = arguments();
        let mut y = x.clone();
        map(path, Function::Exp, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let want = f64::from(*x).exp();
            if want > f64::from(f32::MAX) {
                assert!(
                    *y == f32::INFINITY || f64::from(*y) > 3.402e38,
                    "exp({x}) = {y}"
                );
            } else {
                let error = (f64::from(*y) - want).abs() / ulp(want);
                let bound = if path == CpuPath::Portable { 4.0 } else { 2.0 };
                assert!(error <= bound, "{path}: exp({x}) = {y}, off by {error} ulp");
            }
        }
        let mut special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        map(path, Function::Exp, &mut special);
        assert!(special[0].is_nan());
        assert_eq!(special[1..], [f32::INFINITY, 0.0, 1.0, 1.0]);
    }
}

#[test]
fn exp2_keeps_its_stated_error_over_its_whole_range() {
    for path in paths() {
        let x: Vec<f32> = arguments().into_iter().filter(|x| *x <= 0.0).collect();
        let mut y = x.clone();
        map(path, Function::Exp2, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let want = f64::from(*x).max(-64.0).exp2();
            let error = (f64::from(*y) - want).abs() / ulp(want);
            assert!(error <= 2.0, "{path}: 2^{x} = {y}, off by {error} ulp");
        }
        let mut special = [f32::NAN, f32::NEG_INFINITY, 0.0, -0.0, -1.0, -64.0];
        map(path, Function::Exp2, &mut special);
        assert!(special[0].is_nan());
        let least = 2f32.powi(-64);
        assert_eq!(special[1..], [least, 1.0, 1.0, 0.5, least]);
    }
}

#[test]
fn erf_keeps_its_stated_error_over_the_whole_range() {
    for path in paths() {
        let x = arguments();
        let mut y = x.clone();
        map(path, Function::Erf, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let want = erf64(f64::from(*x));
            let error = (f64::from(*y) - want).abs();
            assert!(error <= 1.8e-7, "{path}: erf({x}) = {y}, off by {error}");
            assert!(
                error <= 3.0 * ulp(want),
                "{path}: erf({x}) = {y}, off by {error}"
            );
        }
        let mut special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0];
        map(path, Function::Erf, &mut special);
        assert!(special[0].is_nan());
        assert_eq!(special[1..], [1.0, -1.0, 0.0]);
    }
}

#[test]
fn gelu_is_the_erf_form_not_the_tanh_one() {
    for path in paths() {
        let x: Vec<f32> = arguments().into_iter().filter(|x| x.abs() < 1e30).collect();
        let mut y = x.clone();
        map(path, Function::Gelu, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let v = f64::from(*x);
            let want = v * 0.5 * (1.0 + erf64(v / 2f64.sqrt()));
            let error = (f64::from(*y) - want).abs();
            assert!(
                error <= 1.2e-7 * v.abs().max(1.0),
                "{path}: gelu({x}) = {y}, {want}"
            );
        }
        // The tanh form gives 0.841192 and −0.045402 at these places.
        let mut known = [1.0, -2.0, f32::INFINITY, f32::NAN, f32::NEG_INFINITY];
        map(path, Function::Gelu, &mut known);
        assert!((known[0] - 0.841_344_7).abs() < 2e-7, "{known:?}");
        assert!((known[1] + 0.045_500_26).abs() < 2e-7, "{known:?}");
        assert_eq!(known[2], f32::INFINITY);
        assert!(known[3].is_nan());
        assert!(known[4].abs() < 3e-10);
    }
}

fn linear_f64(x: &[f32], w: &[f32], b: &[f32], k: usize) -> Vec<f64> {
    x.chunks_exact(k)
        .flat_map(|row| {
            w.chunks_exact(k).zip(b).map(|(w, b)| {
                f64::from(*b)
                    + row
                        .iter()
                        .zip(w)
                        .map(|(x, w)| f64::from(*x) * f64::from(*w))
                        .sum::<f64>()
            })
        })
        .collect()
}

fn assert_close(found: &[f32], want: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), want.len(), "{what}");
    for (i, (f, w)) in found.iter().zip(want).enumerate() {
        let error = (f64::from(*f) - w).abs();
        assert!(error <= bound, "{what}: element {i} is {f}, wanted {w}");
    }
}

#[test]
fn linear_equals_the_reference_at_every_ragged_size() {
    for path in paths() {
        for (t, k, n) in [
            (1, 1, 1),
            (1, 16, 32),
            (2, 48, 48),
            (13, 31, 33),
            (14, 256, 64),
            (15, 257, 31),
            (29, 300, 96),
            (505, 64, 40),
            (61, 513, 70),
            (3, 1300, 70),
            (300, 2700, 40),
        ] {
            let (x, w) = (numbers(1, t * k), numbers(2, n * k));
            let b = numbers(3, n);
            let bound = 3e-6 * (k as f64).sqrt();
            let what = format!("{path} {t}×{k}×{n}");
            let want = linear_f64(&x, &w, &b, k);
            let layer = pack(path, WeightType::F32, &w, &b, k);
            let tx = tensor(&x, &[t, k]);

            let y = tx.apply_op1_no_bwd(&&layer).unwrap();
            assert_eq!(y.dims(), [t, n]);
            assert_close(&values(&y), &want, bound, &what);
        }
    }
}

#[test]
fn half_precision_weights_are_rounded_once_and_used_in_f32() {
    let (t, k, n) = (9, 70, 50);
    let (x, w, b) = (numbers(5, t * k), numbers(6, n * k), numbers(7, n));
    let f16: Vec<f32> = w.iter().map(|w| half::f16::from_f32(*w).to_f32()).collect();
    let bf16: Vec<f32> = w
        .iter()
        .map(|w| half::bf16::from_f32(*w).to_f32())
        .collect();
    for path in paths() {
        for (kind, rounded) in [(WeightType::F16, &f16), (WeightType::Bf16, &bf16)] {
            let tx = tensor(&x, &[t, k]);
            let stored = pack(path, kind, &w, &b, k);
            let exact = pack(path, WeightType::F32, rounded, &b, k);
            assert_eq!(stored.bytes() * 2, exact.bytes());
            let (a, e) = (
                tx.apply_op1_no_bwd(&&stored).unwrap(),
                tx.apply_op1_no_bwd(&&exact).unwrap(),
            );
            assert_eq!(values(&a), values(&e), "{path} {kind:?}");
            assert_close(&values(&a), &linear_f64(&x, rounded, &b, k), 3e-5, "half");
        }
    }
}

/// Widens halves and bfloat16s.
struct Widen<'a> {
    f16: &'a [f16],
    bf16: &'a [bf16],
    wide: [&'a mut [f32]; 2],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for i in (0..self.f16.len()).step_by(S::LANES) {
            // SAFETY: all four have the same length, a multiple of the lanes.
            unsafe {
                let v = S::load_f16(self.f16.as_ptr().add(i));
                S::store(self.wide[0].as_mut_ptr().add(i), v);
                let v = S::load_bf16(self.bf16.as_ptr().add(i));
                S::store(self.wide[1].as_mut_ptr().add(i), v);
            }
        }
    }
}

#[test]
fn every_half_precision_number_is_widened_exactly() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let bfloats: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    for path in paths() {
        let (mut a, mut b) = (vec![0.0f32; 65_536], vec![0.0f32; 65_536]);
        path.dispatch(Widen {
            f16: &halves,
            bf16: &bfloats,
            wide: [&mut a, &mut b],
        });
        for (half, wide) in halves.iter().zip(&a) {
            let same = wide.to_bits() == half.to_f32().to_bits();
            assert!(same || (half.is_nan() && wide.is_nan()), "{path}: {half}");
        }
        for (bfloat, wide) in bfloats.iter().zip(&b) {
            let same = wide.to_bits() == bfloat.to_f32().to_bits();
            assert!(
                same || (bfloat.is_nan() && wide.is_nan()),
                "{path}: {bfloat}"
            );
        }
        // The least half, one and a half, and the largest.
        assert_eq!(a[0x0001], 2f32.powi(-24));
        assert_eq!((a[0x3e00], a[0x7bff]), (1.5, 65504.0));
        assert_eq!((b[0x0001], b[0x3fc0]), (2f32.powi(-133), 1.5));
    }
}

#[test]
fn a_row_of_a_product_has_the_same_bits_among_any_others() {
    let (k, n, most) = (300, 70, 530);
    let (x, w, b) = (numbers(8, most * k), numbers(9, n * k), numbers(10, n));
    for path in paths() {
        let layer = pack(path, WeightType::F32, &w, &b, k);
        let all = values(&tensor(&x, &[most, k]).apply_op1_no_bwd(&&layer).unwrap());
        for (start, rows) in [
            (0, 1),
            (7, 2),
            (3, 13),
            (100, 14),
            (1, 15),
            (26, 503),
            (0, 505),
        ] {
            let part = tensor(&x[start * k..(start + rows) * k], &[rows, k]);
            let part = values(&part.apply_op1_no_bwd(&&layer).unwrap());
            assert_eq!(
                part,
                all[start * n..(start + rows) * n],
                "{path} {start}+{rows}"
            );
        }
    }
}

#[test]
fn layer_norm_equals_the_reference_also_with_outliers() {
    for path in paths() {
        for dim in [1, 8, 20, 48, 320, 333] {
            let mut x = numbers(11, 3 * dim);
            // A channel far from the rest, as trained ESM-2 has them.
            x[dim / 2] += 300.0;
            let (w, b) = (numbers(12, dim), numbers(13, dim));
            let norm = LayerNorm::new(path, w.clone(), b.clone(), 1e-5);
            let y = tensor(&x, &[3, dim]).apply_op1_no_bwd(&&norm).unwrap();
            let want: Vec<f64> = x
                .chunks_exact(dim)
                .flat_map(|row| {
                    let d = dim as f64;
                    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / d;
                    let var = row
                        .iter()
                        .map(|x| (f64::from(*x) - mean).powi(2))
                        .sum::<f64>()
                        / d;
                    let (w, b) = (w.clone(), b.clone());
                    row.iter()
                        .enumerate()
                        .map(move |(i, x)| {
                            (f64::from(*x) - mean) / (var + 1e-5).sqrt() * f64::from(w[i])
                                + f64::from(b[i])
                        })
                        .collect::<Vec<_>>()
                })
                .collect();
            assert_close(&values(&y), &want, 5e-5, &format!("{path} dim {dim}"));
        }
    }
}

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
                let most = scores.iter().copied().fold(f64::MIN, f64::max);
                let p: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                let sum: f64 = p.iter().sum();
                for (u, p) in p.iter().enumerate() {
                    for (i, v) in get(u, 2).iter().enumerate() {
                        out[(start + t) * dim + h * d + i] += p / sum * v;
                    }
                }
            }
        }
        start += len;
    }
    out
}

#[test]
fn attention_equals_the_reference_for_every_head_size_and_ragged_length() {
    let fixed = CpuPath::Avx512Vnni;
    for path in paths()
        .into_iter()
        .chain(fixed.is_available().then_some(fixed))
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
            let pool = pool(2).unwrap();
            let mut cu_seqlens = vec![0];
            for len in &case.lengths {
                cu_seqlens.push(cu_seqlens.last().unwrap() + len);
            }
            for rotary in [Some(&table), None] {
                let op = Attention {
                    path,
                    cu_seqlens: &cu_seqlens,
                    heads,
                    head_dim,
                    rotary,
                    team: Team::One,
                };
                let y = attend(&op, &qkv, total);
                let want = attention_f64(&case, &qkv, rotary.map(|_| &inv_freq[..]));
                let what = format!("{path} {heads}×{head_dim} rotary {}", rotary.is_some());
                match path {
                    CpuPath::Avx512Vnni => {
                        let found = relative(&y, &want);
                        assert!((1e-5..4e-4).contains(&found), "{what}: {found:.1e}");
                    }
                    _ => assert_close(&y, &want, 2e-5, &what),
                }

                // Each sequence alone, and shared by a team, gives the same bits.
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

/// `[T, parts·D]` → `[parts, D / lanes, rows, lanes]`; what is beyond the tokens is NaN, as a
/// neighbour's rows might be.
fn chunked(path: CpuPath, x: &[f32], parts: usize, dim: usize) -> Tensor {
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

/// Part 0 of such a tensor as `[T, D]`; its padding must be zero.
fn unchunked(x: &Tensor, part: usize, tokens: usize, dim: usize) -> Vec<f32> {
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

fn attend(op: &Attention<'_>, qkv: &[f32], tokens: usize) -> Vec<f32> {
    let dim = op.heads * op.head_dim;
    let t = chunked(op.path, qkv, 3, dim);
    t.inplace_op1(op).unwrap();
    assert_eq!(InplaceOp1::name(op), "attention");
    unchunked(&t, 0, tokens, dim)
}

fn layer_norm_f64(x: &[f64], w: &[f32], b: &[f32]) -> Vec<f64> {
    let d = w.len() as f64;
    x.chunks_exact(w.len())
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / d;
            let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d;
            row.iter().zip(w.iter().zip(b)).map(move |(x, (w, b))| {
                (x - mean) / (var + 1e-5).sqrt() * f64::from(*w) + f64::from(*b)
            })
        })
        .collect()
}

/// Weights of a block of `dim` features with an inner layer of `inner`.
struct Block {
    norm: (Vec<f32>, Vec<f32>),
    layers: Vec<(Vec<f32>, Vec<f32>, usize)>,
}

impl Block {
    fn new(shapes: &[(usize, usize)]) -> Block {
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

    fn norm(&self, path: CpuPath) -> LayerNorm {
        LayerNorm::new(path, self.norm.0.clone(), self.norm.1.clone(), 1e-5)
    }

    fn linear(&self, path: CpuPath, i: usize) -> Linear {
        let (w, b, k) = &self.layers[i];
        pack(path, WeightType::F32, w, b, *k)
    }

    fn f64(&self, i: usize, x: &[f64]) -> Vec<f64> {
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

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn projection_equals_the_reference_alone_and_by_a_team() {
    let pool = pool(2).unwrap();
    for path in paths() {
        for (tokens, dim) in [(1, 8), (17, 48), (300, 24), (760, 32)] {
            // q, k and v start with a tile each.
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
                let project = Project {
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

#[test]
fn feed_forward_equals_the_reference_alone_and_by_a_team() {
    let pool = pool(2).unwrap();
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
                // The places of k and v are not looked at.
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

#[test]
fn wrong_shapes_are_errors() {
    let layer = pack(CpuPath::detect(), WeightType::F32, &[1.0, 2.0], &[0.0], 2);
    assert!(
        tensor(&[1.0; 3], &[1, 3])
            .apply_op1_no_bwd(&&layer)
            .is_err()
    );
    let x = tensor(&[1.0; 2], &[1, 2]);
    let norm = LayerNorm::new(CpuPath::detect(), vec![1.0; 4], vec![0.0; 4], 1e-5);
    assert!(x.apply_op1_no_bwd(&&norm).is_err());
    let path = CpuPath::detect();
    let qkv = chunked(path, &[1.0; 6], 3, 2);
    let bounds: [&[usize]; 4] = [&[0, 2], &[1], &[], &[0, 3, 1]];
    for cu_seqlens in bounds {
        let op = Attention {
            path,
            cu_seqlens,
            heads: 1,
            head_dim: 2,
            rotary: None,
            team: Team::One,
        };
        assert!(qkv.inplace_op1(&op).is_err());
    }
    let project = Project {
        path,
        norm: &norm,
        qkv: &layer,
        team: Team::One,
    };
    assert!(qkv.inplace_op2(&x, &project).is_err());
    let feed_forward = FeedForward {
        path,
        out: &layer,
        norm: &norm,
        fc1: &layer,
        fc2: &layer,
        team: Team::One,
    };
    assert!(x.inplace_op2(&qkv, &feed_forward).is_err());
}

/// ‖found − want‖ / ‖want‖.
fn relative(found: &[f32], want: &[f64]) -> f64 {
    let pairs = found.iter().zip(want);
    let error: f64 = pairs.map(|(f, w)| (f64::from(*f) - w).powi(2)).sum();
    let size: f64 = want.iter().map(|w| w * w).sum();
    (error / size.max(f64::MIN_POSITIVE)).sqrt()
}

/// Operands are rounded to within 2e-4 of the length of each block of 512, sums are exact.
#[test]
fn fixed_point_products_keep_their_stated_error_and_their_rows_bits() {
    let path = CpuPath::Avx512Vnni;
    if !path.is_available() {
        return;
    }
    for (t, k, n) in [
        (1, 16, 32),
        (3, 31, 33),
        (15, 257, 96),
        (300, 640, 70),
        (61, 2700, 40),
        (5, 1024, 33),
    ] {
        let (mut x, w, b) = (numbers(5, t * k), numbers(6, n * k), numbers(7, n));
        // Rows and blocks of very different size: each has a scale of its own.
        for (row, values) in x.chunks_exact_mut(k).enumerate() {
            let scale = [1.0, 3e5, 1e-6, 0.0, 1e25][row % 5];
            values.iter_mut().for_each(|x| *x *= scale);
            values.iter_mut().skip(512).for_each(|x| *x *= 1e-3);
        }
        let layer = pack(path, WeightType::F16, &w, &b, k);
        let all = values(&tensor(&x, &[t, k]).apply_op1_no_bwd(&&layer).unwrap());
        let zero = vec![0.0; n];
        let none = pack(path, WeightType::F16, &w, &zero, k);
        let products = values(&tensor(&x, &[t, k]).apply_op1_no_bwd(&&none).unwrap());
        let want = linear_f64(&x, &w, &zero, k);
        for (row, (found, want)) in products
            .chunks_exact(n)
            .zip(want.chunks_exact(n))
            .enumerate()
        {
            let found = relative(found, want);
            assert!(found <= 4e-4, "{t}×{k}×{n} row {row}: {found:.1e}");
        }
        let last = tensor(&x[(t - 1) * k..], &[1, k]);
        let alone = values(&last.apply_op1_no_bwd(&&layer).unwrap());
        assert_eq!(alone, all[(t - 1) * n..], "{t}×{k}×{n}");
    }
}

/// The most that 16 bits and a block of 512 can sum up to: every product has the same sign and
/// size, or one product is all there is.
#[test]
fn fixed_point_sums_do_not_overflow() {
    let path = CpuPath::Avx512Vnni;
    if !path.is_available() {
        return;
    }
    let ends = |f: usize| if f == 300 { 1.0 } else { 0.0 };
    let rows: [&dyn Fn(usize) -> f32; 4] = [&|_| 1.0, &|_| -1.0, &ends, &|f| {
        if f.is_multiple_of(2) { 1.0 } else { 1e-3 }
    }];
    for k in [32, 511, 512, 1500] {
        let x: Vec<f32> = rows.iter().flat_map(|row| (0..k).map(row)).collect();
        let layer = pack(path, WeightType::F16, &x, &[0.0; 4], k);
        let y = values(&tensor(&x, &[4, k]).apply_op1_no_bwd(&&layer).unwrap());
        let want = linear_f64(&x, &x, &[0.0; 4], k);
        for (found, want) in y.iter().zip(&want) {
            let error = (f64::from(*found) - want).abs();
            assert!(error <= 2e-4 * want.abs() + 1e-3, "{k}: {found} for {want}");
        }
    }
}

#[test]
fn fixed_point_keeps_what_is_not_a_number() {
    let path = CpuPath::Avx512Vnni;
    if !path.is_available() {
        return;
    }
    let layer = pack(
        path,
        WeightType::F16,
        &numbers(1, 40 * 600),
        &[0.0; 40],
        600,
    );
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = numbers(2, 3 * 600);
        x[600 + 17] = bad;
        let y = values(&tensor(&x, &[3, 600]).apply_op1_no_bwd(&&layer).unwrap());
        for (i, y) in y.iter().enumerate() {
            assert_eq!(y.is_nan(), i / 40 == 1, "{bad} {i}");
        }
    }
}
