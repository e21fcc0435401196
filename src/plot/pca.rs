//! Principal components in f64, by a randomised singular value decomposition: subspace iteration from
//! random vectors (Halko, Martinsson and Tropp, 2011), until the first variances stay as they are.
//!
//! With the matrix A of rows less their mean, one step multiplies a basis Q `[D, l]` by AᵀA, block by
//! block of rows. The blocks and the order in which they are added do not depend on the number of
//! threads, so the result has the same bits on every machine.

use super::eigen;
use super::random::Random;
use crate::threads::Threads;
use std::convert::Infallible;

/// Vectors beyond those that are wanted.
const OVERSAMPLING: usize = 14;
/// Steps after which the components are taken as they are.
const MOST_STEPS: usize = 60;
/// Steps that are made in any case: the later components, among which neighbours are searched, only
/// have to span about the right space.
const FEWEST_STEPS: usize = 6;
/// Components whose variance is exact, and the largest relative change that counts as none.
const EXACT: (usize, f64) = (3, 1e-11);
/// Parts of the rows that are multiplied independently.
const PARTS: usize = 32;
/// Rows that share a pass over the basis.
const TOGETHER: usize = 8;

/// The principal components of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    /// Number of components.
    pub components: usize,
    /// The rows in the new coordinates, `[rows, components]`.
    pub scores: Vec<f64>,
    /// Variance of each component, with `rows - 1` degrees of freedom, the largest first.
    pub variances: Vec<f64>,
    /// Variance of the rows.
    pub total_variance: f64,
}

impl Pca {
    /// The part of the variance that a component has; 0 if there is none.
    pub fn explained(&self, component: usize) -> f64 {
        let variance = self.variances.get(component).copied().unwrap_or(0.0);
        match self.total_variance > 0.0 {
            true => variance / self.total_variance,
            false => 0.0,
        }
    }
}

/// Computes at most `wanted` components of the rows of a matrix with this many columns. The sign of
/// a component is such that its largest coefficient is positive.
pub fn pca(values: &[f32], columns: usize, wanted: usize, seed: u64, threads: &Threads) -> Pca {
    let columns = columns.max(1);
    let rows = values.len() / columns;
    let wanted = wanted.min(columns).min(rows);
    let width = (wanted + OVERSAMPLING).min(columns).min(rows);
    let centred = Centred::new(values, columns, threads);
    let mut random = Random::new(seed);
    let mut basis: Vec<f64> = (0..columns * width).map(|_| random.signed()).collect();
    orthonormalise(&mut basis, width);
    let mut before: Option<Vec<f64>> = None;
    let mut step = 0;
    let (energies, rotation) = loop {
        let product = centred.gram_times(&basis, width, threads);
        let (energies, rotation) =
            eigen::symmetric(transposed_times(&basis, &product, width), width);
        step += 1;
        let settled =
            step >= FEWEST_STEPS && before.is_some_and(|before| is_settled(&before, &energies));
        if settled || step == MOST_STEPS || width == 0 || width == columns {
            break (energies, rotation);
        }
        before = Some(energies);
        basis = product;
        orthonormalise(&mut basis, width);
    };
    let axes = axes(&basis, &rotation, width, wanted);
    let freedom = rows.saturating_sub(1).max(1) as f64;
    Pca {
        components: wanted,
        scores: centred.scores(&axes, wanted, threads),
        variances: energies
            .iter()
            .take(wanted)
            .map(|energy| energy.max(0.0) / freedom)
            .collect(),
        total_variance: centred.energy / freedom,
    }
}

fn is_settled(before: &[f64], now: &[f64]) -> bool {
    let (components, limit) = EXACT;
    let mut changes = before.iter().zip(now).take(components);
    changes.all(|(before, now)| (now - before).abs() <= limit * now.abs())
}

/// Rows of numbers and their mean.
struct Centred<'a> {
    values: &'a [f32],
    columns: usize,
    mean: Vec<f64>,
    /// Sum of all squares after the mean is subtracted.
    energy: f64,
}

impl<'a> Centred<'a> {
    fn new(values: &'a [f32], columns: usize, threads: &Threads) -> Self {
        let mut centred = Self {
            values,
            columns,
            mean: vec![0.0; columns],
            energy: 0.0,
        };
        let rows = values.len() / columns;
        let mut sum = vec![0.0; columns];
        for part in centred.parts(threads, |rows| {
            let mut sum = vec![0.0; columns];
            for row in rows.chunks_exact(columns) {
                add(&mut sum, row.iter().map(|&value| f64::from(value)));
            }
            sum
        }) {
            add(&mut sum, part.into_iter());
        }
        centred.mean = sum.iter().map(|sum| sum / rows.max(1) as f64).collect();
        let energies = centred.parts(threads, |rows| {
            let deviations = rows
                .chunks_exact(columns)
                .flat_map(|row| centred.deviations(row));
            deviations.map(|value| value * value).sum::<f64>()
        });
        centred.energy = energies.into_iter().sum();
        centred
    }

