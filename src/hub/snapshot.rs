//! Which files a snapshot of a repository must have, and whether a folder has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cache::is_safe_name;
use crate::checkpoint::file_names::{
    ADAPTER_CONFIG, CONFIG, LORA_WEIGHTS, SDK_WEIGHTS, VOCABULARY, WEIGHTS,
};
use crate::checkpoint::{Adapter, ShardIndex, check_whole, configured_adapter, is_esm_c, json};
use crate::printable;

/// The state of a snapshot folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// No file is missing.
    Complete {
        /// `config.json` if there is one, then the weights, then the vocabulary if there is one.
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

/// The adapter that the configuration in a snapshot describes.
pub(super) fn adapter(folder: &Path, repo: &str) -> Option<Adapter> {
    let mut adapter = configured_adapter(folder)?;
    // PEFT accepts the name of a repository instead of a folder.
    adapter.folder = repo.into();
    Some(adapter)
}

/// Examines a snapshot folder for the files of a LoRA adapter.
pub(super) fn inspect_adapter(folder: &Path) -> Snapshot {
    let mut found = SnapshotFiles::new(folder);
    match found.add_adapter() {
        Ok(()) => found.complete(),
        Err(what) => Snapshot::Incomplete(what),
    }
}

/// The files of a snapshot: those of its model and those of its adapter.
pub(super) fn all_files(folder: &Path) -> Vec<PathBuf> {
    let parts = [inspect(folder), inspect_adapter(folder)];
    let files = parts.into_iter().map(|part| match part {
        Snapshot::Complete { files, .. } => files,
        Snapshot::Incomplete(_) => Vec::new(),
    });
    files.flatten().collect()
}

/// Whether a `model_type` is one that this program reads: Hugging Face's, NVIDIA's or ESM C's.
pub(super) fn is_esm(model_type: &str) -> bool {
    matches!(model_type, "esm" | "nv_esm") || is_esm_c(model_type)
}

/// The one file of weights among the names of a repository of ESM C's SDK.
pub(super) fn sdk_weights<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let is_weights = |name: &&str| {
        let file = name.strip_prefix(SDK_WEIGHTS);
        let file = file.and_then(|file| file.strip_prefix('/'));
        file.is_some_and(|file| file.ends_with(".pth") && is_safe_name(file))
    };
    let mut found = names.filter(is_weights);
    found.next().filter(|_| found.next().is_none())
}

/// The same in a folder, as the name of a file below it.
pub(super) fn sdk_weights_in(folder: &Path) -> Option<String> {
    let entries = folder.join(SDK_WEIGHTS).read_dir().ok()?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<String> = names.map(|name| format!("{SDK_WEIGHTS}/{name}")).collect();
    sdk_weights(names.iter().map(String::as_str)).map(str::to_owned)
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
    let mut found = SnapshotFiles::new(folder);
    match found.add_model() {
        Ok(()) => found.complete(),
        Err(what) => Snapshot::Incomplete(what),
    }
}

struct SnapshotFiles<'a> {
    folder: &'a Path,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl<'a> SnapshotFiles<'a> {
    fn new(folder: &'a Path) -> Self {
        SnapshotFiles {
            folder,
            files: Vec::new(),
            bytes: 0,
        }
    }

    fn complete(self) -> Snapshot {
        Snapshot::Complete {
            files: self.files,
            bytes: self.bytes,
        }
    }

    fn add_model(&mut self) -> Result<(), String> {
        if !self.folder.is_dir() {
            return Err("no file of this revision is in the cache".to_owned());
        }
        let has_config = self.add(CONFIG)?;
        // Those of the SDK need no configuration.
        let sdk = sdk_weights_in(self.folder);
        match (has_config, &sdk) {
            (true, _) if self.add_weights()? => {}
            (_, Some(weights)) => {
                self.add(weights)?;
            }
            (true, None) => return Err("the weights are missing".to_owned()),
            (false, None) => return Err(format!("{CONFIG} is missing")),
        }
        self.add(VOCABULARY)?;
        Ok(())
    }

    fn add_adapter(&mut self) -> Result<(), String> {
        if !self.add(ADAPTER_CONFIG)? {
            return Err(format!("{ADAPTER_CONFIG} is missing"));
        }
        for name in LORA_WEIGHTS {
            if self.add(name)? {
                return Ok(());
            }
        }
        Err(format!("{} is missing", LORA_WEIGHTS[0]))
    }

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
    fn a_snapshot_of_the_sdk_of_esm_c_needs_its_weights_only() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("data/weights");
        std::fs::create_dir_all(&below).unwrap();
        assert_eq!(incomplete(folder.path()), "config.json is missing");
        let weights = below.join("esmc_300m_2024_12_v0.pth");
        std::os::unix::fs::symlink("../gone", &weights).unwrap();
        assert!(incomplete(folder.path()).contains("is a link to ../gone"));
        std::fs::remove_file(&weights).unwrap();
        std::fs::write(&weights, "pickle").unwrap();
        let complete = |files: Vec<PathBuf>, bytes| Snapshot::Complete { files, bytes };
        assert_eq!(inspect(folder.path()), complete(vec![weights.clone()], 6));
        let config = folder.path().join("config.json");
        std::fs::write(&config, "{}").unwrap();
        assert_eq!(inspect(folder.path()), complete(vec![config, weights], 8));
        let two = ["data/weights/a.pth", "data/weights/b.pth"];
        assert_eq!(sdk_weights(two.into_iter()), None);
        for other in [
            "data/weights/../a.pth",
            "data/weights/a.pt",
            "a.pth",
            "data/weights/.pth",
        ] {
            assert_eq!(sdk_weights([other].into_iter()), None, "{other}");
        }
        assert_eq!(sdk_weights(["README.md", two[0]].into_iter()), Some(two[0]));
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
