//! The outcome of one comparison.

use super::comparison::{Comparison, Expected, Tolerance};
use super::deviation::{ComparedRow, Outcome, error_by_column, norm, pairs, typical, worst};
use anyhow::ensure;
use esm_embed::numerals::{count, grouped};
use esm_embed::pooling;
use serde::Serialize;
use std::fmt::{self, Write as _};

/// More values than this are not printed one by one.
const PRINTED: usize = 12;

/// The outcome of one comparison.
#[derive(Debug)]
pub struct Verdict<'a> {
    comparison: &'a Comparison,
    rows: Vec<ComparedRow>,
    outcome: Outcome,
}

/// A verdict in the report of `verify --json`.
#[derive(Debug, Serialize)]
pub struct VerdictReport {
    /// Its name in the source.
    name: String,
    /// The checkpoint that the values belong to; null fits every model.
    checkpoint: Option<String>,
    /// Residues.
    sequence: String,
    /// Representation, negative from the end.
    layer: i64,
    /// `hidden_rows`, `residue_rows`, `residue_norms`, `mean`, `bos`, `mean_of_mean`, `log_odds` or
    /// `pll_unmasked`.
    what: &'static str,
    /// Number of values compared.
    values: usize,
    /// Whether the error is within the limit.
    passed: bool,
    /// `difference`: of the value that exceeds its tolerance most; `relative_l2`: of all values.
    measure: &'static str,
    /// The error by that measure; null if it is not a number.
    error: f64,
    /// The largest error that passes.
    limit: f64,
    /// Where the values come from.
    source: String,
    /// Licence of the source.
    licence: Option<String>,
}

impl VerdictReport {
    /// Whether the error is within the limit.
    pub fn passed(&self) -> bool {
        self.passed
    }
}

