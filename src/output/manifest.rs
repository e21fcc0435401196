//! `run.json`: what was asked, what that resolved to, what was found, and the checksum of every
//! file.
//!
//! Its bytes depend only on the run: no time stamps, no thread counts, keys in a fixed order.

use crate::output::array::ArrayEntry;
use crate::output::counts::Counts;
use crate::output::disk;
use crate::output::layout::{Layout, RUN_JSON};
use crate::output::link::Link;
use crate::output::note::Note;
use crate::output::shard::ShardEntry;
use crate::printable;
use crate::product::OutDtype;
use crate::run_record::{Asked, Resolved, RunRecord, Shard};
use crate::sha256::sha256_of;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::Path;

/// Newest version of the folder's format that is read. A folder has version 1 unless it holds
/// products that programs of version 1 would misread, or arrays in the folders of its shards.
pub const FORMAT_VERSION: u32 = 3;

/// The version of a folder with this layout. A program that knows only version 1 would take a folder
/// with products besides the rows of layers for a damaged one, and one that knows only version 2 a
/// linked folder.
pub(super) fn format_version(layout: &Layout, is_linked: bool) -> u32 {
    match (is_linked, layout.include.is_empty()) {
        (true, _) => FORMAT_VERSION,
        (false, false) => 2,
        (false, true) => 1,
    }
}

/// Largest `run.json` that is read.
const MOST_BYTES: u64 = 64 << 20;

/// The contents of `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the folder's format, up to [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that computed it.
    pub esm_embed: String,
    /// The part of the input that it holds; `None` for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardEntry>,
    /// The options as given.
    pub asked: Asked,
    /// What they resolved to: the model and its checksums, device, number formats and so on.
    pub resolved: Resolved,
    /// Layers, pools, kind of residue files, dtype and columns.
    pub layout: Layout,
    /// Totals over all records.
    pub counts: Counts,
    /// What users should know about some of the records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// The arrays of the run; a run of version 0.1.0 does not list them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrays: Vec<ArrayEntry>,
    /// The shards whose folders hold the arrays, in the order of their numbers; empty where the arrays
    /// are in this folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Every file directly in the folder, except `run.json`.
    pub files: Vec<FileEntry>,
    /// Every folder with one file per record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<FolderEntry>,
}

/// A file of the output folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes in lower-case hexadecimal. For a large file, SHA-256 of the digests of
    /// its pieces, 32 bytes each.
    pub sha256: String,
    /// Bytes of a piece; the last one may be shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<u64>,
    /// Shape, if it is an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<u64>>,
    /// How its numbers are stored, if it is an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<OutDtype>,
}

/// A folder with one file per record, in sub-folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderEntry {
    /// Its name.
    pub name: String,
    /// Number of files below it.
    pub files: u64,
    /// Their size together.
    pub bytes: u64,
    /// Name of the file that lists the SHA-256 of each, as `sha256sum -c` reads it.
    pub checksums: String,
}

/// Why a `run.json` cannot be used. The text is the predicate of a sentence about it.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// It is larger than any run writes.
    #[error("is larger than 64 MiB, which no run writes")]
    TooLarge,
    /// It is not the JSON that a run writes.
    #[error("is not what a run writes: {}", printable::text(.0))]
    Malformed(String),
    /// It was written by a newer version of this program.
    #[error(
        "has format {0}, which only a newer esm-embed reads; this one reads formats up to \
         {FORMAT_VERSION}"
    )]
    Newer(u32),
}

impl Manifest {
    /// The bytes of `run.json`.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The run that wrote it, to compare with another.
    pub fn record(&self) -> RunRecord {
        RunRecord {
            esm_embed: self.esm_embed.clone(),
            shard: self.shard.map(Shard::from),
            plan: self.shard.and_then(|shard| shard.plan),
            asked: self.asked.clone(),
            resolved: self.resolved.clone(),
        }
    }

    /// Reads the `run.json` of a folder, or `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not what this version of the program writes.
    pub fn read(dir: &Path) -> Result<Option<Self>, ManifestError> {
        let read = Self::read_with_digest(dir)?;
        Ok(read.map(|(manifest, _)| manifest))
    }

    /// The same with the SHA-256 of its bytes.
    pub(super) fn read_with_digest(dir: &Path) -> Result<Option<(Self, String)>, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let Some(bytes) = read_bytes(&dir.join(RUN_JSON))? else {
            return Ok(None);
        };
        let malformed = |e: serde_json::Error| ManifestError::Malformed(e.to_string());
        let version: Version = serde_json::from_slice(&bytes).map_err(malformed)?;
        if version.format_version > FORMAT_VERSION {
            return Err(ManifestError::Newer(version.format_version));
        }
        let manifest = serde_json::from_slice(&bytes).map_err(malformed)?;
        Ok(Some((manifest, sha256_of(&bytes))))
    }
}

/// What a `run.json` of any version lists: enough to remove the files of that run.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Listed {
    files: Vec<Named>,
    #[serde(default)]
    folders: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

