//! One expected value of an embedding, with its tolerance and source.

use anyhow::ensure;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One sequence and what is expected of its embedding.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "ComparisonEntry")]
pub struct Comparison {
    /// Its name in the source.
    pub name: String,
    /// The repository or file that the values belong to; None fits every model.
    pub checkpoint: Option<String>,
    /// Residues as in a FASTA.
    pub sequence: String,
    /// Representation, negative from the end.
    pub layer: i64,
    /// What is compared with which values.
    pub expected: Expected,
    /// The values of a row are those of columns 0, stride, 2·stride, ….
    pub stride: usize,
    /// How far the computed values may be from the expected ones.
    pub tolerance: Tolerance,
    /// Where the values come from.
    pub source: String,
    /// Licence of the source.
    pub licence: Option<String>,
}

/// Values of one kind. Rows and vectors may be incomplete: only the values that are given are
/// compared.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "what", content = "expected", rename_all = "snake_case")]
pub enum Expected {
    /// Columns of the first rows, of which row 0 is `<cls>`.
    HiddenRows(Vec<Vec<f64>>),
    /// Columns of the rows of the first residues.
    ResidueRows(Vec<Vec<f64>>),
    /// L2 norms of the whole rows of the first residues.
    ResidueNorms(Vec<f64>),
    /// Columns of the mean over the residues.
    Mean(Vec<f64>),
    /// Columns of the `<cls>` row.
    Bos(Vec<f64>),
    /// The mean over all columns of the mean over the residues.
    MeanOfMean(f64),
    /// Scores of variants by one unmasked pass, as `score --method wt-marginals` computes them.
    LogOdds(BTreeMap<String, f64>),
    /// The pseudo-log-likelihood of one unmasked pass, as `score --method pll-unmasked` computes it.
    PllUnmasked(f64),
}

impl Expected {
    /// Its name in a reference file.
    pub fn name(&self) -> &'static str {
        match self {
            Expected::HiddenRows(_) => "hidden_rows",
            Expected::ResidueRows(_) => "residue_rows",
            Expected::ResidueNorms(_) => "residue_norms",
            Expected::Mean(_) => "mean",
            Expected::Bos(_) => "bos",
            Expected::MeanOfMean(_) => "mean_of_mean",
            Expected::LogOdds(_) => "log_odds",
            Expected::PllUnmasked(_) => "pll_unmasked",
        }
    }

    /// Whether it is computed from logits.
    pub fn needs_logits(&self) -> bool {
        matches!(self, Expected::LogOdds(_) | Expected::PllUnmasked(_))
    }

    fn rows(&self) -> Vec<Vec<f64>> {
        match self {
            Expected::HiddenRows(rows) | Expected::ResidueRows(rows) => rows.clone(),
            Expected::ResidueNorms(row) | Expected::Mean(row) | Expected::Bos(row) => {
                vec![row.clone()]
            }
            Expected::MeanOfMean(value) | Expected::PllUnmasked(value) => vec![vec![*value]],
            Expected::LogOdds(scores) => vec![scores.values().copied().collect()],
        }
    }
}

/// How far computed values may be from the expected ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Each value by itself: at most `atol + rtol · |expected|`.
    Each {
        /// Absolute part.
        atol: f64,
        /// Part that grows with the expected value.
        rtol: f64,
    },
    /// All values together: the relative L2 error, column by column.
    ///
    /// The error of each column is divided by the column's own size, or by `scale` where the column
    /// is smaller; the result is the root mean square over the columns. One very large column, as
    /// every ESM-2 has, then cannot hide errors in all the others.
    Together {
        /// The largest relative L2 error.
        relative_l2: f64,
        /// Size of a typical value; None is the root mean square of the expected ones.
        scale: Option<f64>,
    },
}

/// A comparison as it is in a file.
#[derive(Deserialize)]
struct ComparisonEntry {
    name: String,
    checkpoint: Option<String>,
    sequence: String,
    #[serde(default = "last")]
    layer: i64,
    #[serde(flatten)]
    expected: Expected,
    #[serde(default = "every_column")]
    stride: usize,
    atol: Option<f64>,
    rtol: Option<f64>,
    relative_l2: Option<f64>,
    scale: Option<f64>,
    source: String,
    licence: Option<String>,
}

fn last() -> i64 {
    -1
}

fn every_column() -> usize {
    1
}

impl TryFrom<ComparisonEntry> for Comparison {
    type Error = String;

    fn try_from(entry: ComparisonEntry) -> Result<Comparison, String> {
        let tolerance = match (entry.atol, entry.rtol, entry.relative_l2, entry.scale) {
            (Some(atol), Some(rtol), None, None) => Tolerance::Each { atol, rtol },
            (None, None, Some(relative_l2), scale) => Tolerance::Together { relative_l2, scale },
            _ => {
                return Err(format!(
                    "comparison '{}' needs a tolerance: either atol and rtol, or relative_l2 (and \
                     scale)",
                    entry.name
                ));
            }
        };
        Ok(Comparison {
            name: entry.name,
            checkpoint: entry.checkpoint,
            sequence: entry.sequence,
            layer: entry.layer,
            expected: entry.expected,
            stride: entry.stride,
            tolerance,
            source: entry.source,
            licence: entry.licence,
        })
    }
}

impl Comparison {
    /// Refuses a comparison that cannot fail or cannot pass.
    ///
    /// # Errors
    /// No values, values that are not finite, a tolerance that allows everything or nothing.
    pub fn check(&self) -> anyhow::Result<()> {
        let name = &self.name;
        let rows = self.expected.rows();
        ensure!(
            !rows.is_empty() && rows.iter().all(|row| !row.is_empty()),
            "comparison '{name}': expected holds no values, or a row without values"
        );
        ensure!(
            rows.iter().all(|row| row.iter().all(|v| v.is_finite())),
            "comparison '{name}': expected holds a value that is not finite"
        );
        ensure!(
            self.stride > 0,
            "comparison '{name}': stride is 0; it must be at least 1"
        );
        let limits = match self.tolerance {
            Tolerance::Each { atol, rtol } => {
                vec![("atol", atol, f64::INFINITY), ("rtol", rtol, f64::INFINITY)]
            }
            // With 1, a model that gives zeros would pass.
            Tolerance::Together { relative_l2, scale } => vec![
                ("relative_l2", relative_l2, 1.0),
                ("scale", scale.unwrap_or_default(), f64::INFINITY),
            ],
        };
        for (what, value, below) in limits {
            ensure!(
                (0.0..below).contains(&value),
                "comparison '{name}': {what} is {value}; it must be at least 0{}",
                match below.is_finite() {
                    true => format!(" and less than {below}"),
                    false => String::new(),
                }
            );
        }
        Ok(())
    }
}
