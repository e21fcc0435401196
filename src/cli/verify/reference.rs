//! Expected values: the published ones, or those of a file of the same shape.

use anyhow::{Context, ensure};
use serde::Deserialize;
use std::path::Path;

/// Values of public test suites for published checkpoints, with their sources.
const PUBLISHED: &str = include_str!("published.json");

const REMEDY: &str = "`esm-embed verify --help` shows what a reference file holds";

/// A list of comparisons.
#[derive(Debug, Deserialize)]
pub struct Reference {
    /// What to compare.
    pub comparisons: Vec<Comparison>,
}

/// One sequence and what is expected of its embedding.
#[derive(Debug, Deserialize)]
pub struct Comparison {
    /// What its source calls it.
    pub name: String,
    /// The repository or file that the values belong to; None fits every model.
    pub checkpoint: Option<String>,
    /// Residues as in a FASTA.
    pub sequence: String,
    /// Representation, negative from the end.
    #[serde(default = "last")]
    pub layer: i64,
    /// What is compared with which values.
    #[serde(flatten)]
    pub expected: Expected,
    /// Absolute part of the tolerance.
    pub atol: f64,
    /// Part of the tolerance that grows with the expected value.
    pub rtol: f64,
    /// Where the values come from.
    pub source: String,
    /// Licence of the source.
    pub licence: Option<String>,
}

/// Values of one kind. Rows and vectors may be cut: what is there is compared.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "what", content = "expected", rename_all = "snake_case")]
pub enum Expected {
    /// The first columns of the first rows, of which row 0 is `<cls>`.
    HiddenRows(Vec<Vec<f64>>),
    /// The first columns of the rows of the first residues.
    ResidueRows(Vec<Vec<f64>>),
    /// The first columns of the mean over the residues.
    Mean(Vec<f64>),
    /// The first columns of the `<cls>` row.
    Bos(Vec<f64>),
    /// The mean over all columns of the mean over the residues.
    MeanOfMean(f64),
}

fn last() -> i64 {
    -1
}

impl Reference {
    /// The published values, or those of a file.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold comparisons.
    pub fn open(file: Option<&Path>) -> anyhow::Result<Reference> {
        let Some(path) = file else {
            return Reference::parse(PUBLISHED);
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the reference {}", path.display()))?;
        Reference::parse(&text).with_context(|| format!("{}. {REMEDY}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Reference> {
        let reference: Reference = serde_json::from_str(text).context("is no reference")?;
        ensure!(!reference.comparisons.is_empty(), "holds no comparisons");
        for comparison in &reference.comparisons {
            comparison
                .check()
                .with_context(|| format!("comparison `{}`", comparison.name))?;
        }
        Ok(reference)
    }

    /// The comparisons for a model that goes by these names.
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

    /// The checkpoints that there are values for, each once.
    pub fn checkpoints(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self
            .comparisons
            .iter()
            .filter_map(|comparison| comparison.checkpoint.as_deref())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Comparison {
    /// A comparison that could not fail would look like one that passed.
    fn check(&self) -> anyhow::Result<()> {
        for (name, tolerance) in [("atol", self.atol), ("rtol", self.rtol)] {
            ensure!(
                tolerance.is_finite() && tolerance >= 0.0,
                "{name} is {tolerance}; it has to be a number from 0"
            );
        }
        let is_filled = match &self.expected {
            Expected::HiddenRows(rows) | Expected::ResidueRows(rows) => {
                !rows.is_empty() && rows.iter().all(|row| !row.is_empty())
            }
            Expected::Mean(row) | Expected::Bos(row) => !row.is_empty(),
            Expected::MeanOfMean(_) => true,
        };
        ensure!(
            is_filled,
            "expected holds no values, or a row without values"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_values() {
        let reference = Reference::open(None).unwrap();
        assert_eq!(reference.checkpoints(), ["facebook/esm2_t6_8M_UR50D"]);
        let names = |name: &str| vec![name.to_owned()];
        for name in ["facebook/esm2_t6_8M_UR50D", "esm2_t6_8M_UR50D"] {
            assert_eq!(reference.for_model(&names(name)).len(), 7, "{name}");
        }
        assert!(reference.for_model(&names("esm2_t12_35M_UR50D")).is_empty());
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
    fn what_is_no_reference() {
        let wrong = |text: &str| crate::cli::text::chain(&Reference::parse(text).unwrap_err());
        let comparison = |rest: &str| {
            format!(r#"{{"comparisons":[{{"name":"n","sequence":"M","source":"s",{rest}}}]}}"#)
        };
        assert!(wrong("[]").starts_with("is no reference: "));
        assert_eq!(wrong(r#"{"comparisons":[]}"#), "holds no comparisons");
        assert_eq!(
            wrong(&comparison(
                r#""what":"mean","expected":[],"atol":0,"rtol":0"#
            )),
            "comparison `n`: expected holds no values, or a row without values"
        );
        assert_eq!(
            wrong(&comparison(
                r#""what":"mean","expected":[1],"atol":-1,"rtol":0"#
            )),
            "comparison `n`: atol is -1; it has to be a number from 0"
        );
        for rest in [
            r#""what":"mean","expected":[1],"atol":1"#,
            r#""what":"logits","expected":[1],"atol":1,"rtol":0"#,
            r#""what":"mean","expected":1,"atol":1,"rtol":0"#,
            r#""what":"mean","expected":[null],"atol":1,"rtol":0"#,
        ] {
            assert!(
                wrong(&comparison(rest)).starts_with("is no reference: "),
                "{rest}"
            );
        }
    }
}
