//! The matrix products, with what follows them.

use super::host::{Kernels, Launch};
use super::numbers::{Format, Random, assert_close, ints, poison};

/// Columns of a tile.
const COLUMNS: usize = 128;

/// What follows a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Gelu,
    Residual,
    /// Rotation of heads of this width.
    Rotary(usize),
}

/// The heights of tiles of a format.
fn heights(kernels: Kernels, format: Format) -> &'static [usize] {
    match (kernels, format) {
        (Kernels::Ampere, Format::F16 | Format::Bf16) => &[256, 128, 32],
        _ => &[128, 32],
    }
}

/// A product and its arguments.
struct Product {
    kernels: Kernels,
    format: Format,
    next: Next,
    outputs: usize,
    inputs: usize,
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// The residual stream before.
    stream: Vec<f32>,
    /// Angles by position; none for models without rotation.
    angles: Vec<f64>,
    positions: Vec<usize>,
}

const POSITIONS: usize = 50;
const SCALE: f64 = 0.25;

impl Product {
    fn new(
        kernels: Kernels,
        random: &mut Random,
        format: Format,
        next: Next,
        [rows, outputs, inputs]: [usize; 3],
    ) -> Product {
        let x = random.normals(rows * inputs, 1.0);
        let size = 1.0 / (inputs as f32).sqrt();
        let weights = random.normals(outputs * inputs, size);
        let angles = match next {
            Next::Rotary(head) => random.normals(POSITIONS * head / 2, 3.0),
            _ => vec![],
        };
        Product {
            kernels,
            format,
            next,
            outputs,
            inputs,
            x: format.rounded(&x),
            weights: format.rounded(&weights),
            bias: random.normals(outputs, 0.5),
            stream: random.normals(rows * outputs, 1.0),
            angles: angles.into_iter().map(f64::from).collect(),
            positions: (0..rows)
                .map(|_| random.between(0, POSITIONS - 1))
                .collect(),
        }
    }

    /// The format of the result.
    fn result(&self) -> Format {
        match self.next {
            Next::Residual => Format::F32,
            _ => self.format,
        }
    }

    /// The result by tiles of this height, of rows from `first` on.
    fn run(&self, height: usize, first: usize, rows: usize) -> Vec<u8> {
        let (name, half) = match self.next {
            Next::Gelu => ("gelu", 0),
            Next::Residual => ("residual", 0),
            Next::Rotary(head) => ("rotary", head / 2),
        };
        let used = match self.next {
            Next::Rotary(head) => COLUMNS / head * head,
            _ => COLUMNS,
        };
        let shared = match (self.format, self.kernels, height) {
            (Format::F32, _, _) => (height + COLUMNS) * 160,
            (_, Kernels::Turing, _) => (height + COLUMNS) * 64 * 2,
            (_, Kernels::Ampere, 128) => (height + COLUMNS) * 64 * 3,
            (_, Kernels::Ampere, _) => (height + COLUMNS) * 64 * 4,
        };
        let of = |values: &[f32], width: usize| values[first * width..][..rows * width].to_vec();
        let y = match self.next {
            Next::Residual => {
                let mut y = of(&self.stream, self.outputs);
                y.extend(vec![f32::NAN; self.outputs]);
                Format::F32.bytes(&y)
            }
            _ => poison(self.format, (rows + 1) * self.outputs),
        };
        let floats = |values: Vec<f64>| {
            let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
            Format::F32.bytes(&values)
        };
        let kernel = format!("product_{}_{name}_{height}", self.format.name());
        let done = self.kernels.run(
            &kernel,
            Launch {
                grid: [rows.div_ceil(height) * self.outputs.div_ceil(used), 1],
                shared,
            },
            &[
                rows as f64,
                self.outputs as f64,
                self.inputs as f64,
                SCALE,
                half as f64,
            ],
            &[
                y.clone(),
                self.format.bytes(&of(&self.x, self.inputs)),
                self.format.bytes(&self.weights),
                Format::F32.bytes(&self.bias),
                floats(self.angles.iter().map(|a| a.cos()).collect()),
                floats(self.angles.iter().map(|a| a.sin()).collect()),
                ints(
                    self.positions[first..first + rows]
                        .iter()
                        .map(|p| *p as i32),
                ),
            ],
        );
        let bytes = y.len() / (rows + 1) * rows;
        assert_eq!(done[0][bytes..], y[bytes..], "{kernel} writes too far");
        done[0][..bytes].to_vec()
    }

