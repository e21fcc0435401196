//! A folder for the files of the built-in model.

use super::FingerprintError;
use std::fs::{self, DirBuilder};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names that are tried.
const ATTEMPTS: u32 = 100;

/// A new folder that only this user can read. It is removed when it is dropped.
pub(super) struct ScratchFolder(PathBuf);

impl ScratchFolder {
    pub(super) fn create() -> Result<ScratchFolder, FingerprintError> {
        let folder = std::env::temp_dir();
        let process = std::process::id();
        for attempt in 0..ATTEMPTS {
            let path = folder.join(format!("esm-embed-{process}-{attempt}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(ScratchFolder(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => return Err(FingerprintError::Scratch { path, source }),
            }
        }
        Err(FingerprintError::Scratch {
            path: folder,
            source: Error::from(ErrorKind::AlreadyExists),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FingerprintError> {
        let path = self.0.join(name);
        fs::write(&path, bytes).map_err(|source| FingerprintError::Scratch { path, source })
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // Left behind at worst, in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_separate_and_vanish() {
        let (one, other) = (
            ScratchFolder::create().unwrap(),
            ScratchFolder::create().unwrap(),
        );
        assert_ne!(one.path(), other.path());
        one.write("file", b"x").unwrap();
        let file = one.path().join("file");
        assert_eq!(fs::read(&file).unwrap(), b"x");
        drop(one);
        assert!(!file.exists() && other.path().exists());
    }
}