    /// A row less the mean.
    fn deviations(&self, row: &[f32]) -> impl Iterator<Item = f64> {
        row.iter()
            .zip(&self.mean)
            .map(|(&value, mean)| f64::from(value) - mean)
    }

    /// The results for each part of the rows, in order.
    fn parts<T: Send>(&self, threads: &Threads, of: impl Fn(&[f32]) -> T + Send + Sync) -> Vec<T> {
        let rows = self.values.len() / self.columns;
        let rows_of_part = rows
            .div_ceil(PARTS)
            .next_multiple_of(TOGETHER)
            .max(TOGETHER);
        let parts: Vec<&[f32]> = self.values.chunks(rows_of_part * self.columns).collect();
        let results = threads.map(parts.len(), |part| Ok::<_, Infallible>(of(parts[part])));
        match results {
            Ok(results) => results,
            Err(never) => match never {},
        }
    }

    /// AᵀA times a basis.
    fn gram_times(&self, basis: &[f64], width: usize, threads: &Threads) -> Vec<f64> {
        let mut product = vec![0.0; basis.len()];
        for part in self.parts(threads, |rows| self.part_gram_times(rows, basis, width)) {
            add(&mut product, part.into_iter());
        }
        product
    }

    fn part_gram_times(&self, rows: &[f32], basis: &[f64], width: usize) -> Vec<f64> {
        let mut product = vec![0.0; basis.len()];
        if width == 0 {
            return product;
        }
        let mut deviations = vec![0.0; TOGETHER * self.columns];
        let mut coordinates = vec![0.0; TOGETHER * width];
        for rows in rows.chunks(TOGETHER * self.columns) {
            deviations.fill(0.0);
            coordinates.fill(0.0);
            for (r, row) in rows.chunks_exact(self.columns).enumerate() {
                for (column, value) in self.deviations(row).enumerate() {
                    deviations[column * TOGETHER + r] = value;
                }
            }
            let by_column = || deviations.as_chunks::<TOGETHER>().0;
            for (values, base) in by_column().iter().zip(basis.chunks_exact(width)) {
                for (value, sums) in values.iter().zip(coordinates.chunks_exact_mut(width)) {
                    add_times(sums, *value, base);
                }
            }
            for (values, sums) in by_column().iter().zip(product.chunks_exact_mut(width)) {
                for (value, coordinates) in values.iter().zip(coordinates.chunks_exact(width)) {
                    add_times(sums, *value, coordinates);
                }
            }
        }
        product
    }

    /// The rows along some axes, `[rows, axes]`.
    fn scores(&self, axes: &[f64], number: usize, threads: &Threads) -> Vec<f64> {
        let parts = self.parts(threads, |rows| {
            let mut scores = Vec::with_capacity(rows.len() / self.columns * number);
            for row in rows.chunks_exact(self.columns) {
                let start = scores.len();
                scores.resize(start + number, 0.0);
                if number > 0 {
                    for (value, axis) in self.deviations(row).zip(axes.chunks_exact(number)) {
                        add_times(&mut scores[start..], value, axis);
                    }
                }
            }
            scores
        });
        parts.concat()
    }
}

fn add(sums: &mut [f64], values: impl Iterator<Item = f64>) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

fn add_times(sums: &mut [f64], factor: f64, values: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

/// Aᵀ B for two matrices `[n, width]`, made symmetric.
fn transposed_times(a: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    let mut product = vec![0.0; width * width];
    if width == 0 {
        return product;
    }
    for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
        for (factor, sums) in a.iter().zip(product.chunks_exact_mut(width)) {
            add_times(sums, *factor, b);
        }
    }
    let mean = |at: usize| (product[at] + product[at % width * width + at / width]) / 2.0;
    (0..width * width).map(mean).collect()
}

