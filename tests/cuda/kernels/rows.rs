//! The kernels that work on each row by itself.

use super::host::{Kernels, Launch};
use super::numbers::{Format, Random, assert_close, ints, poison};

/// Rows of each test, and one more that must stay unchanged.
const ROWS: usize = 7;

fn bytes(values: &[f32]) -> Vec<u8> {
    Format::F32.bytes(values)
}

fn values(bytes: &[u8]) -> Vec<f32> {
    Format::F32.values(bytes)
}

#[test]
fn embedding_is_scaled_and_placed_in_f32() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        let dim = 328;
        // More than a byte can count: structure-aware alphabets have 446 tokens.
        let table = random.normals(446 * dim, 1.0);
        let places = random.normals(20 * dim, 1.0);
        let tokens: Vec<u16> = (0..ROWS).map(|_| random.between(0, 445) as u16).collect();
        let scales: Vec<f32> = (0..ROWS).map(|t| if t == 3 { 0.0 } else { 0.88 }).collect();
        let positions: Vec<i32> = (0..ROWS).map(|_| random.between(0, 17) as i32).collect();
        for is_learned in [false, true] {
            let x = poison(Format::F32, (ROWS + 1) * dim);
            let at = if is_learned { bytes(&places) } else { vec![] };
            let done = kernels.run(
                "embed",
                Launch::rows(ROWS),
                &[dim as f64],
                &[
                    x.clone(),
                    bytes(&table),
                    at,
                    tokens
                        .iter()
                        .flat_map(|token| token.to_le_bytes())
                        .collect(),
                    bytes(&scales),
                    ints(positions.clone()),
                ],
            );
            let found = values(&done[0]);
            for t in 0..ROWS {
                for c in 0..dim {
                    let of_token = table[usize::from(tokens[t]) * dim + c];
                    let expected = match is_learned {
                        true => {
                            let place = places[(positions[t] as usize + 2) * dim + c];
                            of_token.mul_add(scales[t], place)
                        }
                        false => of_token * scales[t],
                    };
                    assert_eq!(found[t * dim + c], expected, "row {t}, column {c}");
                }
            }
            assert_eq!(done[0][ROWS * dim * 4..], x[ROWS * dim * 4..]);
        }
    }
}

/// A kernel of a LayerNorm: its name, format and width.
const NORMS: [(&str, Format, usize); 6] = [
    ("add_norm_f16_1", Format::F16, 320),
    ("add_norm_bf16_3", Format::Bf16, 1280),
    ("add_norm_f32_10", Format::F32, 5120),
    ("final_norm_f16_1", Format::F16, 512),
    ("final_norm_bf16_3", Format::Bf16, 1288),
    ("final_norm_f32_10", Format::F32, 5112),
];

#[test]
fn residual_and_layer_norm_take_two_passes() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        let norms = NORMS.iter().copied();
        for (name, format, dim) in norms.filter(|(_, format, _)| kernels.formats().contains(format))
        {
            let is_final = name.starts_with("final");
            let mut x = random.normals((ROWS + 1) * dim, 1.0);
            // A mean far from zero, where E[x²] − mean² would lose all digits, and an outlier channel
            // like those of ESM.
            x[dim..2 * dim].iter_mut().for_each(|x| *x += 3000.0);
            x[2 * dim + 5] = 500.0;
            let y = random.normals(ROWS * dim, 1.0);
            let y = format.rounded(&y);
            let y_bias = random.normals(dim, 1.0);
            let weight = random.normals(dim, 1.0);
            let bias = random.normals(dim, 0.1);
            for (has_y, has_norm) in [(true, true), (false, true), (true, false)] {
                let or_null = |has: bool, bytes: Vec<u8>| if has { bytes } else { vec![] };
                let out = poison(format, (ROWS + 1) * dim);
                let done = kernels.run(
                    name,
                    Launch::rows(ROWS),
                    &[dim as f64, 1e-5],
                    &[
                        bytes(&x),
                        or_null(has_y, format.bytes(&y)),
                        bytes(&y_bias),
                        or_null(has_norm, bytes(&weight)),
                        bytes(&bias),
                        out.clone(),
                    ],
                );
                let mut sums: Vec<f32> = x[..ROWS * dim].to_vec();
                if has_y {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum += y[i] + y_bias[i % dim];
                    }
                }
                let untouched = &x[ROWS * dim..];
                assert_eq!(values(&done[0])[ROWS * dim..], *untouched, "{name}");
                if !is_final || !has_norm {
                    assert_eq!(values(&done[0])[..ROWS * dim], sums, "{name}");
                }
                if !has_norm {
                    assert_eq!(done[5], out, "{name}");
                    continue;
                }
                let mut expected = Vec::new();
                for row in sums.chunks_exact(dim) {
                    let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
                    let mean = row.iter().sum::<f64>() / dim as f64;
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / dim as f64;
                    let scale = 1.0 / (variance + 1e-5).sqrt();
                    expected.extend(row.iter().enumerate().map(|(c, x)| {
                        (x - mean) * scale * f64::from(weight[c]) + f64::from(bias[c])
                    }));
                }
                let found = if is_final {
                    values(&done[0])[..ROWS * dim].to_vec()
                } else {
                    let all = format.values(&done[5]);
                    assert!(all[ROWS * dim..].iter().all(|x| x.is_nan()), "{name}");
                    all[..ROWS * dim].to_vec()
                };
                let rounding = if is_final { Format::F32 } else { format }.rounding();
                // An f32 near 3000 is accurate to 1.2e-4, and so is its distance from the mean.
                let known = |i: usize| if i / dim == 1 { 1e-3 } else { 5e-6 };
                assert_close(name, &found, &expected, |i| {
                    expected[i].abs() * rounding
                        + known(i) * f64::from(weight[i % dim].abs())
                        + 1e-6
                });
            }
        }
    }
}

