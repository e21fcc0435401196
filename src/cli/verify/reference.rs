//! The list of expected values: the published ones, or those of a file in the same form.

use super::comparison::Comparison;
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

#[cfg(test)]
mod tests {
    use super::super::comparison::{Expected, Tolerance};
    use super::*;

    #[test]
    fn the_published_values() {
        let reference = Reference::open(None).unwrap();
        assert_eq!(
            reference.checkpoints(),
            [
                "facebook/esm2_t6_8M_UR50D",
                "facebook/esm1b_t33_650M_UR50S",
                "facebook/esm2_t12_35M_UR50D",
                "facebook/esm2_t30_150M_UR50D",
                "facebook/esm2_t33_650M_UR50D",
                "facebook/esm2_t36_3B_UR50D",
                "biohub/ESMC-300M",
                "biohub/ESMC-600M",
                "biohub/ESMC-6B",
                "airkingbd/dplm_150m",
                "airkingbd/dplm_650m",
                "airkingbd/dplm_3b",
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
        for name in [
            "ESMC-6B",
            "biohub/ESMC-300M",
            "dplm_3b",
            "airkingbd/dplm_150m",
        ] {
            assert_eq!(reference.for_model(&names(name)).len(), 9, "{name}");
        }
        let esm1b = reference.for_model(&names("esm1b_t33_650M_UR50S"));
        assert_eq!(esm1b.len(), 3);
        assert!(esm1b.iter().all(|c| c.expected.needs_logits()));
        for name in ["esm2_t48_15B_UR50D", "esm1v_t33_650M_UR90S_1"] {
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
