//! From the path a user gives to the files of the checkpoint.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::adapter_config::adapter_of;
use super::error::CheckpointError;
use super::file_names::{self as names, is_adapter};
use super::foreign;
use super::index::ShardIndex;
use crate::printable;

/// Files that training leaves beside the weights.
const OF_TRAINING: [&str; 5] = [
    "optimizer.",
    "rng_state",
    "scaler.",
    "scheduler.",
    "training_args.",
];
const REGRESSION: &str = "-contact-regression.pt";
/// Bytes that are enough to recognise other formats.
const START: u64 = 16;

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
    /// `tokenizer.json` beside the weights.
    pub(super) tokenizer: Option<PathBuf>,
    /// `tokenizer_config.json` beside the weights.
    pub(super) tokenizer_config: Option<PathBuf>,
    /// `added_tokens.json` beside the weights.
    pub(super) added_tokens: Option<PathBuf>,
    /// `special_tokens_map.json` beside the weights.
    pub(super) special_tokens: Option<PathBuf>,
    /// `vocab.json` beside the weights.
    pub(super) vocabulary_json: Option<PathBuf>,
    /// A file of an adapter beside the weights.
    pub(super) adapter: Option<PathBuf>,
    /// fair-esm's `NAME-contact-regression.pt` beside `NAME.pt`, or the file that the user named.
    pub(super) regression: Option<PathBuf>,
    /// Whether the user named it.
    pub(super) regression_given: bool,
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
    if let Some(weights) = names::WEIGHTS
        .iter()
        .flat_map(|(whole, index)| [whole, index])
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
                remedy: "put the config.json of the same repository beside the weights".into(),
            });
        }
        return Ok(located);
    }
    let files = listed(path)?;
    let of = |files: &[String], folder: &Path| -> Vec<PathBuf> {
        let models = files.iter().filter(|name| is_model(name));
        models.map(|name| folder.join(name)).collect()
    };
    let mut models = of(&files, path);
    let below = path.join(names::SDK_WEIGHTS);
    if models.is_empty() && below.is_dir() {
        models = of(&listed(&below)?, &below);
    }
    match (models.pop(), models.is_empty()) {
        (Some(one), true) => return file(&one),
        (None, _) if files.iter().any(|name| is_adapter(name)) => {
            return Err(CheckpointError::Adapter {
                path: path.to_path_buf(),
                adapter: Box::new(adapter_of(path)),
            });
        }
        (None, _) => {
            let config = path.join(names::CONFIG);
            if let Some(found) = foreign::other_model(&config) {
                return Err(CheckpointError::Unsupported {
                    path: config,
                    found,
                });
            }
            if let Some((found, remedy)) = foreign::in_folder(path, &files) {
                return Err(CheckpointError::NotWeights {
                    path: path.to_path_buf(),
                    found,
                    remedy: remedy.into(),
                });
            }
        }
        _ => {}
    }
    Err(CheckpointError::NotWeights {
        path: path.to_path_buf(),
        found: format!(
            "is a folder without model.safetensors or pytorch_model.bin (or their .index.json) \
             and without exactly one .pt; {}",
            listing(path)?
        ),
        remedy: "name the folder of a Hugging Face model, or the weights file itself".into(),
    })
}

fn is_model(name: &str) -> bool {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str());
    matches!(
        extension,
        Some("pt" | "pth" | "ckpt" | "bin" | "safetensors" | "nemo")
    ) && !name.ends_with(REGRESSION)
        && !is_adapter(name)
        && !OF_TRAINING.iter().any(|start| name.starts_with(start))
}