/// Makes the columns of a matrix orthonormal, from the first to the last (Gram and Schmidt, twice).
/// Columns that depend on earlier ones become zero.
fn orthonormalise(matrix: &mut [f64], width: usize) {
    if width == 0 {
        return;
    }
    let rows = matrix.len() / width;
    let mut columns: Vec<Vec<f64>> = (0..width)
        .map(|k| matrix.iter().skip(k).step_by(width).copied().collect())
        .collect();
    for k in 0..width {
        let (done, rest) = columns.split_at_mut(k);
        let Some(column) = rest.first_mut() else {
            continue;
        };
        let before = dot(column, column).sqrt();
        for _ in 0..2 {
            for other in done.iter() {
                let along = dot(column, other);
                add_times(column, -along, other);
            }
        }
        let length = dot(column, column).sqrt();
        let factor = match length > before * 1e-12 {
            true => 1.0 / length,
            false => 0.0,
        };
        column.iter_mut().for_each(|value| *value *= factor);
    }
    for row in 0..rows {
        for (k, column) in columns.iter().enumerate() {
            matrix[row * width + k] = column[row];
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The first `wanted` columns of basis times rotation, each with its largest coefficient positive.
fn axes(basis: &[f64], rotation: &[f64], width: usize, wanted: usize) -> Vec<f64> {
    if wanted == 0 {
        return Vec::new();
    }
    let mut axes = vec![0.0; basis.len() / width * wanted];
    for (base, axis) in basis.chunks_exact(width).zip(axes.chunks_exact_mut(wanted)) {
        for (factor, row) in base.iter().zip(rotation.chunks_exact(width)) {
            add_times(axis, *factor, row);
        }
    }
    for k in 0..wanted {
        let mut largest = 0.0_f64;
        for value in axes.iter().skip(k).step_by(wanted) {
            if value.abs() > largest.abs() {
                largest = *value;
            }
        }
        if largest < 0.0 {
            axes.iter_mut()
                .skip(k)
                .step_by(wanted)
                .for_each(|value| *value = -*value);
        }
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that NumPy makes in the same way: see the constants of the test.
    fn rows(number: usize, columns: usize) -> Vec<f32> {
        let of = |at: usize| {
            let (i, j) = (at / columns + 1, at % columns + 1);
            let mixed = (i * 7919 + j * 104_729 + i * j * 31) % 1009;
            (mixed as f32 / 1009.0 - 0.5) / j as f32 + (i % 7) as f32 * 0.125
        };
        (0..number * columns).map(of).collect()
    }

    #[test]
    fn variances_are_those_of_numpy() {
        // i, j = numpy.ogrid[1:301, 1:41]
        // x = (((i*7919 + j*104729 + i*j*31) % 1009 / 1009 - 0.5) / j + i % 7 * 0.125)
        // s = numpy.linalg.svd(x - x.mean(0), compute_uv=False); s[:5]**2 / 299
        let expected = [
            2.500_890_933_915,
            0.081_076_544_028,
            0.020_441_876_820,
            0.009_198_245_026,
            0.005_313_014_488,
        ];
        let rows = rows(300, 40);
        let one = pca(&rows, 40, 5, 0, &Threads::new(1));
        for (variance, expected) in one.variances.iter().zip(expected) {
            let difference = (variance - expected).abs() / expected;
            // The test's numbers are rounded to f32.
            assert!(difference < 1e-7, "{variance} {expected}");
        }
        assert!((one.total_variance - 2.631_258_091_442_555).abs() < 1e-6);
        assert_eq!(one, pca(&rows, 40, 5, 0, &Threads::new(3)));
        // The variance of the scores is that of the component, and components are not correlated.
        for a in 0..5 {
            for b in 0..5 {
                let products = one.scores.chunks(5).map(|row| row[a] * row[b]);
                let covariance: f64 = products.sum::<f64>() / 299.0;
                let expected = if a == b { one.variances[a] } else { 0.0 };
                assert!(
                    (covariance - expected).abs() < 1e-6 * one.variances[0],
                    "{a} {b}"
                );
            }
        }
        let other = pca(&rows, 40, 5, 1, &Threads::new(1));
        for (a, b) in one.scores.iter().zip(&other.scores) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn few_rows() {
        let threads = Threads::new(2);
        let none = pca(&[], 3, 2, 0, &threads);
        assert_eq!((none.components, none.scores.len()), (0, 0));
        assert_eq!(none.explained(0), 0.0);
        let one = pca(&[1.0, 2.0, 3.0], 3, 2, 0, &threads);
        assert_eq!((one.components, one.scores.as_slice()), (1, &[0.0][..]));
        assert_eq!((one.explained(0), one.explained(1)), (0.0, 0.0));
        let two = pca(&[0.0, 0.0, 3.0, 4.0], 2, 2, 0, &threads);
        assert!((two.variances[0] - 12.5).abs() < 1e-12 && two.variances[1].abs() < 1e-12);
        assert!((two.explained(0) - 1.0).abs() < 1e-12);
        for (score, expected) in two.scores.iter().zip([-2.5, 0.0, 2.5, 0.0]) {
            assert!((score - expected).abs() < 1e-12, "{:?}", two.scores);
        }
        let equal = pca(&[5.0; 30], 3, 2, 0, &threads);
        assert!(equal.scores.iter().all(|score| *score == 0.0));
    }
}
