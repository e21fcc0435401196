//! Expected values: the published ones, or those of a file in the same form.

use super::published;
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::path::Path;

/// Values in f32 from public test suites, with their sources.
const VALUES: &str = include_str!("published/values.json");

const HINT: &str = "hint: esm-embed verify --help shows the format of a reference file";

/// A list of comparisons.
#[derive(Debug, Deserialize)]
pub struct Reference {
    /// What to compare.
    pub comparisons: Vec<Comparison>,
}

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
        }
    }

    fn rows(&self) -> Vec<&[f64]> {
        match self {
            Expected::HiddenRows(rows) | Expected::ResidueRows(rows) => {
                rows.iter().map(Vec::as_slice).collect()
            }
            Expected::ResidueNorms(row) | Expected::Mean(row) | Expected::Bos(row) => vec![row],
            Expected::MeanOfMean(value) => vec![std::slice::from_ref(value)],
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

impl Reference {
    /// The published values, or those of a file.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold comparisons.
    pub fn open(file: Option<&Path>) -> anyhow::Result<Reference> {
        let Some(path) = file else {
            let mut published = Reference::parse(VALUES)?;
            published.comparisons.extend(published::comparisons()?);
            return Ok(published);
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the reference {}", path.display()))?;
        Reference::parse(&text).with_context(|| format!("{}\n{HINT}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Reference> {
        let reference: Reference =
            serde_json::from_str(text).context("is not a list of comparisons")?;
        ensure!(!reference.comparisons.is_empty(), "holds no comparisons");
        for comparison in &reference.comparisons {
            comparison.check()?;
        }
        Ok(reference)
    }

    /// The comparisons for a model with these names.
    pub fn for_model(&self, names: &[String]) -> Vec<&Comparison> {
        let fits = |checkpoint: &str| {
            let last = checkpoint.rsplit('/').next().unwrap_or(checkpoint);
            names.iter().any(|name| name == checkpoint || name == last)
        };
        self.comparisons
            .iter()
            .filter(|comparison| comparison.checkpoint.as_deref().is_none_or(fits))
            .collect()
    }

    /// The checkpoints with values, each once, in the order of their values.
    pub fn checkpoints(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for comparison in &self.comparisons {
            if let Some(checkpoint) = comparison.checkpoint.as_deref()
                && !all.contains(&checkpoint)
            {
                all.push(checkpoint);
            }
        }
        all
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_values() {
        let reference = Reference::open(None).unwrap();
        assert_eq!(
            reference.checkpoints(),
            [
                "facebook/esm2_t6_8M_UR50D",
                "facebook/esm2_t12_35M_UR50D",
                "facebook/esm2_t30_150M_UR50D",
                "facebook/esm2_t33_650M_UR50D",
                "facebook/esm2_t36_3B_UR50D",
            ]
        );
        let names = |name: &str| vec![name.to_owned()];
        for name in ["facebook/esm2_t6_8M_UR50D", "esm2_t6_8M_UR50D"] {
            assert_eq!(reference.for_model(&names(name)).len(), 7 + 9, "{name}");
        }
        for size in ["t12_35M", "t30_150M", "t33_650M", "t36_3B"] {
            let found = reference.for_model(&names(&format!("esm2_{size}_UR50D")));
            assert_eq!(found.len(), 9, "{size}");
        }
        for name in ["esm2_t48_15B_UR50D", "esm1b_t33_650M_UR50S"] {
            assert!(reference.for_model(&names(name)).is_empty());
        }
        for comparison in &reference.comparisons {
            comparison.check().unwrap();
        }
        let first = &reference.comparisons[0];
        assert_eq!((first.sequence.as_str(), first.layer), ("GLDALQITV", -1));
        let Expected::HiddenRows(rows) = &first.expected else {
            panic!("{first:?}");
        };
        assert_eq!(rows[2], [0.3228, -0.2499, 0.3415]);
        assert_eq!(
            reference.comparisons[6].expected,
            Expected::MeanOfMean(-0.0104174)
        );
    }

    #[test]
    fn invalid_references_are_refused() {
        let wrong = |text: &str| {
            crate::cli::message::Message::of_error(&Reference::parse(text).unwrap_err()).text
        };
        let comparison = |rest: &str| {
            format!(r#"{{"comparisons":[{{"name":"n","sequence":"M","source":"s",{rest}}}]}}"#)
        };
        let with = |rest: &str| {
            wrong(&comparison(&format!(
                r#""what":"mean","expected":[1],{rest}"#
            )))
        };
        assert!(wrong("[]").starts_with("is not a list of comparisons: "));
        assert_eq!(wrong(r#"{"comparisons":[]}"#), "holds no comparisons");
        assert_eq!(
            wrong(&comparison(
                r#""what":"mean","expected":[],"atol":0,"rtol":0"#
            )),
            "comparison 'n': expected holds no values, or a row without values"
        );
        assert_eq!(
            with(r#""atol":-1,"rtol":0"#),
            "comparison 'n': atol is -1; it must be at least 0"
        );
        assert_eq!(
            with(r#""relative_l2":1"#),
            "comparison 'n': relative_l2 is 1; it must be at least 0 and less than 1"
        );
        assert_eq!(
            with(r#""atol":0,"rtol":0,"stride":0"#),
            "comparison 'n': stride is 0; it must be at least 1"
        );
        for rest in [
            r#""atol":1"#,
            r#""atol":1,"rtol":0,"relative_l2":0.1"#,
            r#""scale":1"#,
            r#""name_only":1"#,
        ] {
            let text = with(rest);
            assert!(
                text.starts_with(
                    "is not a list of comparisons: comparison 'n' needs a tolerance: either atol \
                     and rtol, or relative_l2 (and scale)"
                ),
                "{text}"
            );
        }
        for rest in [
            r#""what":"logits","expected":[1],"atol":1,"rtol":0"#,
            r#""what":"mean","expected":1,"atol":1,"rtol":0"#,
            r#""what":"mean","expected":[null],"atol":1,"rtol":0"#,
        ] {
            assert!(
                wrong(&comparison(rest)).starts_with("is not a list of comparisons: "),
                "{rest}"
            );
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused() {
        let comparison = Comparison {
            name: "n".to_owned(),
            checkpoint: None,
            sequence: "M".to_owned(),
            layer: -1,
            expected: Expected::Mean(vec![1.0, f64::NAN]),
            stride: 1,
            tolerance: Tolerance::Each {
                atol: 1.0,
                rtol: 0.0,
            },
            source: "s".to_owned(),
            licence: None,
        };
        assert_eq!(
            comparison.check().unwrap_err().to_string(),
            "comparison 'n': expected holds a value that is not finite"
        );
    }
}
