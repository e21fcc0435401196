//! From the path a user gives to the files of the checkpoint.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::CheckpointError;
use super::json::{self, Unique};

/// The library's own order: one file before shards, safetensors before pickles.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
const REGRESSION: &str = "-contact-regression.pt";
const MOST_SHARDS: usize = 1000;

/// The files of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Located {
    /// The files of weights, in a fixed order.
    pub(super) weights: Vec<PathBuf>,
    /// The index of a sharded checkpoint.
    pub(super) index: Option<PathBuf>,
    /// From the index: which file should hold which tensor.
    pub(super) listed: HashMap<String, PathBuf>,
    /// `config.json` beside the weights, where there is one.
    pub(super) config: Option<PathBuf>,
    /// `vocab.txt` beside the weights.
    pub(super) vocabulary: Option<PathBuf>,
    /// fair-esm's `NAME-contact-regression.pt` beside `NAME.pt`.
    pub(super) regression: Option<PathBuf>,
}

/// Finds the files that belong to a folder or file.
pub(super) fn locate(path: &Path) -> Result<Located, CheckpointError> {
    let kind = match path.metadata() {
        Ok(kind) => kind,
        Err(error) if error.kind() == ErrorKind::NotFound && !is_there(path) => {
            return Err(CheckpointError::NotFound {
                path: path.to_path_buf(),
            });
        }
        Err(source) => {
            return Err(CheckpointError::Io {
                path: path.to_path_buf(),
                source,
            });
        }
    };
    if kind.is_dir() {
        folder(path)
    } else {
        file(path)
    }
}

fn folder(path: &Path) -> Result<Located, CheckpointError> {
    if let Some(weights) = WEIGHTS
        .iter()
        .map(|name| path.join(name))
        .find(|path| is_there(path))
    {
        let located = match weights.extension() {
            Some(extension) if extension == "json" => sharded(&weights)?,
            _ => beside(&weights),
        };
        if located.config.is_none() {
            return Err(CheckpointError::NotWeights {
                path: path.to_path_buf(),
                found: format!("holds weights, but no config.json; {}", listing(path)?),
                remedy: "Put the config.json of the same repository beside the weights",
            });
        }
        return Ok(located);
    }
    let mut alone: Vec<PathBuf> = names(path)?
        .iter()
        .filter(|name| is_model(name))
        .map(|name| path.join(name))
        .collect();
    match (alone.pop(), alone.is_empty()) {
        (Some(one), true) => file(&one),
        _ => Err(CheckpointError::NotWeights {
            path: path.to_path_buf(),
            found: format!(
                "is a folder without model.safetensors or pytorch_model.bin (or their \
                 .index.json) and without exactly one .pt; {}",
                listing(path)?
            ),
            remedy: "Give the folder of a Hugging Face model, or the weights file itself",
        }),
    }
}

fn is_model(name: &str) -> bool {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str());
    matches!(extension, Some("pt" | "pth" | "safetensors")) && !name.ends_with(REGRESSION)
}

/// One file; where an index beside it lists it as a shard, all shards.
fn file(path: &Path) -> Result<Located, CheckpointError> {
    let parent = parent(path);
    for index in WEIGHTS
        .iter()
        .filter(|name| name.ends_with(".json"))
        .map(|name| parent.join(name))
    {
        if index.is_file() && index != path {
            let located = sharded(&index)?;
            if located
                .weights
                .iter()
                .any(|shard| shard.file_name() == path.file_name())
            {
                return Ok(located);
            }
        }
    }
    Ok(beside(path))
}

/// One file of weights and what stands beside it.
fn beside(weights: &Path) -> Located {
    let parent = parent(weights);
    let there = |name: &str| Some(parent.join(name)).filter(|path| is_there(path));
    let stem = weights.file_stem().and_then(|stem| stem.to_str());
    let regression = stem.and_then(|stem| there(&format!("{stem}{REGRESSION}")));
    Located {
        weights: vec![weights.to_path_buf()],
        config: there("config.json"),
        vocabulary: there("vocab.txt"),
        regression,
        ..Located::default()
    }
}