    /// The result in f64, and the largest error of each number.
    fn reference(&self) -> (Vec<f64>, Vec<f64>) {
        // Each of the sums rounds `inputs` times in f32; and the result is rounded once.
        let of_sums = 1e-6 * (self.inputs as f64).sqrt() + 1e-6;
        let rounding = self.result().rounding();
        let dim = self.outputs / 3;
        let (mut all, mut bounds) = (Vec::new(), Vec::new());
        for (r, row) in self.x.chunks_exact(self.inputs).enumerate() {
            let mut sums: Vec<f64> = self
                .weights
                .chunks_exact(self.inputs)
                .map(|w| {
                    row.iter()
                        .zip(w)
                        .map(|(a, b)| f64::from(*a) * f64::from(*b))
                        .sum()
                })
                .collect();
            let of = |c: usize| f64::from(self.bias[c]);
            match self.next {
                Next::Gelu => sums.iter_mut().enumerate().for_each(|(c, sum)| {
                    let x = *sum + of(c);
                    *sum = 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()));
                }),
                Next::Residual => sums.iter_mut().enumerate().for_each(|(c, sum)| {
                    *sum += of(c) + f64::from(self.stream[r * self.outputs + c]);
                }),
                Next::Rotary(head) => {
                    let half = head / 2;
                    for c in (0..2 * dim).filter(|c| c % head < half) {
                        let factor = if c < dim { SCALE } else { 1.0 };
                        let a = (sums[c] + of(c)) * factor;
                        let b = (sums[c + half] + of(c + half)) * factor;
                        let (sin, cos) = match self.angles.get(self.positions[r] * half + c % head)
                        {
                            Some(angle) => angle.sin_cos(),
                            None => (0.0, 1.0),
                        };
                        sums[c] = a * cos - b * sin;
                        sums[c + half] = b * cos + a * sin;
                    }
                }
            }
            bounds.extend(sums.iter().map(|sum| sum.abs() * rounding + of_sums * 4.0));
            all.extend(sums);
        }
        (all, bounds)
    }
}

fn kernels_and_formats() -> impl Iterator<Item = (Kernels, Format)> {
    let all = Kernels::all().into_iter();
    all.flat_map(|kernels| {
        kernels
            .formats()
            .iter()
            .map(move |format| (kernels, *format))
    })
}

/// Shapes with tails in all directions: [rows, outputs, inputs].
const SHAPES: [[usize; 3]; 4] = [[1, 8, 8], [37, 136, 40], [131, 200, 72], [290, 128, 64]];

#[test]
fn products_are_those_of_f64() {
    let mut random = Random::fresh();
    for (kernels, format) in kernels_and_formats() {
        for next in [Next::Gelu, Next::Residual] {
            for shape in SHAPES {
                let product = Product::new(kernels, &mut random, format, next, shape);
                let (expected, bounds) = product.reference();
                for &height in heights(kernels, format) {
                    let found = product.run(height, 0, shape[0]);
                    let found = product.result().values(&found);
                    let what =
                        format!("{kernels:?}, {format:?}, {next:?}, {shape:?}, tiles of {height}");
                    assert_close(&what, &found, &expected, |i| bounds[i]);
                }
            }
        }
    }
}

#[test]
fn queries_and_keys_are_rotated() {
    let mut random = Random::fresh();
    for (kernels, format) in kernels_and_formats() {
        for (head, heads) in [(16, 2), (24, 6), (32, 3), (64, 1), (128, 1)] {
            let shape = [41, 3 * heads * head, 48];
            let mut product = Product::new(kernels, &mut random, format, Next::Rotary(head), shape);
            for is_rotated in [true, false] {
                if !is_rotated {
                    product.angles.clear();
                }
                let (expected, bounds) = product.reference();
                for &height in heights(kernels, format) {
                    let found = format.values(&product.run(height, 0, shape[0]));
                    let what =
                        format!("{kernels:?}, {format:?}, heads of {head}, tiles of {height}");
                    assert_close(&what, &found, &expected, |i| bounds[i]);
                }
            }
        }
    }
}

/// A query or key that does not fit the format is NaN, and not infinite: an infinite key would vanish.
#[test]
fn what_does_not_fit_becomes_nan() {
    let mut random = Random::fresh();
    let (head, shape) = (16, [3, 48, 16]);
    for kernels in Kernels::all() {
        let mut product =
            Product::new(kernels, &mut random, Format::F16, Next::Rotary(head), shape);
        product.bias = vec![0.0; 48];
        product.angles.clear();
        // Of the first output of q, k and v.
        for output in [0, 16, 32] {
            product.weights[output * 16..][..16].fill(60_000.0);
        }
        product.x = vec![1.0; 3 * 16];
        for &height in heights(kernels, Format::F16) {
            let found = Format::F16.values(&product.run(height, 0, 3));
            assert!(found[0].is_nan() && found[16].is_nan(), "{height}");
            assert_eq!(found[32], f32::INFINITY, "{height}");
            assert!(found[1].is_finite() && found[17].is_finite(), "{height}");
        }
    }
}

/// The bits of a row depend neither on the number of rows nor on its place nor on the height of tiles.
#[test]
fn a_row_has_the_same_bits_in_every_product() {
    let mut random = Random::fresh();
    for (kernels, format) in kernels_and_formats() {
        for next in [Next::Gelu, Next::Residual, Next::Rotary(24)] {
            let shape = [263, 144, 88];
            let product = Product::new(kernels, &mut random, format, next, shape);
            let all = product.run(heights(kernels, format)[0], 0, shape[0]);
            let bytes = all.len() / shape[0];
            for &height in heights(kernels, format) {
                let first = random.between(1, 200);
                for (first, rows) in [(0, shape[0]), (first, 1), (first, shape[0] - first)] {
                    let found = product.run(height, first, rows);
                    assert!(
                        found == all[first * bytes..(first + rows) * bytes],
                        "{kernels:?}, {format:?}, {next:?}, tiles of {height}, rows {first} + {rows}"
                    );
                }
            }
        }
    }
}