impl Listed {
    /// The names in a `run.json` that has been read.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let named = |name: &String| Named { name: name.clone() };
        Self {
            files: manifest
                .files
                .iter()
                .map(|file| named(&file.name))
                .collect(),
            folders: manifest
                .folders
                .iter()
                .map(|folder| named(&folder.name))
                .collect(),
        }
    }

    /// Reads the names in the `run.json` of a folder; no names if there is none.
    pub(super) fn read(dir: &Path) -> Result<Self, ManifestError> {
        Self::read_file(&dir.join(RUN_JSON))
    }

    /// The same for a `run.json` with another name.
    pub(super) fn read_file(path: &Path) -> Result<Self, ManifestError> {
        match read_bytes(path)? {
            None => Ok(Self::default()),
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| ManifestError::Malformed(e.to_string()))
            }
        }
    }

    /// Names of files, unchecked.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Names of folders, unchecked.
    pub(super) fn folders(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().map(|folder| folder.name.as_str())
    }
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, ManifestError> {
    let file = match disk::open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(ManifestError::Io)?,
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(ManifestError::Io)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ManifestError::TooLarge);
    }
    Ok(Some(bytes))
}

#[cfg(test)]
impl Manifest {
    /// A run of nothing.
    pub(super) fn example() -> Self {
        use crate::output::layout::{Include, Residues};
        Manifest {
            format_version: 1,
            esm_embed: "0.2.0".into(),
            shard: None,
            asked: Asked::default(),
            resolved: Resolved::default(),
            layout: Layout {
                layers: vec![6],
                pools: vec![crate::product::Pool::Mean],
                residues: Residues::None,
                dtype: OutDtype::F32,
                dim: 320,
                include: Include::default(),
            },
            counts: Counts::default(),
            notes: Vec::new(),
            arrays: Vec::new(),
            links: Vec::new(),
            files: Vec::new(),
            folders: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::{Pool, Residues};
    use crate::run_record::{AskedLayer, InputFacts, ModelFacts, ModelFile};

    #[test]
    fn literal_bytes() {
        let counts = Counts {
            records: 2,
            ..Counts::default()
        };
        let manifest = Manifest {
            asked: Asked {
                layer: vec![AskedLayer::Index(-1), AskedLayer::Span("2-last".into())],
                pool: vec![Pool::Mean],
                residues: Residues::None,
                ..Asked::default()
            },
            resolved: Resolved {
                layers: vec![6],
                inputs: vec![InputFacts::default()],
                model: ModelFacts {
                    alphabet_size: Some(33),
                    files: vec![ModelFile::default()],
                    ..ModelFacts::default()
                },
                ..Resolved::default()
            },
            counts,
            arrays: Manifest::example().layout.entries(&counts),
            files: vec![FileEntry {
                name: "mean.layer6.npy".into(),
                bytes: 2688,
                sha256: "00".into(),
                pieces: None,
                shape: Some(vec![2, 320]),
                dtype: Some(OutDtype::F32),
            }],
            ..Manifest::example()
        };
        let expected = r#"{
  "format_version": 1,
  "esm_embed": "0.2.0",
  "asked": {
    "dtype": null,
    "gaps": "",
    "inputs": [],
    "layer": [
      -1,
      "2-last"
    ],
    "long": null,
    "model": "",
    "on_invalid": "",
    "out_dtype": "f32",
    "pool": [
      "mean"
    ],
    "residues": "none",
    "unknown": ""
  },
  "resolved": {
    "device": "",
    "dtype": "",
    "gaps": "",
    "inputs": [
      {
        "bytes": 0,
        "path": "",
        "records": 0,
        "sha256": ""
      }
    ],
    "layers": [
      6
    ],
    "long": "",
    "model": {
      "alphabet_size": 33,
      "dim": 0,
      "files": [
        {
          "bytes": 0,
          "name": "",
          "sha256": ""
        }
      ],
      "heads": 0,
      "inv_freq": null,
      "layers": 0,
      "layout": "",
      "positions": "",
      "repo": null,
      "revision": null,
      "stored_dtype": "",
      "token_dropout": false
    }
  },
  "layout": {
    "layers": [
      6
    ],
    "pools": [
      "mean"
    ],
    "residues": "none",
    "dtype": "f32",
    "dim": 320
  },
  "counts": {
    "records": 2,
    "residues": 0,
    "unique_sequences": 0,
    "duplicates": 0,
    "unknown": 0,
    "lower": 0,
    "masks": 0,
    "gaps": 0,
    "invisible": 0,
    "stops": 0,
    "truncated": 0,
    "windowed": 0,
    "skipped": 0,
    "nucleotides": 0,
    "reused_ids": 0
  },
  "arrays": [
    {
      "name": "mean.layer6",
      "dtype": "f32",
      "shape": [
        2,
        320
      ],
      "location": "mean.layer6.npy"
    }
  ],
  "files": [
    {
      "name": "mean.layer6.npy",
      "bytes": 2688,
      "sha256": "00",
      "shape": [
        2,
        320
      ],
      "dtype": "f32"
    }
  ]
}
"#;
        assert_eq!(
            String::from_utf8(manifest.to_bytes().unwrap()).unwrap(),
            expected
        );
        let dir = tempfile::tempdir().unwrap();
        assert!(Manifest::read(dir.path()).unwrap().is_none());
        std::fs::write(dir.path().join(RUN_JSON), expected).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(manifest));
    }

    #[test]
    fn other_json_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(dir.path().join(RUN_JSON), text).unwrap();
            Manifest::read(dir.path()).unwrap_err()
        };
        assert!(matches!(
            read(r#"{"format_version": 4, "x": 1}"#),
            ManifestError::Newer(4)
        ));
        for text in [
            "",
            "{}",
            "[",
            "{\"format_version\": 1}",
            &"[".repeat(100_000),
        ] {
            assert!(
                matches!(read(text), ManifestError::Malformed(_)),
                "{text:.20}"
            );
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(RUN_JSON)).unwrap();
        assert!(matches!(
            Manifest::read(dir.path()),
            Err(ManifestError::Io(_))
        ));
    }
}