#[test]
fn bias_scale_and_rotation_of_q_and_k() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        for &format in kernels.formats() {
            for (heads, head_dim) in [(3, 16), (2, 24), (5, 32), (2, 64), (1, 128)] {
                let (dim, half) = (heads * head_dim, head_dim / 2);
                let qkv = format.rounded(&random.normals((ROWS + 1) * 3 * dim, 2.0));
                let bias = random.normals(3 * dim, 1.0);
                let angles: Vec<f64> = (0..50 * half)
                    .map(|_| f64::from(random.normal(100.0)))
                    .collect();
                let cosines: Vec<f32> = angles.iter().map(|a| a.cos() as f32).collect();
                let sines: Vec<f32> = angles.iter().map(|a| a.sin() as f32).collect();
                let positions: Vec<i32> = (0..ROWS).map(|_| random.between(0, 49) as i32).collect();
                let scale = 0.25f32;
                for is_rotary in [true, false] {
                    let table = |t: &[f32]| if is_rotary { bytes(t) } else { vec![] };
                    let name = format!("bias_rotary_{}", format.name());
                    let done = kernels.run(
                        &name,
                        Launch::rows(ROWS),
                        &[f64::from(scale), dim as f64, half as f64],
                        &[
                            format.bytes(&qkv),
                            bytes(&bias),
                            table(&cosines),
                            table(&sines),
                            ints(positions.clone()),
                        ],
                    );
                    let found = format.values(&done[0]);
                    assert_eq!(found[ROWS * 3 * dim..], qkv[ROWS * 3 * dim..], "{name}");
                    let mut expected = Vec::new();
                    let mut sizes = Vec::new();
                    for t in 0..ROWS {
                        for c in 0..3 * dim {
                            let part = c / dim;
                            // The attention adds the bias of v.
                            if part == 2 {
                                expected.push(f64::from(qkv[t * 3 * dim + c]));
                                sizes.push(0.0);
                                continue;
                            }
                            let factor = if part == 0 { f64::from(scale) } else { 1.0 };
                            let at = |c: usize| {
                                let x = f64::from(qkv[t * 3 * dim + c]) + f64::from(bias[c]);
                                x * factor
                            };
                            let i = c % dim % head_dim;
                            if !is_rotary {
                                expected.push(at(c));
                                sizes.push(at(c).abs());
                                continue;
                            }
                            let angle = positions[t] as usize * half + i % half;
                            let (cos, sin) = (f64::from(cosines[angle]), f64::from(sines[angle]));
                            let other = if i < half {
                                -at(c + half)
                            } else {
                                at(c - half)
                            };
                            expected.push(at(c) * cos + other * sin);
                            sizes.push(at(c).abs() + other.abs());
                        }
                    }
                    let name = format!("{name}, heads of {head_dim}");
                    assert_close(&name, &found[..ROWS * 3 * dim], &expected, |i| {
                        expected[i].abs() * format.rounding() + sizes[i] * 4e-7 + 1e-7
                    });
                }
            }
        }
    }
}

