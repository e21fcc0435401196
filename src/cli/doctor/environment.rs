//! The environment variables that this program respects and that hold no secret.

use crate::cli::options::variables;
use std::collections::BTreeMap;

/// Variables that configure the cache.
pub const CACHE: [&str; 4] = [
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
];

/// Variables of schedulers and CUDA.
const COMPUTATION: [&str; 2] = ["CUDA_VISIBLE_DEVICES", "SLURM_CPUS_PER_TASK"];

/// The value of a variable, if it is set.
pub fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// All of them that are set.
pub fn all() -> BTreeMap<&'static str, String> {
    COMPUTATION
        .into_iter()
        .chain(CACHE)
        .chain(variables::ALL)
        .filter_map(|name| Some((name, variable(name)?)))
        .collect()
}