/// An index and the shards it lists. Each shard is a file of the same folder.
fn sharded(index: &Path) -> Result<Located, CheckpointError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: Unique<String>,
    }
    let Index {
        weight_map: Unique(map),
    } = json::read(index)?;
    let config = |found: String| CheckpointError::Config {
        path: index.to_path_buf(),
        found,
    };
    let shards: BTreeSet<&str> = map.values().map(String::as_str).collect();
    if shards.is_empty() || shards.len() > MOST_SHARDS {
        return Err(config(format!(
            "lists {} shards; 1 to {MOST_SHARDS} make sense",
            shards.len()
        )));
    }
    let parent = parent(index);
    let mut weights = Vec::with_capacity(shards.len());
    for shard in shards {
        let mut parts = Path::new(shard).components();
        let plain = matches!(parts.next(), Some(std::path::Component::Normal(_)));
        let strange = |c: char| c.is_control() || matches!(c, '/' | '\\');
        if !plain || parts.next().is_some() || shard.contains(strange) {
            let shard: String = shard.escape_debug().take(200).collect();
            return Err(config(format!(
                "lists the shard `{shard}`, which is not a plain file name"
            )));
        }
        let path = parent.join(shard);
        if !path.exists() {
            return Err(CheckpointError::MissingShard {
                path,
                index: index.to_path_buf(),
            });
        }
        weights.push(path);
    }
    let listed = map
        .into_iter()
        .map(|(tensor, shard)| (tensor, parent.join(shard)))
        .collect();
    let mut located = beside(index);
    located.weights = weights;
    located.listed = listed;
    located.index = Some(index.to_path_buf());
    Ok(located)
}

/// The folder of a file; the current one for a bare name.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Whether anything has this name, be it a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn names(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let io = |source| CheckpointError::Io {
        path: folder.to_path_buf(),
        source,
    };
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(io)? {
        names.push(
            entry
                .map_err(io)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// What a folder holds, for an error's reader.
fn listing(folder: &Path) -> Result<String, CheckpointError> {
    const SHOWN: usize = 12;
    let names = names(folder)?;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| name.escape_debug().collect())
        .collect();
    Ok(match names.len() {
        0 => "it is empty".into(),
        count if count > SHOWN => format!("it holds {}, … ({count} files)", shown.join(", ")),
        _ => format!("it holds {}", shown.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_with_one_pt_is_that_file() {
        let folder = make(&[
            ("m.pt", "x"),
            ("m-contact-regression.pt", "x"),
            ("README", "x"),
        ]);
        let located = locate(folder.path()).unwrap();
        assert_eq!(located.weights, [folder.path().join("m.pt")]);
        assert_eq!(
            located.regression,
            Some(folder.path().join("m-contact-regression.pt"))
        );
        assert_eq!(located.config, None);
    }

    #[test]
    fn safetensors_come_before_pickles() {
        let folder = make(&[
            ("config.json", "{}"),
            ("pytorch_model.bin", "x"),
            ("model.safetensors", "x"),
        ]);
        let located = locate(folder.path()).unwrap();
        assert_eq!(located.weights, [folder.path().join("model.safetensors")]);
        assert_eq!(located.config, Some(folder.path().join("config.json")));
    }

    #[test]
    fn a_shard_leads_to_all_shards() {
        let index =
            r#"{"metadata": {}, "weight_map": {"a": "s2.bin", "b": "s1.bin", "c": "s2.bin"}}"#;
        let folder = make(&[
            ("config.json", "{}"),
            ("pytorch_model.bin.index.json", index),
            ("s1.bin", "x"),
            ("s2.bin", "x"),
        ]);
        let shards = [folder.path().join("s1.bin"), folder.path().join("s2.bin")];
        assert_eq!(locate(folder.path()).unwrap().weights, shards);
        assert_eq!(
            locate(&folder.path().join("s2.bin")).unwrap().weights,
            shards
        );
        std::fs::remove_file(&shards[0]).unwrap();
        let error = locate(folder.path()).unwrap_err().to_string();
        assert!(error.contains("s1.bin: this shard is missing"), "{error}");
    }

    #[test]
    fn a_shard_outside_the_folder_is_an_error() {
        for shard in ["../s.bin", "/etc/passwd", "a/b", "..", ""] {
            let index = format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#);
            let folder = make(&[
                ("config.json", "{}"),
                ("model.safetensors.index.json", &index),
            ]);
            let error = locate(folder.path()).unwrap_err().to_string();
            assert!(error.contains("not a plain file name"), "{shard}: {error}");
        }
    }

    #[test]
    fn what_a_folder_holds_is_said() {
        let folder = make(&[("tf_model.h5", "x"), ("config.json", "{}")]);
        let error = locate(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("it holds config.json, tf_model.h5"),
            "{error}"
        );
        let error = locate(make(&[]).path()).unwrap_err().to_string();
        assert!(error.contains("it is empty"), "{error}");
        let error = locate(make(&[("model.safetensors", "x")]).path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("no config.json"), "{error}");
        let error = locate(make(&[("a.pt", "x"), ("b.pt", "x")]).path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("it holds a.pt, b.pt"), "{error}");
    }
}