#[test]
fn norms_of_q_and_k_are_over_the_whole_width() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        for (name, format, dim) in [
            ("qk_norm_f16_1", Format::F16, 320),
            ("qk_norm_bf16_3", Format::Bf16, 1152),
            ("qk_norm_f32_10", Format::F32, 2568),
        ] {
            if !kernels.formats().contains(&format) {
                continue;
            }
            let mut qkv = random.normals((ROWS + 1) * 3 * dim, 2.0);
            // A mean far from zero, and an outlier in k.
            qkv[3 * dim..4 * dim].iter_mut().for_each(|x| *x += 100.0);
            qkv[dim + 7] = 300.0;
            let qkv = format.rounded(&qkv);
            let weights = [random.normals(dim, 1.0), random.normals(dim, 1.0)];
            let launch = Launch {
                grid: [ROWS, 2],
                shared: 0,
            };
            let buffers = [format.bytes(&qkv), bytes(&weights[0]), bytes(&weights[1])];
            let done = kernels.run(name, launch, &[dim as f64, 1e-5], &buffers);
            let found = format.values(&done[0]);
            assert_eq!(found[ROWS * 3 * dim..], qkv[ROWS * 3 * dim..], "{name}");
            let mut expected = Vec::new();
            for (part, x) in qkv[..ROWS * 3 * dim].chunks_exact(dim).enumerate() {
                let Some(weight) = weights.get(part % 3) else {
                    // v stays as it is.
                    expected.extend(x.iter().map(|x| f64::from(*x)));
                    continue;
                };
                let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / dim as f64;
                let squares = x.iter().map(|x| (f64::from(*x) - mean).powi(2));
                let scale = 1.0 / (squares.sum::<f64>() / dim as f64 + 1e-5).sqrt();
                let pairs = x.iter().zip(weight);
                expected.extend(pairs.map(|(x, w)| (f64::from(*x) - mean) * scale * f64::from(*w)));
            }
            assert_close(name, &found[..ROWS * 3 * dim], &expected, |i| {
                expected[i].abs() * (format.rounding() + 1e-6) + 2e-5
            });
        }
    }
}

#[test]
fn swiglu_takes_the_silu_of_the_first_half() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        for &format in kernels.formats() {
            let width = 1096;
            let u = format.rounded(&random.normals(ROWS * 2 * width, 3.0));
            let out = poison(format, (ROWS + 1) * width);
            let name = format!("swiglu_{}", format.name());
            let buffers = [out.clone(), format.bytes(&u)];
            let done = kernels.run(&name, Launch::rows(ROWS), &[width as f64], &buffers);
            let end = out.len() - out.len() / (ROWS + 1);
            assert_eq!(done[0][end..], out[end..], "{name}");
            let found = format.values(&done[0]);
            let rows = u.chunks_exact(2 * width);
            let expected: Vec<f64> = rows
                .flat_map(|row| {
                    let (a, g) = row.split_at(width);
                    let pairs = a.iter().zip(g);
                    pairs.map(|(a, g)| {
                        let a = f64::from(*a);
                        a / (1.0 + (-a).exp()) * f64::from(*g)
                    })
                })
                .collect();
            assert_close(&name, &found[..ROWS * width], &expected, |i| {
                expected[i].abs() * (format.rounding() + 1e-6) + 1e-7
            });
        }
    }
}

#[test]
fn values_that_overflow_the_format_become_nan() {
    for kernels in Kernels::all() {
        // The largest number of each format, and more than half a step of its last place.
        let limits = [
            (Format::F16, 65504.0, 16.0),
            (Format::Bf16, 3.389_531_4e38, 7e35),
            (Format::F32, f32::MAX, 2e31),
        ];
        for (format, largest, more) in limits {
            if !kernels.formats().contains(&format) {
                continue;
            }
            let dim = 16;
            // In the first row, q and k just fit; in the second they are too large or too small.
            let mut qkv = vec![0.0; 2 * 3 * dim];
            let columns = [1, dim + 5];
            let mut bias = vec![0.0; 3 * dim];
            for (i, column) in columns.into_iter().enumerate() {
                let sign = if i == 1 { -1.0 } else { 1.0 };
                qkv[column] = sign * (largest - 0.5 * largest);
                qkv[3 * dim + column] = sign * largest;
                bias[column] = sign * more;
            }
            let name = format!("bias_rotary_{}", format.name());
            let done = kernels.run(
                &name,
                Launch::rows(2),
                &[1.0, dim as f64, (dim / 2) as f64],
                &[
                    format.bytes(&qkv),
                    bytes(&bias),
                    vec![],
                    vec![],
                    ints([0, 1]),
                ],
            );
            let found = format.values(&done[0]);
            let (fits, does_not) = found.split_at(3 * dim);
            assert!(fits.iter().all(|x| x.is_finite()), "{name}");
            for (column, x) in does_not.iter().enumerate() {
                assert_eq!(x.is_nan(), columns.contains(&column), "{name}, {column}");
                assert!(!x.is_infinite(), "{name}, {column}");
            }
        }
    }
}