/// One file; where an index beside it lists it as a shard, all shards.
fn file(path: &Path) -> Result<Located, CheckpointError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if is_adapter(&name) {
        return Err(CheckpointError::Adapter {
            path: path.to_path_buf(),
            adapter: Box::new(adapter_of(shown_parent(path))),
        });
    }
    if let Some((found, remedy)) = foreign::of_file(path, &start(path)) {
        return Err(CheckpointError::NotWeights {
            path: path.to_path_buf(),
            found,
            remedy: remedy.into(),
        });
    }
    let parent = parent(path);
    for index in names::WEIGHTS.map(|(_, index)| parent.join(index)) {
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

/// One file of weights and the files beside it.
fn beside(weights: &Path) -> Located {
    let parent = parent(weights);
    let there = |name: &str| Some(parent.join(name)).filter(|path| is_there(path));
    let stem = weights.file_stem().and_then(|stem| stem.to_str());
    let regression = stem.and_then(|stem| there(&format!("{stem}{REGRESSION}")));
    let adapters = names::ADAPTER_WEIGHTS.into_iter();
    let mut adapters = adapters.chain([names::ADAPTER_CONFIG]);
    Located {
        weights: vec![weights.to_path_buf()],
        config: there(names::CONFIG),
        vocabulary: there(names::VOCABULARY),
        tokenizer: there(names::TOKENIZER),
        tokenizer_config: there(names::TOKENIZER_CONFIG),
        added_tokens: there(names::ADDED_TOKENS),
        special_tokens: there(names::SPECIAL_TOKENS),
        vocabulary_json: there(names::VOCABULARY_JSON),
        adapter: adapters.find_map(there),
        regression,
        ..Located::default()
    }
}

/// An index and the shards it lists. Each shard is a file of the same folder.
fn sharded(index: &Path) -> Result<Located, CheckpointError> {
    let ShardIndex { shard_of, shards } = ShardIndex::read(index)?;
    let parent = parent(index);
    let weights: Vec<PathBuf> = shards.iter().map(|shard| parent.join(shard)).collect();
    if let Some(path) = weights.iter().find(|path| !path.exists()) {
        return Err(CheckpointError::MissingShard {
            path: path.clone(),
            index: index.to_path_buf(),
        });
    }
    let listed = shard_of
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

/// The folder of a file as a user may give it.
fn shown_parent(path: &Path) -> &Path {
    match parent(path) {
        empty if empty.as_os_str().is_empty() => Path::new("."),
        parent => parent,
    }
}

/// The first bytes of a regular file; none where it cannot be read.
fn start(path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    // A named pipe would wait for a writer.
    if path.is_file()
        && let Ok(file) = File::open(path)
    {
        let _ = file.take(START).read_to_end(&mut start);
    }
    start
}

/// Whether this path exists, even as a broken link.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The names of what is in a folder, sorted.
fn listed(folder: &Path) -> Result<Vec<String>, CheckpointError> {
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

/// What a folder holds, for messages.
fn listing(folder: &Path) -> Result<String, CheckpointError> {
    const SHOWN: usize = 12;
    let names = listed(folder)?;
    let shown: Vec<String> = names.iter().take(SHOWN).map(printable::name).collect();
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
    fn a_repository_of_the_sdk_of_esm_c_has_its_weights_below_it() {
        let folder = make(&[("README.md", "x")]);
        let below = folder.path().join("data/weights");
        std::fs::create_dir_all(&below).unwrap();
        let weights = below.join("esmc_300m_2024_12_v0.pth");
        std::fs::write(&weights, "x").unwrap();
        assert_eq!(
            locate(folder.path()).unwrap().weights,
            std::slice::from_ref(&weights)
        );
        // Weights of the folder itself come first.
        std::fs::write(folder.path().join("m.pt"), "x").unwrap();
        let own = folder.path().join("m.pt");
        assert_eq!(
            locate(folder.path()).unwrap().weights,
            std::slice::from_ref(&own)
        );
        std::fs::remove_file(own).unwrap();
        std::fs::write(below.join("other.pth"), "x").unwrap();
        assert!(locate(folder.path()).is_err());
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
    fn an_adapter_is_recognised_by_its_configuration_or_its_weights() {
        let config = r#"{"peft_type": "VERA", "base_model_name_or_path": "lab/base"}"#;
        let leftovers = [
            ("optimizer.pt", "x"),
            ("rng_state_0.pth", "x"),
            ("training_args.bin", "x"),
        ];
        for files in [
            vec![("adapter_config.json", config)],
            vec![("adapter_config.json", config), ("adapter_model.bin", "x")],
            [
                vec![("adapter_config.json", config), ("config.json", "{}")],
                leftovers.to_vec(),
            ]
            .concat(),
        ] {
            let error = locate(make(&files).path()).unwrap_err().to_string();
            assert!(
                error.contains("is a PEFT adapter (VeRA) of lab/base"),
                "{error}"
            );
        }
        let folder = make(&[("adapter_model.safetensors", "x")]);
        for path in [
            folder.path(),
            &folder.path().join("adapter_model.safetensors"),
        ] {
            let error = locate(path).unwrap_err().to_string();
            assert!(
                error.contains("is a PEFT adapter of a model that it does not name"),
                "{error}"
            );
        }
        let folder = make(&[
            ("config.json", "{}"),
            ("model.safetensors", "x"),
            ("adapter_model.bin", "x"),
        ]);
        let located = locate(folder.path()).unwrap();
        assert_eq!(
            located.adapter,
            Some(folder.path().join("adapter_model.bin"))
        );
    }

    #[test]
    fn the_message_lists_what_a_folder_holds() {
        let folder = make(&[("README", "x"), ("config.json", "{}")]);
        let error = locate(folder.path()).unwrap_err().to_string();
        assert!(error.contains("it holds README, config.json"), "{error}");
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
