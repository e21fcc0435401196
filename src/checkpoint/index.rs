//! The index of a checkpoint in shards: which file holds which tensor.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path};

use serde::Deserialize;

use super::error::CheckpointError;
use super::json::{self, Unique};
use crate::printable;

const MOST_SHARDS: usize = 1000;

/// An index, each of whose shards has a plain file name.
#[derive(Debug)]
pub(crate) struct ShardIndex {
    /// The shard of each tensor.
    pub(super) shard_of: HashMap<String, String>,
    /// The shards, each once and in the order of their names.
    pub(crate) shards: BTreeSet<String>,
}

impl ShardIndex {
    /// Reads `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
    pub(crate) fn read(path: &Path) -> Result<ShardIndex, CheckpointError> {
        #[derive(Deserialize)]
        struct Json {
            weight_map: Unique<String>,
        }
        let Json {
            weight_map: Unique(shard_of),
        } = json::read(path)?;
        let wrong = |found: String| CheckpointError::Config {
            path: path.to_path_buf(),
            found,
        };
        let shards: BTreeSet<String> = shard_of.values().cloned().collect();
        if shards.is_empty() || shards.len() > MOST_SHARDS {
            return Err(wrong(format!(
                "lists {} shards, not 1 to {MOST_SHARDS}",
                shards.len()
            )));
        }
        match shards.iter().find(|shard| !is_plain(shard)) {
            Some(shard) => Err(wrong(format!(
                "lists the shard `{}`, which is not a plain file name",
                printable::name(shard)
            ))),
            None => Ok(ShardIndex { shard_of, shards }),
        }
    }
}

/// Whether a name stays in its folder.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(parts.next(), Some(Component::Normal(_)))
        && parts.next().is_none()
        && !name.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_stay_in_the_folder_of_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.json");
        let error = |json: &str| {
            std::fs::write(&path, json).unwrap();
            ShardIndex::read(&path).unwrap_err().to_string()
        };
        for shard in ["../s.bin", "/etc/passwd", "a/b", "..", "", "a\\u0000b"] {
            let found = error(&format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#));
            assert!(found.contains("not a plain file name"), "{shard}: {found}");
        }
        assert!(error(r#"{"weight_map": {}}"#).contains("lists 0 shards"));
        assert!(error("[]").contains("is not the expected JSON"));
    }
}