impl<'a> Verdict<'a> {
    /// Compares the `<cls>` row `[dim]` and the residue rows `[n, dim]` of one layer.
    ///
    /// # Errors
    /// More rows or columns are expected than there are.
    pub fn new(
        comparison: &'a Comparison,
        bos: &[f32],
        residues: &[f32],
    ) -> anyhow::Result<Verdict<'a>> {
        let dim = bos.len().max(1);
        let mut rows = Vec::new();
        let mut add = |expected: &[f64], row: Option<&[f32]>, stride: usize| {
            let row = row.unwrap_or_default();
            let found: Vec<f32> = row
                .iter()
                .copied()
                .step_by(stride.max(1))
                .take(expected.len())
                .collect();
            ensure!(
                found.len() == expected.len(),
                "comparison '{}' expects more rows or columns than there are: {}, {}",
                comparison.name,
                count((residues.len() / dim) as u64, "residue"),
                count(dim as u64, "column")
            );
            let expected = expected.to_vec();
            rows.push(ComparedRow { expected, found });
            Ok(())
        };
        let stride = comparison.stride;
        let residue = |i: usize| residues.chunks_exact(dim).nth(i);
        match &comparison.expected {
            Expected::HiddenRows(rows) => {
                for (i, row) in rows.iter().enumerate() {
                    add(row, i.checked_sub(1).map_or(Some(bos), residue), stride)?;
                }
            }
            Expected::ResidueRows(rows) => {
                for (i, row) in rows.iter().enumerate() {
                    add(row, residue(i), stride)?;
                }
            }
            Expected::ResidueNorms(norms) => {
                for (i, value) in norms.iter().enumerate() {
                    let found = residue(i).map(norm);
                    add(&[*value], found.as_ref().map(std::slice::from_ref), 1)?;
                }
            }
            Expected::Mean(row) => add(row, Some(&pooling::mean(residues, dim)), stride)?,
            Expected::Bos(row) => add(row, Some(bos), stride)?,
            // These have no rows: see `of_scores`.
            Expected::LogOdds(_) | Expected::PllUnmasked(_) => {}
            Expected::MeanOfMean(value) => {
                let mean = pooling::mean(residues, dim);
                let sum: f64 = mean.iter().copied().map(f64::from).sum();
                add(&[*value], Some(&[(sum / dim as f64) as f32]), 1)?;
            }
        }
        Ok(Verdict::of_rows(comparison, rows))
    }

    /// Compares scores, in the order of the expected ones.
    pub fn of_scores(comparison: &'a Comparison, found: &[f64]) -> Verdict<'a> {
        let expected = match &comparison.expected {
            Expected::LogOdds(scores) => scores.values().copied().collect(),
            Expected::PllUnmasked(value) => vec![*value],
            _ => Vec::new(),
        };
        let found = found.iter().map(|&score| score as f32).collect();
        Verdict::of_rows(comparison, vec![ComparedRow { expected, found }])
    }

    fn of_rows(comparison: &'a Comparison, rows: Vec<ComparedRow>) -> Verdict<'a> {
        let outcome = match comparison.tolerance {
            Tolerance::Each { atol, rtol } => worst(&rows, atol, rtol),
            Tolerance::Together { relative_l2, scale } => Outcome::Together {
                error: error_by_column(&rows, scale.unwrap_or_else(|| typical(&rows))),
                limit: relative_l2,
            },
        };
        Verdict {
            comparison,
            rows,
            outcome,
        }
    }

    /// Whether every value is within its tolerance, or all together are. NaN is not.
    pub fn passed(&self) -> bool {
        match self.outcome {
            Outcome::Each {
                difference,
                tolerance,
                ..
            } => difference <= tolerance,
            Outcome::Together { error, limit } => error <= limit,
        }
    }

    /// The verdict for `verify --json`.
    pub fn report(&self) -> VerdictReport {
        let comparison = self.comparison.clone();
        let (measure, error, limit) = match self.outcome {
            Outcome::Each {
                difference,
                tolerance,
                ..
            } => ("difference", difference, tolerance),
            Outcome::Together { error, limit } => ("relative_l2", error, limit),
        };
        VerdictReport {
            what: comparison.expected.name(),
            name: comparison.name,
            checkpoint: comparison.checkpoint,
            sequence: comparison.sequence,
            layer: comparison.layer,
            values: self.values(),
            passed: self.passed(),
            measure,
            error,
            limit,
            source: comparison.source,
            licence: comparison.licence,
        }
    }

    fn values(&self) -> usize {
        self.rows.iter().map(|row| row.expected.len()).sum()
    }

    fn pairs(&self) -> impl Iterator<Item = (f64, f32)> {
        pairs(&self.rows)
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comparison = self.comparison;
        let word = if self.passed() { "pass" } else { "FAIL" };
        writeln!(f, "{word}  {}", comparison.name)?;
        writeln!(f, "      sequence  {}", comparison.sequence)?;
        let what = match &comparison.expected {
            Expected::HiddenRows(_) => "rows, <cls> first",
            Expected::ResidueRows(_) => "residue rows",
            Expected::ResidueNorms(_) => "L2 norms of the residue rows",
            Expected::Mean(_) => "mean over the residues",
            Expected::Bos(_) => "<cls> row",
            Expected::MeanOfMean(_) => "mean over the residues and all columns",
            Expected::LogOdds(_) => "log-odds of variants by one unmasked pass",
            Expected::PllUnmasked(_) => "pseudo-log-likelihood of one unmasked pass",
        };
        let layer = match comparison.layer {
            _ if comparison.expected.needs_logits() => String::new(),
            -1 => " of the last layer".to_owned(),
            layer => format!(" of layer {layer}"),
        };
        let columns = match comparison.stride {
            1 => String::new(),
            stride => format!(", one column in {}", grouped(stride as u64)),
        };
        writeln!(
            f,
            "      compared  {what}{layer}{columns}: {}",
            count(self.values() as u64, "value")
        )?;
        if self.values() <= PRINTED {
            writeln!(f, "      expected  {}", list(self.pairs().map(|(e, _)| e)))?;
            writeln!(f, "      found     {}", list(self.pairs().map(|(_, f)| f)))?;
        }
        match self.outcome {
            Outcome::Each {
                place,
                difference,
                tolerance,
            } => {
                if let Some((expected, found)) = self.pairs().nth(place) {
                    writeln!(
                        f,
                        "      worst     value {}: expected {expected}, found {found}",
                        grouped(place as u64 + 1)
                    )?;
                }
                writeln!(
                    f,
                    "      error     {difference:.2e} there; at most {tolerance:.2e} passes"
                )?;
            }
            Outcome::Together { error, limit } => writeln!(
                f,
                "      error     {error:.2e} (relative L2, column by column); at most {limit:.2e} \
                 passes"
            )?,
        }
        write!(f, "      source    {}", comparison.source)?;
        match &comparison.licence {
            Some(licence) => writeln!(f, " ({licence})"),
            None => writeln!(f),
        }
    }
}

fn list<T: fmt::Display>(values: impl Iterator<Item = T>) -> String {
    values.fold(String::new(), |mut text, value| {
        // Writing to a String does not fail.
        let _ = write!(text, "{}{value}", if text.is_empty() { "" } else { " " });
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(expected: Expected, tolerance: Tolerance) -> Comparison {
        Comparison {
            name: "n".to_owned(),
            checkpoint: None,
            sequence: "MK".to_owned(),
            layer: -1,
            expected,
            stride: 1,
            tolerance,
            source: "s".to_owned(),
            licence: None,
        }
    }

    fn each(atol: f64) -> Tolerance {
        Tolerance::Each { atol, rtol: 0.0 }
    }

    fn together(relative_l2: f64) -> Tolerance {
        Tolerance::Together {
            relative_l2,
            scale: None,
        }
    }

    const BOS: [f32; 2] = [9.0, 8.0];
    const RESIDUES: [f32; 4] = [1.0, 2.0, 3.0, 6.0];

    fn passes(expected: Expected, tolerance: Tolerance) -> bool {
        Verdict::new(&comparison(expected, tolerance), &BOS, &RESIDUES)
            .unwrap()
            .passed()
    }

    #[test]
    fn each_kind_takes_its_own_rows() {
        for exact in [each(0.0), together(0.0)] {
            assert!(passes(
                Expected::HiddenRows(vec![vec![9.0], vec![1.0, 2.0]]),
                exact
            ));
            assert!(!passes(Expected::HiddenRows(vec![vec![1.0]]), exact));
            assert!(passes(
                Expected::ResidueRows(vec![vec![1.0], vec![3.0, 6.0]]),
                exact
            ));
            assert!(passes(Expected::Mean(vec![2.0, 4.0]), exact));
            assert!(passes(Expected::Bos(vec![9.0]), exact));
            assert!(passes(Expected::MeanOfMean(3.0), exact));
        }
        let norms = Expected::ResidueNorms(vec![5_f64.sqrt(), 45_f64.sqrt()]);
        assert!(passes(norms.clone(), each(1e-6)));
        assert!(passes(norms, together(1e-6)));
        assert!(passes(Expected::MeanOfMean(3.25), each(0.25)));
        assert!(!passes(Expected::MeanOfMean(3.25), each(0.2)));
    }

    #[test]
    fn a_stride_skips_columns() {
        let mut wanted = comparison(Expected::Bos(vec![9.0, 7.0]), each(0.0));
        wanted.stride = 2;
        let passed = |bos: &[f32]| Verdict::new(&wanted, bos, &[]).map(|v| v.passed());
        assert!(passed(&[9.0, 8.0, 7.0]).unwrap());
        assert!(!passed(&[9.0, 7.0, 8.0]).unwrap());
        assert!(passed(&[9.0, 7.0]).is_err());
    }

    #[test]
    fn expecting_too_many_rows_or_columns_is_an_error() {
        for expected in [
            Expected::ResidueRows(vec![vec![1.0], vec![3.0], vec![0.0]]),
            Expected::ResidueNorms(vec![1.0, 2.0, 3.0]),
            Expected::Mean(vec![2.0, 4.0, 0.0]),
            Expected::HiddenRows(vec![vec![9.0, 8.0, 7.0]]),
        ] {
            let error = Verdict::new(&comparison(expected, each(1e9)), &BOS, &RESIDUES)
                .unwrap_err()
                .to_string();
            assert_eq!(
                error,
                "comparison 'n' expects more rows or columns than there are: 2 residues, 2 columns"
            );
        }
    }

    #[test]
    fn a_nan_does_not_pass() {
        for tolerance in [each(1e9), together(0.999)] {
            let wanted = comparison(Expected::Bos(vec![0.0, 8.0]), tolerance);
            let verdict = Verdict::new(&wanted, &[f32::NAN, 8.0], &RESIDUES).unwrap();
            assert!(!verdict.passed());
            let wanted = comparison(Expected::ResidueNorms(vec![1.0]), tolerance);
            let verdict = Verdict::new(&wanted, &BOS, &[f32::NAN, 1.0]).unwrap();
            assert!(!verdict.passed());
        }
    }

    #[test]
    fn the_text_of_a_verdict() {
        let wanted = comparison(Expected::Mean(vec![2.0, 4.5]), each(0.25));
        let verdict = Verdict::new(&wanted, &BOS, &RESIDUES).unwrap();
        assert_eq!(
            verdict.to_string(),
            "FAIL  n\n      sequence  MK\n      compared  mean over the residues of the last layer: \
             2 values\n      expected  2 4.5\n      found     2 4\n      worst     value 2: expected \
             4.5, found 4\n      error     5.00e-1 there; at most 2.50e-1 passes\n      source    s\n"
        );
        let mut wanted = comparison(Expected::ResidueNorms(vec![2.0]), together(0.03));
        wanted.layer = 1;
        wanted.licence = Some("MIT".to_owned());
        let verdict = Verdict::new(&wanted, &BOS, &[2.0, 0.0]).unwrap();
        assert_eq!(
            verdict.to_string(),
            "pass  n\n      sequence  MK\n      compared  L2 norms of the residue rows of layer \
             1: 1 value\n      expected  2\n      found     2\n      error     0.00e0 (relative L2, \
             column by column); at most 3.00e-2 passes\n      source    s (MIT)\n"
        );
    }
}
