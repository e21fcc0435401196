//! Files of a model beside the digests published for them.

use anyhow::Context;
use esm_embed::checkpoint::Checkpoint;
use esm_embed::hub::{published_digest, published_hub_digest};
use esm_embed::pipeline::Model;
use esm_embed::printable;
use esm_embed::sha256::sha256_file;
use serde::Serialize;
use std::fmt;

/// A file and its published digest.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// Its name, without folders.
    name: String,
    /// Whether it has the published digest.
    pub passed: bool,
    /// The published SHA-256.
    expected: String,
    /// The SHA-256 of the file.
    found: String,
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passed { "pass" } else { "FAIL" };
        writeln!(f, "{word}  SHA-256 of {}", printable::text(&self.name))?;
        writeln!(f, "      expected  {}", self.expected)?;
        writeln!(f, "      found     {}", self.found)
    }
}

/// Compares the files with the digests published for them, where there are any.
pub fn digests(
    model: &Model,
    checkpoint: &Checkpoint,
    show: impl Fn(&FileReport) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<FileReport>> {
    let mut files = Vec::new();
    for file in checkpoint.files() {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let of_hub = match (&model.repo, &model.revision) {
            (Some(repo), Some(commit)) => published_hub_digest(repo, commit, name),
            _ => None,
        };
        let of_file = published_digest(name).map(|(sha256, bytes)| (sha256, Some(bytes)));
        let Some((expected, _)) = of_hub.or(of_file) else {
            continue;
        };
        let (found, _) =
            sha256_file(file).with_context(|| format!("cannot read {}", file.display()))?;
        let report = FileReport {
            name: name.to_owned(),
            passed: found == expected,
            expected: expected.to_owned(),
            found,
        };
        show(&report)?;
        files.push(report);
    }
    Ok(files)
}
