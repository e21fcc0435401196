//! Attention over packed sequences.

use super::host::{Kernels, Launch};
use super::numbers::{Format, Random, assert_close, ints, poison};

/// Queries of a block.
const QUERIES: usize = 64;

/// Widths of heads.
const HEADS: [usize; 5] = [16, 24, 32, 64, 128];

/// A batch with q, k and v rounded to the format, `[T, 3 dim]`, and their bias.
struct Batch {
    kernels: Kernels,
    format: Format,
    lengths: Vec<usize>,
    heads: usize,
    head_dim: usize,
    qkv: Vec<f32>,
    /// Bias of q, k and v; only that of v is added here.
    bias: Vec<f32>,
}

impl Batch {
    fn random(
        kernels: Kernels,
        random: &mut Random,
        format: Format,
        lengths: &[usize],
        heads: usize,
        head_dim: usize,
    ) -> Batch {
        let dim = heads * head_dim;
        let tokens: usize = lengths.iter().sum();
        // Scores of several units: attention far from uniform.
        let size = 2.0 / (head_dim as f32).powf(0.25);
        let mut qkv = random.normals(tokens * 3 * dim, size);
        for v in qkv.chunks_exact_mut(dim).skip(2).step_by(3) {
            v.iter_mut().for_each(|v| *v /= size);
        }
        Batch {
            kernels,
            format,
            lengths: lengths.to_vec(),
            heads,
            head_dim,
            qkv: format.rounded(&qkv),
            bias: random.normals(3 * dim, 0.5),
        }
    }

    fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// First row and length of each sequence.
    fn sequences(&self) -> Vec<(usize, usize)> {
        let mut start = 0;
        let each = |length: &usize| {
            start += length;
            (start - length, *length)
        };
        self.lengths.iter().map(each).collect()
    }

    fn attend(&self) -> Vec<f32> {
        let tokens: usize = self.lengths.iter().sum();
        let dim = self.dim();
        let tiles: Vec<[usize; 3]> = self
            .sequences()
            .into_iter()
            .flat_map(|(start, length)| {
                (0..length)
                    .step_by(QUERIES)
                    .map(move |first| [start, length, first])
            })
            .collect();
        let name = format!("attention_{}_{}", self.format.name(), self.head_dim);
        // The second-to-last row represents padding.
        let done = self.kernels.run(
            &name,
            Launch {
                grid: [tiles.len(), self.heads],
                shared: self.kernels.attention_shared(self.format, self.head_dim),
            },
            &[dim as f64],
            &[
                poison(self.format, (tokens + 1) * dim),
                self.format.bytes(&self.qkv),
                Format::F32.bytes(&self.bias),
                ints(
                    tiles
                        .iter()
                        .flat_map(|t| [t[0], t[1], t[2], 0])
                        .map(|n| n as i32),
                ),
            ],
        );
        let mut out = self.format.values(&done[0]);
        assert!(out[tokens * dim..].iter().all(|x| x.is_nan()), "{name}");
        out.truncate(tokens * dim);
        out
    }

    /// The same in f64, and Σ w |v|, the weight of the averaged values.
    fn reference(&self) -> (Vec<f64>, Vec<f64>) {
        let (dim, width) = (self.dim(), self.head_dim);
        let at = |t: usize, part: usize, c: usize| f64::from(self.qkv[(t * 3 + part) * dim + c]);
        let mut out = vec![0.0; self.qkv.len() / 3];
        let mut sizes = out.clone();
        for (start, length) in self.sequences() {
            for head in 0..self.heads {
                let columns = head * width..(head + 1) * width;
                for t in start..start + length {
                    let scores: Vec<f64> = (start..start + length)
                        .map(|s| columns.clone().map(|c| at(t, 0, c) * at(s, 1, c)).sum())
                        .collect();
                    let most = scores.iter().copied().fold(f64::MIN, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for c in columns.clone() {
                        out[t * dim + c] = f64::from(self.bias[2 * dim + c]);
                        for (s, w) in (start..).zip(&weights) {
                            out[t * dim + c] += w / total * at(s, 2, c);
                            sizes[t * dim + c] += w / total * at(s, 2, c).abs();
                        }
                    }
                }
            }
        }
        (out, sizes)
    }

    fn check(&self) {
        let found = self.attend();
        let (expected, sizes) = self.reference();
        let rounding = self.format.rounding();
        // Weights are rounded before they multiply the values, and the result is rounded again.
        let what = format!("{:?}, {:?}, {:?}", self.kernels, self.format, self.lengths);
        // Scores of up to about 20 are accurate to a few millionths in f32.
        let of_weights = match self.format {
            Format::F32 => 1e-5,
            _ => rounding + 1e-5,
        };
        assert_close(&what, &found, &expected, |i| {
            expected[i].abs() * rounding + sizes[i] * of_weights + 1e-7
        });
    }
}

#[test]
fn ragged_lengths_of_every_head() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        for &format in kernels.formats() {
            for head_dim in HEADS {
                let mut lengths = vec![1, 2, 16, 31, 33, 63, 64, 65];
                lengths.push(random.between(66, 200));
                // In no particular order.
                for i in (1..lengths.len()).rev() {
                    lengths.swap(i, random.between(0, i));
                }
                Batch::random(kernels, &mut random, format, &lengths, 2, head_dim).check();
            }
        }
    }
}

