//! How far computed values are from the expected ones.

/// The values of one row.
#[derive(Debug)]
pub struct ComparedRow {
    /// Expected values.
    pub expected: Vec<f64>,
    /// Computed values, of the same number.
    pub found: Vec<f32>,
}

/// The error that is compared with the tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The value that exceeds its tolerance most.
    Each {
        /// Its place, row by row.
        place: usize,
        /// Difference of computed and expected value.
        difference: f64,
        /// The largest difference that passes.
        tolerance: f64,
    },
    /// All values together.
    Together {
        /// Relative L2 error.
        error: f64,
        /// The largest error that passes.
        limit: f64,
    },
}

/// Expected and computed values, row by row.
pub fn pairs(rows: &[ComparedRow]) -> impl Iterator<Item = (f64, f32)> {
    rows.iter()
        .flat_map(|row| row.expected.iter().copied().zip(row.found.iter().copied()))
}

/// L2 norm of a row.
pub fn norm(row: &[f32]) -> f32 {
    let squares: f64 = row.iter().map(|v| f64::from(*v).powi(2)).sum();
    squares.sqrt() as f32
}

/// The value that exceeds its tolerance most; NaN is worse than any number.
pub fn worst(rows: &[ComparedRow], atol: f64, rtol: f64) -> Outcome {
    let mut worst = Outcome::Each {
        place: 0,
        difference: 0.0,
        tolerance: 0.0,
    };
    let mut most = f64::NEG_INFINITY;
    for (place, (expected, found)) in pairs(rows).enumerate() {
        let difference = (f64::from(found) - expected).abs();
        let tolerance = atol + rtol * expected.abs();
        let excess = difference - tolerance;
        let here = Outcome::Each {
            place,
            difference,
            tolerance,
        };
        if excess.is_nan() {
            return here;
        }
        if excess > most {
            most = excess;
            worst = here;
        }
    }
    worst
}

/// Root mean square of the expected values.
pub fn typical(rows: &[ComparedRow]) -> f64 {
    let (count, squares) = pairs(rows).fold((0.0, 0.0), |(count, squares), (expected, _)| {
        (count + 1.0, squares + expected * expected)
    });
    f64::sqrt(squares / count)
}

/// √ mean over columns of Σ Δ² / max(Σ E², rows · scale²), the measure of
/// [`Tolerance::Together`](super::reference::Tolerance::Together).
pub fn error_by_column(rows: &[ComparedRow], scale: f64) -> f64 {
    let columns = rows
        .iter()
        .map(|row| row.expected.len())
        .max()
        .unwrap_or_default();
    let errors = (0..columns).map(|column| {
        let (mut error, mut size, mut count) = (0.0, 0.0, 0.0);
        for row in rows {
            if let (Some(expected), Some(found)) = (row.expected.get(column), row.found.get(column))
            {
                error += (f64::from(*found) - expected).powi(2);
                size += expected.powi(2);
                count += 1.0;
            }
        }
        match error == 0.0 {
            // Zeros where zeros are expected.
            true => 0.0,
            false => error / f64::max(size, count * scale.powi(2)),
        }
    });
    (errors.sum::<f64>() / columns as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::comparison::{Comparison, Expected, Tolerance};
    use super::super::published;
    use super::*;

    #[test]
    fn a_large_column_does_not_hide_the_others() {
        // Relative to the whole, the small columns are off by 1 %; relative to a typical value of 30
        // they are off by 0, 10 and 20 % and the root mean square is 13 %.
        let rows = [ComparedRow {
            expected: vec![600.0, 3.0, 3.0],
            found: vec![600.0, 6.0, -3.0],
        }];
        let error = error_by_column(&rows, 30.0);
        assert!((error - f64::sqrt(0.05 / 3.0)).abs() < 1e-12, "{error}");
        // Without a scale it never exceeds the plain relative L2 error.
        let plain = f64::sqrt(45.0 / (600.0_f64.powi(2) + 18.0));
        assert!(error_by_column(&rows, typical(&rows)) <= plain * (1.0 + 1e-12));
        // One column is the plain relative L2 error.
        let rows = [(3.0, 3.5), (4.0, 4.0)].map(|(expected, found)| ComparedRow {
            expected: vec![expected],
            found: vec![found],
        });
        assert!((error_by_column(&rows, typical(&rows)) - 0.1).abs() < 1e-12);
    }

    /// The verdict on values that are given as found.
    fn judge(comparison: &Comparison, found: Vec<Vec<f64>>) -> (f64, f64) {
        let expected: Vec<Vec<f64>> = match &comparison.expected {
            Expected::ResidueRows(rows) => rows.clone(),
            Expected::ResidueNorms(norms) => norms.iter().map(|n| vec![*n]).collect(),
            Expected::Mean(mean) => vec![mean.clone()],
            other => panic!("{other:?}"),
        };
        let Tolerance::Together { relative_l2, scale } = comparison.tolerance else {
            panic!("{comparison:?}");
        };
        let rows: Vec<ComparedRow> = expected
            .into_iter()
            .zip(found)
            .map(|(expected, found)| ComparedRow {
                expected,
                found: found.into_iter().map(|v| v as f32).collect(),
            })
            .collect();
        let scale = scale.unwrap_or_else(|| typical(&rows));
        (error_by_column(&rows, scale), relative_l2)
    }

    #[test]
    fn values_of_a_wrong_model_fail_by_far_at_every_size() {
        let all = published::comparisons().unwrap();
        assert_eq!(all.len(), 11 * 3 * 3);
        for one in &all {
            match &one.expected {
                Expected::ResidueRows(rows) => {
                    let (error, _) = judge(one, rows.clone());
                    assert!(error < 1e-6, "{}: {error}", one.name);
                    let mut shifted = rows.clone();
                    shifted.rotate_left(1);
                    let zeros = rows.iter().map(|row| vec![0.0; row.len()]).collect();
                    for wrong in [shifted, zeros] {
                        let (error, limit) = judge(one, wrong);
                        assert!(error > 4.0 * limit, "{}: {error}", one.name);
                    }
                }
                Expected::ResidueNorms(norms) => {
                    let scaled = norms.iter().map(|norm| vec![0.88 * norm]).collect();
                    let (error, limit) = judge(one, scaled);
                    assert!((error - 0.12).abs() < 1e-6 && error > limit, "{}", one.name);
                }
                Expected::Mean(mean) => {
                    let others = all.iter().filter_map(|other| match &other.expected {
                        Expected::Mean(values)
                            if other.checkpoint == one.checkpoint
                                && other.sequence != one.sequence =>
                        {
                            Some(values)
                        }
                        _ => None,
                    });
                    for other in others {
                        assert_eq!(other.len(), mean.len());
                        let (error, limit) = judge(one, vec![other.clone()]);
                        assert!(error > 2.0 * limit, "{}: {error}", one.name);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