/// erf by its series with positive terms.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..400 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn gelu_is_the_erf_form() {
    for kernels in Kernels::all() {
        assert!((erf(0.5) - 0.520_499_877_813_046_5).abs() < 1e-15);
        assert!((erf(2.0) - 0.995_322_265_018_952_7).abs() < 1e-15);
        let mut random = Random::fresh();
        let width = 1288;
        for &format in kernels.formats() {
            let mut u = random.normals((ROWS + 1) * width, 2.0);
            u[..4].copy_from_slice(&[-9.0, -0.0, 9.0, 1e-3]);
            let u = format.rounded(&u);
            let mut bias = random.normals(width, 0.5);
            bias[..4].fill(0.0);
            let name = format!("bias_gelu_{}", format.name());
            let done = kernels.run(
                &name,
                Launch::rows(ROWS),
                &[width as f64],
                &[format.bytes(&u), bytes(&bias)],
            );
            let found = format.values(&done[0]);
            assert_eq!(found[ROWS * width..], u[ROWS * width..], "{name}");
            let expected: Vec<f64> = (0..ROWS * width)
                .map(|i| {
                    let x = f64::from(u[i] + bias[i % width]);
                    0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
                })
                .collect();
            assert_close(&name, &found[..ROWS * width], &expected, |i| {
                let x = f64::from(u[i] + bias[i % width]);
                expected[i].abs() * format.rounding() + x.abs() * 2e-7 + 6e-8
            });
        }
    }
}

/// Starts of sequences with these numbers of tokens, and the total.
fn starts(lengths: &[usize]) -> Vec<usize> {
    let mut starts = vec![0];
    for length in lengths {
        starts.push(starts.last().unwrap() + length);
    }
    starts
}

#[test]
fn pools_of_ragged_sequences() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        let lengths = [3, 1102, 4, random.between(3, 500), 17];
        let starts = starts(&lengths);
        let (count, dim, all) = (lengths.len(), 136, starts[lengths.len()]);
        let mut x = random.normals(all * dim, 10.0);
        // Sums that f32 would lose, a NaN among residues, and an infinity outside the residue rows.
        x[dim + 1] = 1e9;
        x[(starts[2] + 1) * dim + 7] = f32::NAN;
        x[(starts[5] - 1) * dim + 9] = f32::INFINITY;
        let done = kernels.run(
            "pool",
            Launch {
                grid: [count, 2],
                shared: 0,
            },
            &[dim as f64],
            &[
                poison(Format::F32, count * dim),
                poison(Format::F32, count * dim),
                poison(Format::F32, count * dim),
                ints([0; 5]),
                bytes(&x),
                ints(starts.iter().map(|s| *s as i32)),
            ],
        );
        let [mean, most, first] = [0, 1, 2].map(|i| values(&done[i]));
        assert_eq!(done[3], ints([0, 0, 1, 0, 1]));
        for s in 0..count {
            let row = |t: usize, c: usize| x[t * dim + c];
            for c in 0..dim {
                let residues = starts[s] + 1..starts[s + 1] - 1;
                let at = s * dim + c;
                assert_eq!(first[at], row(starts[s], c));
                let is_nan = residues.clone().any(|t| row(t, c).is_nan());
                if is_nan {
                    assert!(most[at].is_nan() && mean[at].is_nan());
                    continue;
                }
                let n = residues.len() as f64;
                let sum: f64 = residues.clone().map(|t| f64::from(row(t, c))).sum();
                assert_eq!(mean[at], (sum / n) as f32, "sequence {s}, column {c}");
                let largest = residues.map(|t| row(t, c)).fold(f32::MIN, f32::max);
                assert_eq!(most[at], largest, "sequence {s}, column {c}");
            }
        }
    }
}

#[test]
fn rows_are_copied_to_their_positions() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        let dim = 640;
        let x = random.normals(ROWS * dim, 100.0);
        let places = [-1, 2, 0, -1, -1, 1, -1];
        for format in [Format::F16, Format::F32] {
            let name = format!("take_rows_{}", format.name());
            let done = kernels.run(
                &name,
                Launch::rows(ROWS),
                &[dim as f64],
                &[poison(format, 4 * dim), bytes(&x), ints(places)],
            );
            let row = |t: usize| &x[t * dim..(t + 1) * dim];
            let expected = [row(2), row(5), row(1), &vec![f32::NAN; dim]].concat();
            assert_eq!(done[0], format.bytes(&expected), "{name}");
        }
    }
}
