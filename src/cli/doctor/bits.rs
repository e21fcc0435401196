//! `--bits`: digests of a built-in check, to compare machines.

use super::ReportLine;
use esm_embed::fingerprint::{BuiltInModel, EXPECTED, FingerprintError};
use serde::Serialize;
use std::collections::BTreeMap;

/// What this machine computes. The report is the same on every CPU.
#[derive(Debug, Serialize)]
pub struct Bits {
    /// The digest of each number format.
    sha256: BTreeMap<&'static str, String>,
    /// Whether they are those of this version on every CPU.
    expected: bool,
}

impl Bits {
    /// Computes the digests on the default path of each number format.
    pub fn compute() -> Result<Bits, FingerprintError> {
        let model = BuiltInModel::write()?;
        let mut sha256 = BTreeMap::new();
        let mut expected = true;
        for (dtype, digest) in EXPECTED {
            let found = model.digest(None, dtype)?;
            expected &= found == digest;
            sha256.insert(dtype.name(), found);
        }
        Ok(Bits { sha256, expected })
    }

    /// As text.
    pub fn lines(&self) -> Vec<ReportLine> {
        let digests = EXPECTED.into_iter().filter_map(|(dtype, _)| {
            let digest = self.sha256.get(dtype.name())?;
            Some((dtype.name(), digest.clone()))
        });
        let verdict = match self.expected {
            true => "yes".to_owned(),
            false => format!(
                "no: this machine computes other bits than esm-embed {} on other CPUs; please \
                 report it with the output of `esm-embed doctor`",
                env!("CARGO_PKG_VERSION")
            ),
        };
        digests.chain([("as on every CPU", verdict)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bits_are_reported() {
        let bits = |expected| Bits {
            sha256: [("f32", "aa"), ("f16", "bb"), ("bf16", "cc")]
                .map(|(dtype, digest)| (dtype, digest.to_owned()))
                .into(),
            expected,
        };
        let lines = bits(true).lines();
        let expected = [
            ("f32", "aa"),
            ("f16", "bb"),
            ("bf16", "cc"),
            ("as on every CPU", "yes"),
        ];
        let found = lines.iter().map(|(what, found)| (*what, &**found));
        assert!(found.eq(expected), "{lines:?}");
        let lines = bits(false).lines();
        let verdict = lines.last().map(|(_, verdict)| verdict.as_str());
        let expected = concat!(
            "no: this machine computes other bits than esm-embed ",
            env!("CARGO_PKG_VERSION"),
            " on other CPUs; please report it with the output of `esm-embed doctor`"
        );
        assert_eq!(verdict, Some(expected));
    }
}
