//! Which files a snapshot of a repository must have, and whether a folder has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cache::is_safe_name;
use crate::checkpoint::file_names::{CONFIG, VOCABULARY, WEIGHTS};
use crate::checkpoint::{Adapter, ShardIndex, check_whole, configured_adapter, json};
use crate::printable;

/// The state of a snapshot folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// No file is missing.
    Complete {
        /// `config.json`, then the weights, then the vocabulary if there is one.
        files: Vec<PathBuf>,
        /// Their bytes.
        bytes: u64,
    },
    /// What is missing or damaged.
    Incomplete(String),
}

/// What a `config.json` says of the kind of model. A file that cannot be read says nothing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelKind {
    pub(super) model_type: Option<String>,
    pub(super) vocab_size: Option<usize>,
}

impl ModelKind {
    pub(super) fn read(config: &Path) -> Self {
        json::read(config).unwrap_or_default()
    }
}

/// The adapter of a snapshot without a complete model.
pub(super) fn adapter(folder: &Path, repo: &str) -> Option<Adapter> {
    let mut adapter = configured_adapter(folder)?;
    // PEFT accepts the name of a repository instead of a folder.
    adapter.folder = repo.into();
    Some(adapter)
}

/// Whether a `model_type` is one that this program reads: Hugging Face's or NVIDIA's.
pub(super) fn is_esm(model_type: &str) -> bool {
    matches!(model_type, "esm" | "nv_esm")
}

/// The shards an index lists. A name becomes part of an address, so only plain ones are accepted.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>, String> {
    let is_plain = |name: &String| is_safe_name(name) && !name.starts_with('-');
    let shards = ShardIndex::read(index)
        .map_err(|error| error.found())?
        .shards;
    match shards.iter().find(|name| !is_plain(name)) {
        Some(bad) => Err(format!("lists the shard `{}`", printable::name(bad))),
        None => Ok(shards),
    }
}

/// Examines a snapshot folder without the network: whether all files exist and can be what their names
/// say.
pub(super) fn inspect(folder: &Path) -> Snapshot {
    match files(folder) {
        Ok((files, bytes)) => Snapshot::Complete { files, bytes },
        Err(what) => Snapshot::Incomplete(what),
    }
}

fn files(folder: &Path) -> Result<(Vec<PathBuf>, u64), String> {
    if !folder.is_dir() {
        return Err("no file of this revision is in the cache".to_owned());
    }
    let mut found = SnapshotFiles {
        folder,
        files: Vec::new(),
        bytes: 0,
    };
    if !found.add(CONFIG)? {
        return Err(format!("{CONFIG} is missing"));
    }
    if !found.add_weights()? {
        return Err("the weights are missing".to_owned());
    }
    found.add(VOCABULARY)?;
    Ok((found.files, found.bytes))
}

struct SnapshotFiles<'a> {
    folder: &'a Path,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl SnapshotFiles<'_> {
    /// Whether the file exists; an error if it is damaged.
    fn add(&mut self, name: &str) -> Result<bool, String> {
        let path = self.folder.join(name);
        let Ok(metadata) = path.symlink_metadata() else {
            return Ok(false);
        };
        if metadata.is_symlink() && !path.exists() {
            let target = path.read_link().unwrap_or_default();
            return Err(format!(
                "{} is a link to {}, which does not exist",
                path.display(),
                target.display()
            ));
        }
        let checked = check_whole(&path, name);
        self.bytes += checked.map_err(|error| format!("{name}: {}", error.found()))?;
        self.files.push(path);
        Ok(true)
    }

    fn add_weights(&mut self) -> Result<bool, String> {
        for (single, index) in WEIGHTS {
            if self.add(single)? {
                return Ok(true);
            }
            if self.add(index)? {
                let shards =
                    shards(&self.folder.join(index)).map_err(|what| format!("{index}: {what}"))?;
                for shard in shards {
                    if !self.add(&shard)? {
                        return Err(format!("{shard} is missing"));
                    }
                }
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_SAFETENSORS: &[u8] = b"\x02\0\0\0\0\0\0\0{}";

    fn incomplete(folder: &Path) -> String {
        match inspect(folder) {
            Snapshot::Incomplete(what) => what,
            complete => panic!("{complete:?}"),
        }
    }

    #[test]
    fn a_snapshot_needs_config_and_weights() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        assert_eq!(
            incomplete(&file("none")),
            "no file of this revision is in the cache"
        );
        assert_eq!(incomplete(folder.path()), "config.json is missing");
        std::fs::write(file("config.json"), "{}").unwrap();
        assert_eq!(incomplete(folder.path()), "the weights are missing");
        std::fs::write(file("pytorch_model.bin"), "pickle").unwrap();
        assert_eq!(
            inspect(folder.path()),
            Snapshot::Complete {
                files: vec![file("config.json"), file("pytorch_model.bin")],
                bytes: 8
            }
        );
        std::os::unix::fs::symlink("../gone", file("model.safetensors")).unwrap();
        assert!(incomplete(folder.path()).contains("is a link to ../gone"));
        std::fs::remove_file(file("model.safetensors")).unwrap();
        std::fs::write(file("model.safetensors"), EMPTY_SAFETENSORS).unwrap();
        std::fs::write(file("vocab.txt"), "<cls>\n").unwrap();
        assert_eq!(
            inspect(folder.path()),
            Snapshot::Complete {
                files: vec![
                    file("config.json"),
                    file("model.safetensors"),
                    file("vocab.txt")
                ],
                bytes: 2 + 10 + 6
            }
        );
    }

    #[test]
    fn all_shards_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("config.json"), "{}").unwrap();
        std::fs::write(
            file("pytorch_model.bin.index.json"),
            r#"{"metadata":{},"weight_map":{"a":"s-2.bin","b":"s-1.bin","c":"s-2.bin"}}"#,
        )
        .unwrap();
        std::fs::write(file("s-1.bin"), "one").unwrap();
        assert_eq!(incomplete(folder.path()), "s-2.bin is missing");
        std::fs::write(file("s-2.bin"), "two").unwrap();
        assert!(matches!(
            inspect(folder.path()),
            Snapshot::Complete { files, .. } if files.len() == 4
        ));
    }

    #[test]
    fn shard_names_are_plain() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index.json");
        for bad in ["../x.bin", "/etc/passwd", "", "..", ".x", "a b", "-rf"] {
            std::fs::write(&index, format!(r#"{{"weight_map":{{"a":"{bad}"}}}}"#)).unwrap();
            let error = shards(&index).unwrap_err();
            assert!(error.contains("lists the shard"), "{bad}: {error}");
        }
        std::fs::write(&index, "[]").unwrap();
        assert!(shards(&index).is_err());
    }
}
