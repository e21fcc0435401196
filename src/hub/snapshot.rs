//! What a snapshot of a repository must hold, and whether a folder holds it.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::content;
use crate::checkpoint::Adapter;
use crate::printable;

/// Describes the architecture; every checkpoint needs it.
pub(super) const CONFIG: &str = "config.json";
/// The alphabet; some repositories leave it out.
pub(super) const VOCABULARY: &str = "vocab.txt";
/// The alphabet where there is no `vocab.txt`.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// Tokens that were added to the alphabet.
pub(super) const ADDED: [&str; 2] = ["added_tokens.json", "tokenizer_config.json"];
/// What else may speak against the alphabet.
pub(super) const SPECIAL: [&str; 2] = ["special_tokens_map.json", "vocab.json"];
/// What makes a repository that of an adapter.
pub(super) const ADAPTER: &str = "adapter_config.json";
/// Weights of other frameworks.
pub(super) const OTHER_WEIGHTS: [&str; 5] = [
    "flax_model.msgpack",
    "tf_model.h5",
    "model.onnx",
    "onnx/model.onnx",
    "model.gguf",
];
/// The weights in one file, and the index of their shards: the first kind that is there is used.
pub(super) const WEIGHTS: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];

/// More shards than this no checkpoint has.
const MAX_SHARDS: usize = 10_000;

/// The state of a snapshot folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// Everything is there.
    Complete {
        /// `config.json`, then the weights, then the vocabulary if there is one.
        files: Vec<PathBuf>,
        /// Their bytes.
        bytes: u64,
    },
    /// What is missing or damaged, in words.
    Incomplete(String),
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// The shards an index names, sorted, each once.
///
/// A name with a separator or a leading dot could lead out of the snapshot and is refused.
pub(super) fn shards(index: &Path) -> Result<Vec<String>, String> {
    let json = content::open_json(index).map_err(|e| format!("it cannot be opened ({e})"))?;
    let index: Index =
        serde_json::from_reader(json).map_err(|e| format!("it is not an index of shards ({e})"))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    if names.is_empty() || names.len() > MAX_SHARDS {
        return Err(format!("it names {} shards", names.len()));
    }
    match names.iter().find(|name| !is_plain_name(name)) {
        Some(bad) => Err(format!("it names a shard `{}`", printable::name(bad))),
        None => Ok(names.into_iter().collect()),
    }
}

/// `model_type` of a `config.json`, if it can be read and says one.
pub(super) fn model_type(config: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        model_type: Option<String>,
    }
    let json = content::open_json(config).ok()?;
    serde_json::from_reader::<_, Config>(json).ok()?.model_type
}

/// `vocab_size` of a `config.json`, if it can be read and says one.
pub(super) fn vocab_size(config: &Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Config {
        vocab_size: Option<u64>,
    }
    let json = content::open_json(config).ok()?;
    serde_json::from_reader::<_, Config>(json).ok()?.vocab_size
}

/// The adapter of a snapshot that holds no whole model.
pub(super) fn adapter(folder: &Path, repo: &str) -> Option<Adapter> {
    let mut json = Vec::new();
    content::open_json(&folder.join(ADAPTER))
        .and_then(|mut file| file.read_to_end(&mut json))
        .ok()?;
    let mut adapter = Adapter::of_json(&json)?;
    // PEFT takes the name of a repository where it takes a folder.
    adapter.folder = repo.into();
    Some(adapter)
}

/// Whether a `model_type` is one that this program reads: Hugging Face's or NVIDIA's.
pub(super) fn is_esm(model_type: &str) -> bool {
    matches!(model_type, "esm" | "nv_esm")
}

fn is_plain_name(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Looks at a snapshot folder without the network: are all files there, and can each be what its
/// name says?
pub(super) fn inspect(folder: &Path) -> Snapshot {
    match files(folder) {
        Ok((files, bytes)) => Snapshot::Complete { files, bytes },
        Err(what) => Snapshot::Incomplete(what),
    }
}

fn files(folder: &Path) -> Result<(Vec<PathBuf>, u64), String> {
    if !folder.is_dir() {
        return Err("nothing of this revision is there".to_owned());
    }
    let mut found = Found {
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

struct Found<'a> {
    folder: &'a Path,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Found<'_> {
    /// Whether the file is there; an error if it is there and damaged.
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
        self.bytes += content::check(&path, name).map_err(|what| format!("{name}: {what}"))?;
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
            "nothing of this revision is there"
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
    fn shard_names_stay_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index.json");
        for bad in [
            "../x.bin",
            "/etc/passwd",
            "a/b.bin",
            "",
            "..",
            ".x",
            "a\\u0000b",
            "-rf",
        ] {
            std::fs::write(&index, format!(r#"{{"weight_map":{{"a":"{bad}"}}}}"#)).unwrap();
            assert!(
                shards(&index).unwrap_err().contains("names a shard"),
                "{bad}"
            );
        }
        std::fs::write(&index, r#"{"weight_map":{}}"#).unwrap();
        assert_eq!(shards(&index).unwrap_err(), "it names 0 shards");
        std::fs::write(&index, "[]").unwrap();
        assert!(shards(&index).is_err());
    }
}
