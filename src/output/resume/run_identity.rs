//! `.partial/begun.json`: which run an unfinished output belongs to.

use crate::output::disk;
use crate::output::error::OutputError;
use crate::run_record::{ModelFile, RunRecord};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Name of the file in the working folder.
pub(crate) const BEGUN_JSON: &str = "begun.json";

/// Version of the working folder's format. Format 1 is that of esm-embed 0.1.0.
const FORMAT: u32 = 2;

/// Largest file that is read.
const MOST_BYTES: u64 = 64 << 20;

/// The run that began the work in a working folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunIdentity {
    format: u32,
    /// Whether it may replace an older output.
    pub(crate) replaces: bool,
    /// Residues beyond which records are left out because memory is short; `None` if none are.
    pub longest: Option<u64>,
    /// The files of the checkpoint when the run began. While they stay the same, so do the bytes.
    pub model_stamps: Vec<FileStamp>,
    /// The run, as far as it is known. Checksums of model files are added while it computes.
    pub run: RunRecord,
}

/// What shows, without reading a file, whether it has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// Its name without folders.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its number in the file system, and when it was last written and changed.
    pub stamp: String,
}

impl Default for RunIdentity {
    fn default() -> Self {
        Self::new(RunRecord::default(), Vec::new(), None)
    }
}

impl RunIdentity {
    /// A run that begins.
    pub fn new(run: RunRecord, model_stamps: Vec<FileStamp>, longest: Option<u64>) -> Self {
        Self {
            format: FORMAT,
            replaces: false,
            longest,
            model_stamps,
            run,
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
        match version.format {
            FORMAT => serde_json::from_slice(bytes).map_err(|e| e.to_string()),
            1 => Err("was begun by esm-embed 0.1.0".into()),
            newer => Err(format!(
                "has format {newer}, which a newer esm-embed writes"
            )),
        }
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
            Ok(identity) => Ok(Some(identity)),
            Err(what) => Err(OutputError::NotResumable { path, what }),
        }
    }

    /// Writes the file durably, all of it or nothing.
    pub(crate) fn write(&self, partial: &Path) -> Result<(), OutputError> {
        let path = partial.join(BEGUN_JSON);
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| OutputError::io("encoding", &path, e.into()))?;
        bytes.push(b'\n');
        disk::replace(&path, &bytes).map_err(|e| OutputError::io("writing", &path, e))
    }
}

/// `begun.json` of the run in progress.
#[derive(Debug)]
pub struct RunIdentityFile {
    partial: PathBuf,
    identity: RunIdentity,
}

impl RunIdentityFile {
    pub(crate) fn new(partial: &Path, identity: RunIdentity) -> Self {
        Self {
            partial: partial.to_path_buf(),
            identity,
        }
    }

    /// What was written when the run began.
    pub fn identity(&self) -> &RunIdentity {
        &self.identity
    }

    /// Writes it again, with the checksums of the checkpoint.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_model_files(&self, files: Vec<ModelFile>) -> Result<(), OutputError> {
        let mut identity = self.identity.clone();
        identity.run.resolved.model.files = files;
        identity.write(&self.partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RunIdentity::read(dir.path()).unwrap(), None);
        let stamp = FileStamp {
            name: "model.safetensors".into(),
            bytes: 9,
            stamp: "1 2 3".into(),
        };
        let mut identity = RunIdentity::new(RunRecord::default(), vec![stamp], Some(9000));
        identity.run.asked.inputs = vec!["a.fasta".into()];
        identity.write(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(BEGUN_JSON)).unwrap();
        assert!(
            text.starts_with(
                r#"{
  "format": 2,
  "replaces": false,
  "longest": 9000,
  "model_stamps": [
    {
      "name": "model.safetensors",
      "bytes": 9,
      "stamp": "1 2 3"
    }
  ],
  "run": {
    "esm_embed": "",
    "asked": {
"#
            ),
            "{text}"
        );
        assert_eq!(
            RunIdentity::read(dir.path()).unwrap(),
            Some(identity.clone())
        );

        let files = vec![ModelFile {
            bytes: 9,
            name: "model.safetensors".into(),
            sha256: "aa".into(),
        }];
        let file = RunIdentityFile::new(dir.path(), identity.clone());
        file.add_model_files(files.clone()).unwrap();
        identity.run.resolved.model.files = files;
        assert_eq!(RunIdentity::read(dir.path()).unwrap(), Some(identity));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_version_is_named() {
        let old = r#"{
            "format": 1, "replaces": false,
            "facts": [{"what": "version of esm-embed", "value": "0.1.0"}],
            "needed": [], "longest": null
        }"#;
        let parse = |text: &str| RunIdentity::parse(text.as_bytes()).unwrap_err();
        assert_eq!(parse(old), "was begun by esm-embed 0.1.0");
        assert_eq!(
            parse(r#"{"format": 3}"#),
            "has format 3, which a newer esm-embed writes"
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", "{\"format\": 2}", &"[".repeat(9999)] {
            assert!(RunIdentity::parse(text.as_bytes()).is_err(), "{text:.20}");
            std::fs::write(dir.path().join(BEGUN_JSON), text).unwrap();
            let error = RunIdentity::read(dir.path()).unwrap_err();
            assert!(matches!(error, OutputError::NotResumable { .. }));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(RunIdentity::parse(&bytes).is_err());
        }
    }
}
