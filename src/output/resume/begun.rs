//! `.partial/begun.json`: which run the work in the working folder is of.

use crate::output::disk;
use crate::output::error::OutputError;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Name of the file in the working folder.
pub(crate) const BEGUN_JSON: &str = "begun.json";

/// Version of the working folder's format.
const FORMAT: u32 = 1;

/// Largest file that is read.
const MOST_BYTES: u64 = 64 << 20;

/// Something that the bytes of the output depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is, as a message names it: `dtype`.
    pub what: String,
    /// What it is in this run; `None` when that shows only as the run goes on.
    pub value: Option<String>,
}

impl Fact {
    /// A fact that is known.
    pub fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            value: Some(value.into()),
        }
    }
}

/// How two runs differ: one phrase for each fact that is not the same. A fact whose value is not
/// known on either side is no difference; one that only one side names is.
pub fn differences(before: &[Fact], now: &[Fact]) -> Vec<String> {
    let find = |facts: &[Fact], what: &str| facts.iter().find(|f| f.what == what).cloned();
    let mut all = Vec::new();
    for fact in now {
        match find(before, &fact.what) {
            None => all.push(format!("{} was not there", fact.what)),
            Some(old) => {
                if let (Some(old), Some(new)) = (&old.value, &fact.value)
                    && old != new
                {
                    all.push(format!("{} was {old} and is {new}", fact.what));
                }
            }
        }
    }
    for fact in before {
        if find(now, &fact.what).is_none() {
            all.push(format!("{} is not there any more", fact.what));
        }
    }
    all
}

/// A file that the run reads and every value depends on: a part of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    /// Its name without folders.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Number and times of the file: while they stay, so do its bytes.
    pub stamp: String,
    /// Its SHA-256, once it has been computed.
    pub sha256: Option<String>,
}

/// The run that the work in a working folder is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    format: u32,
    /// Whether it may replace an older output (`--force`).
    pub(crate) replaces: bool,
    /// What the bytes of the output depend on.
    pub facts: Vec<Fact>,
    /// The files of the checkpoint.
    pub needed: Vec<Needed>,
    /// Residues beyond which records are left out for want of memory; `None` if none are.
    pub longest: Option<u64>,
}

impl Begun {
    /// A run with these facts and files.
    pub fn new(facts: Vec<Fact>, needed: Vec<Needed>, longest: Option<u64>) -> Self {
        Self {
            format: FORMAT,
            replaces: false,
            facts,
            needed,
            longest,
        }
    }

    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if version.format != FORMAT {
            return Err(format!("has format {}", version.format));
        }
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }

    /// Reads the file of a working folder; `None` if there is none.
    pub(crate) fn read(partial: &Path) -> Result<Option<Self>, OutputError> {
        let path = partial.join(BEGUN_JSON);
        let file = match disk::open_regular(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(|e| OutputError::io("opening", &path, e))?,
        };
        let mut bytes = Vec::new();
        file.take(MOST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|e| OutputError::io("reading", &path, e))?;
        match Self::parse(&bytes) {
            Ok(begun) => Ok(Some(begun)),
            Err(what) => Err(OutputError::NotResumable { path, what }),
        }
    }

    /// Writes the file, whole and durable.
    pub(crate) fn write(&self, partial: &Path) -> Result<(), OutputError> {
        let path = partial.join(BEGUN_JSON);
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| OutputError::io("encoding", &path, e.into()))?;
        bytes.push(b'\n');
        disk::replace(&path, &bytes).map_err(|e| OutputError::io("writing", &path, e))
    }
}

/// `begun.json` of the run that is going on.
#[derive(Debug)]
pub struct BegunFile {
    partial: PathBuf,
    begun: Begun,
}

impl BegunFile {
    pub(crate) fn new(partial: &Path, begun: Begun) -> Self {
        Self {
            partial: partial.to_path_buf(),
            begun,
        }
    }

    /// What was written when the run began.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// Writes it again, now that the checksums of the checkpoint are known.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn know(&self, needed: Vec<Needed>) -> Result<(), OutputError> {
        let begun = Begun {
            needed,
            ..self.begun.clone()
        };
        begun.write(&self.partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_difference_is_named() {
        let unknown = |what: &str| Fact {
            what: what.into(),
            value: None,
        };
        let before = [
            Fact::new("dtype", "f32"),
            Fact::new("layers", "2"),
            unknown("input 1"),
            Fact::new("input 2", "7 bytes"),
            Fact::new("input 3", "8 bytes"),
        ];
        let now = [
            Fact::new("dtype", "bf16"),
            Fact::new("layers", "2"),
            Fact::new("input 1", "9 bytes"),
            unknown("input 2"),
            Fact::new("shard", "1/4"),
        ];
        assert_eq!(
            differences(&before, &now),
            [
                "dtype was f32 and is bf16",
                "shard was not there",
                "input 3 is not there any more"
            ]
        );
        assert!(differences(&before, &before).is_empty());
    }

    #[test]
    fn literal_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let needed = Needed {
            name: "model.safetensors".into(),
            bytes: 9,
            stamp: "1 2 3".into(),
            sha256: None,
        };
        let begun = Begun::new(vec![Fact::new("dtype", "f32")], vec![needed], Some(9000));
        begun.write(dir.path()).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join(BEGUN_JSON)).unwrap(),
            r#"{
  "format": 1,
  "replaces": false,
  "facts": [
    {
      "what": "dtype",
      "value": "f32"
    }
  ],
  "needed": [
    {
      "name": "model.safetensors",
      "bytes": 9,
      "stamp": "1 2 3",
      "sha256": null
    }
  ],
  "longest": 9000
}
"#
        );
        assert_eq!(Begun::read(dir.path()).unwrap(), Some(begun.clone()));
        begun.write(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_bytes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Begun::read(dir.path()).unwrap(), None);
        for text in [
            "",
            "{}",
            "{\"format\": 1}",
            "{\"format\": 2}",
            &"[".repeat(9999),
        ] {
            assert!(Begun::parse(text.as_bytes()).is_err(), "{text:.20}");
            std::fs::write(dir.path().join(BEGUN_JSON), text).unwrap();
            let error = Begun::read(dir.path()).unwrap_err();
            assert!(matches!(error, OutputError::NotResumable { .. }));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Begun::parse(&bytes).is_err());
        }
    }
}
