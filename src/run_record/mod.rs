//! What a run was asked to do, and what that resolved to.
//!
//! `run.json` records both when a run is complete, and the working folder of an unfinished run
//! records them as far as they are known. [`differences`] is the one comparison of two runs:
//! [`Asked`] and [`Resolved`] hold more than can change a byte of the output;
//! `RunRecord::settings` and `CudaFacts::settings` name the fields that can.
//!
//! Fields stand in the order of their keys in `run.json`, which is alphabetical. A key that this
//! version does not know is kept in `other`.

mod asked;
mod cuda;
mod differences;
mod resolved;

pub use asked::{Asked, AskedLayer};
pub use cuda::{CudaFacts, GpuFacts, ProductRows};
pub use differences::{Difference, can_be_merged, differences, same_bits, value_differences};
pub use resolved::{AdapterFacts, InputFacts, ModelFacts, ModelFile, Resolved};

use serde::{Deserialize, Serialize};
use std::fmt;

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of the program.
    pub esm_embed: String,
    /// The part of the input that it embeds; `None` for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The plan that has the records of the shard; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanDigest>,
    /// The options as given.
    pub asked: Asked,
    /// What they resolved to.
    pub resolved: Resolved,
}

/// The digest of a plan: see [`PlanFacts`](crate::plan::PlanFacts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlanDigest([u8; 32]);

impl std::str::FromStr for PlanDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<PlanDigest, String> {
        let bytes = crate::sha256::parse(text);
        let wrong = || format!("expected a SHA-256, found `{text}`");
        bytes.map(PlanDigest).ok_or_else(wrong)
    }
}

impl TryFrom<String> for PlanDigest {
    type Error = String;

    fn try_from(text: String) -> Result<PlanDigest, String> {
        text.parse()
    }
}

impl From<PlanDigest> for String {
    fn from(digest: PlanDigest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::sha256::hex(&self.0))
    }
}

/// One of N parts of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number, from 1.
    pub number: u64,
    /// Number of all parts.
    pub of: u64,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// Runs of 0.1.0, which had no choice, kept gaps.
fn keep_gaps() -> String {
    "keep".into()
}
