//! Found and expected values side by side.

use super::reference::{Comparison, Expected};
use anyhow::ensure;
use esm_embed::pooling;
use std::fmt::{self, Write as _};

/// More values than this are not printed one by one.
const PRINTED: usize = 12;

/// The outcome of one comparison.
#[derive(Debug)]
pub struct Verdict<'a> {
    comparison: &'a Comparison,
    expected: Vec<f64>,
    found: Vec<f32>,
    /// Place in the values, difference and tolerance where the difference stands out most.
    worst: (usize, f64, f64),
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
        let mut expected = Vec::new();
        let mut found = Vec::new();
        let mut add = |want: &[f64], row: Option<&[f32]>| {
            let have = row.and_then(|row| row.get(..want.len()));
            ensure!(
                have.is_some(),
                "comparison `{}` expects more rows or columns than there are: {} residues, {dim} \
                 columns",
                comparison.name,
                residues.len() / dim
            );
            expected.extend_from_slice(want);
            found.extend_from_slice(have.unwrap_or_default());
            Ok(())
        };
        let residue = |i: usize| residues.chunks_exact(dim).nth(i);
        match &comparison.expected {
            Expected::HiddenRows(rows) => {
                for (i, row) in rows.iter().enumerate() {
                    add(row, i.checked_sub(1).map_or(Some(bos), residue))?;
                }
            }
            Expected::ResidueRows(rows) => {
                for (i, row) in rows.iter().enumerate() {
                    add(row, residue(i))?;
                }
            }
            Expected::Mean(row) => add(row, Some(&pooling::mean(residues, dim)))?,
            Expected::Bos(row) => add(row, Some(bos))?,
            Expected::MeanOfMean(value) => {
                let mean = pooling::mean(residues, dim);
                let sum: f64 = mean.iter().copied().map(f64::from).sum();
                add(&[*value], Some(&[(sum / dim as f64) as f32]))?;
            }
        }
        let worst = worst(&expected, &found, comparison.atol, comparison.rtol);
        Ok(Verdict {
            comparison,
            expected,
            found,
            worst,
        })
    }

    /// Whether every value is within its tolerance.
    pub fn passed(&self) -> bool {
        let (_, difference, tolerance) = self.worst;
        difference <= tolerance
    }
}

/// The place whose difference is largest beside its tolerance; a NaN is worse than any number.
fn worst(expected: &[f64], found: &[f32], atol: f64, rtol: f64) -> (usize, f64, f64) {
    let mut worst = (0, 0.0, 0.0);
    let mut most = f64::NEG_INFINITY;
    for (i, (want, have)) in expected.iter().zip(found).enumerate() {
        let difference = (f64::from(*have) - want).abs();
        let tolerance = atol + rtol * want.abs();
        let excess = difference - tolerance;
        if excess.is_nan() {
            return (i, difference, tolerance);
        }
        if excess > most {
            most = excess;
            worst = (i, difference, tolerance);
        }
    }
    worst
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comparison = self.comparison;
        let word = if self.passed() { "pass" } else { "FAIL" };
        writeln!(f, "{word}  {}", comparison.name)?;
        let what = match &comparison.expected {
            Expected::HiddenRows(_) => "rows from <cls> on",
            Expected::ResidueRows(_) => "rows of the residues",
            Expected::Mean(_) => "mean over the residues",
            Expected::Bos(_) => "<cls> row",
            Expected::MeanOfMean(_) => "mean over the columns of the mean over the residues",
        };
        writeln!(
            f,
            "      of {}, layer {}: {what}, {} values",
            comparison.sequence,
            comparison.layer,
            self.expected.len()
        )?;
        if self.expected.len() <= PRINTED {
            writeln!(f, "      expected  {}", list(&self.expected))?;
            writeln!(f, "      found     {}", list(&self.found))?;
        }
        let (place, difference, tolerance) = self.worst;
        let at = |i: usize| (self.expected.get(i), self.found.get(i));
        if let (Some(want), Some(have)) = at(place) {
            writeln!(
                f,
                "      worst     value {place}: expected {want}, found {have}, difference \
                 {difference:.2e}"
            )?;
        }
        writeln!(
            f,
            "      tolerance {tolerance:.2e} there ({:e} + {:e} of the expected value)",
            comparison.atol, comparison.rtol
        )?;
        write!(f, "      source    {}", comparison.source)?;
        match &comparison.licence {
            Some(licence) => writeln!(f, " ({licence})"),
            None => writeln!(f),
        }
    }
}

fn list<T: fmt::Display>(values: &[T]) -> String {
    values.iter().fold(String::new(), |mut text, value| {
        // Writing to a String does not fail.
        let _ = write!(text, "{}{value}", if text.is_empty() { "" } else { " " });
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(expected: Expected, atol: f64) -> Comparison {
        Comparison {
            name: "n".to_owned(),
            checkpoint: None,
            sequence: "MK".to_owned(),
            layer: -1,
            expected,
            atol,
            rtol: 0.0,
            source: "s".to_owned(),
            licence: None,
        }
    }

    const BOS: [f32; 2] = [9.0, 8.0];
    const RESIDUES: [f32; 4] = [1.0, 2.0, 3.0, 6.0];

    fn passes(expected: Expected, atol: f64) -> bool {
        Verdict::new(&comparison(expected, atol), &BOS, &RESIDUES)
            .unwrap()
            .passed()
    }

    #[test]
    fn each_kind_takes_its_own_rows() {
        assert!(passes(
            Expected::HiddenRows(vec![vec![9.0], vec![1.0, 2.0]]),
            0.0
        ));
        assert!(!passes(Expected::HiddenRows(vec![vec![1.0]]), 0.0));
        assert!(passes(
            Expected::ResidueRows(vec![vec![1.0], vec![3.0, 6.0]]),
            0.0
        ));
        assert!(passes(Expected::Mean(vec![2.0, 4.0]), 0.0));
        assert!(passes(Expected::Bos(vec![9.0]), 0.0));
        assert!(passes(Expected::MeanOfMean(3.0), 0.0));
        assert!(passes(Expected::MeanOfMean(3.25), 0.25));
        assert!(!passes(Expected::MeanOfMean(3.25), 0.2));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for expected in [
            Expected::ResidueRows(vec![vec![1.0], vec![3.0], vec![0.0]]),
            Expected::Mean(vec![2.0, 4.0, 0.0]),
            Expected::HiddenRows(vec![vec![9.0, 8.0, 7.0]]),
        ] {
            assert!(Verdict::new(&comparison(expected, 1e9), &BOS, &RESIDUES).is_err());
        }
    }

    #[test]
    fn a_nan_does_not_pass() {
        let wanted = comparison(Expected::Bos(vec![0.0, 8.0]), 1e9);
        let verdict = Verdict::new(&wanted, &[f32::NAN, 8.0], &RESIDUES).unwrap();
        assert!(!verdict.passed());
    }

    #[test]
    fn the_report() {
        let wanted = comparison(Expected::Mean(vec![2.0, 4.5]), 0.25);
        let verdict = Verdict::new(&wanted, &BOS, &RESIDUES).unwrap();
        assert_eq!(
            verdict.to_string(),
            "FAIL  n\n      of MK, layer -1: mean over the residues, 2 values\n      expected  2 \
             4.5\n      found     2 4\n      worst     value 1: expected 4.5, found 4, difference \
             5.00e-1\n      tolerance 2.50e-1 there (2.5e-1 + 0e0 of the expected value)\n      \
             source    s\n"
        );
    }
}