#[test]
fn many_steps_of_keys() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        for &format in kernels.formats() {
            let lengths = [random.between(400, 1100), 3, 129];
            Batch::random(kernels, &mut random, format, &lengths, 1, 32).check();
        }
    }
}

#[test]
fn the_longest_usual_length() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        Batch::random(kernels, &mut random, Format::F16, &[1100], 1, 64).check();
    }
}

#[test]
fn scores_far_apart_do_not_overflow() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        for &format in kernels.formats() {
            let mut batch = Batch::random(kernels, &mut random, format, &[150], 1, 64);
            // Scores in the thousands, rising by 16, so that every step finds larger ones.
            let dim = batch.dim();
            for (t, row) in batch.qkv.chunks_exact_mut(3 * dim).enumerate() {
                row[..dim].fill(0.0);
                row[0] = 16.0;
                row[dim] = t as f32;
            }
            // The last key has all the weight, for every query.
            let last = &batch.qkv[(149 * 3 + 2) * dim..];
            let with_bias = last.iter().zip(&batch.bias[2 * dim..]);
            let expected: Vec<f64> = with_bias.map(|(v, b)| f64::from(v + b)).collect();
            let rounding = format.rounding();
            for row in batch.attend().chunks_exact(dim) {
                // The weight, nearly 1, is rounded, and so is the result.
                assert_close("the last value", row, &expected, |i| {
                    (expected[i].abs() + f64::from(last[i].abs())) * rounding + 1e-5
                });
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_neighbours_or_place() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        for &format in kernels.formats() {
            let lengths = [70, 5, 130, 1, 64];
            let batch = Batch::random(kernels, &mut random, format, &lengths, 2, 24);
            let together = batch.attend();
            let dim = batch.dim();
            for (start, length) in batch.sequences() {
                let rows = start * dim..(start + length) * dim;
                let single = Batch {
                    kernels,
                    format,
                    lengths: vec![length],
                    heads: 2,
                    head_dim: 24,
                    qkv: batch.qkv[3 * rows.start..3 * rows.end].to_vec(),
                    bias: batch.bias.clone(),
                };
                let single = Format::F32.bytes(&single.attend());
                let is_same = single == Format::F32.bytes(&together[rows]);
                assert!(is_same, "{format:?}, {length} tokens");
            }
        }
    }
}

#[test]
fn a_nan_key_reaches_every_row_of_its_sequence() {
    for kernels in Kernels::all() {
        let mut random = Random::fresh();
        for &format in kernels.formats() {
            for head_dim in [16, 64] {
                let mut batch =
                    Batch::random(kernels, &mut random, format, &[5, 130, 70], 1, head_dim);
                let dim = batch.dim();
                // In the last of three steps of keys.
                batch.qkv[(5 + 129) * 3 * dim + dim + 7] = f32::NAN;
                let found = batch.attend();
                let (others, its) = (&found[..5 * dim], &found[5 * dim..135 * dim]);
                assert!(its.iter().all(|x| x.is_nan()), "{format:?}, {head_dim}");
                assert!(others.iter().all(|x| x.is_finite()));
                assert!(found[135 * dim..].iter().all(|x| x.is_finite()));
            }
        }
    }
}
