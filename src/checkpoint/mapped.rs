//! A file of weights, mapped into memory and never copied as a whole.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::error::CheckpointError;

/// One memory-mapped file. Its length is fixed at opening; everything read from it goes
/// through [`MappedFile::get`], which checks the range.
#[derive(Debug)]
pub(super) struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps a regular file that is not empty and not a stand-in for the real one.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io {
            path: path.to_path_buf(),
            source,
        };
        // Looked at before it is opened: opening a named pipe would wait for a writer.
        let kind = match path.metadata() {
            Ok(kind) => kind,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(absent(path)),
            Err(error) => return Err(io(error)),
        };
        if !kind.is_file() {
            return Err(CheckpointError::NotWeights {
                path: path.to_path_buf(),
                found: "is not a regular file".into(),
                remedy: "Give the file that holds the weights",
            });
        }
        if kind.len() == 0 {
            return Err(CheckpointError::NotWeights {
                path: path.to_path_buf(),
                found: "is empty".into(),
                remedy: "Fetch it again; the download did not finish",
            });
        }
        let file = File::open(path).map_err(io)?;
        // SAFETY: the map is read-only and private to this process. Rust asks that nobody
        // changes the file meanwhile; as for every mapped checkpoint, whoever rewrites the file
        // in place during a run changes the weights, and whoever shortens it ends the run.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let mapped = Self {
            path: path.to_path_buf(),
            map,
        };
        refuse_stand_in(path, mapped.bytes())?;
        Ok(mapped)
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// `length` bytes from `offset`, or nothing where the file does not hold them.
    pub(super) fn get(&self, offset: usize, length: usize) -> Option<&[u8]> {
        self.map.get(offset..offset.checked_add(length)?)
    }

    /// Tells the system that the pages of this range need not stay in memory. They are read from
    /// the file again if they are looked at again.
    pub(super) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if self.map.get(range.clone()).is_some() && !range.is_empty() {
            use memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the map is read-only and backed by a file, so no page of it can differ
            // from the file: a dropped page comes back with the same bytes. The range was
            // checked to lie in the map.
            let advised = unsafe {
                self.map
                    .unchecked_advise_range(DontNeed, range.start, range.len())
            };
            // Advice only: where the system does not take it, the pages stay resident.
            let _ = advised;
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// An error of this file that says the file is damaged.
    pub(super) fn damaged(&self, found: impl Into<String>) -> CheckpointError {
        CheckpointError::Damaged {
            path: self.path.clone(),
            found: found.into(),
        }
    }
}

/// Refuses files that hosting sites and tools leave in the place of the real ones.
pub(super) fn refuse_stand_in(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let Some((found, remedy)) = stand_in(bytes) else {
        return Ok(());
    };
    Err(CheckpointError::NotWeights {
        path: path.to_path_buf(),
        found: found.into(),
        remedy,
    })
}

/// What stands in the place of the real file, and what to do about it.
fn stand_in(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let start: Vec<u8> = bytes.iter().take(256).map(u8::to_ascii_lowercase).collect();
    let text = start.trim_ascii_start();
    if text.starts_with(b"version https://git-lfs") {
        return Some((
            "is a git lfs pointer, not the file it points to",
            "Run `git lfs pull` in its folder, or download the file itself",
        ));
    }
    if [&b"<!doctype"[..], b"<html", b"<?xml", b"<head"]
        .iter()
        .any(|tag| text.starts_with(tag))
    {
        return Some((
            "is a web page, not the file it should be",
            "Download the file itself (on Hugging Face: /resolve/, not /blob/)",
        ));
    }
    None
}

/// Nothing there, or a link that leads nowhere (a cache whose blobs were removed).
fn absent(path: &Path) -> CheckpointError {
    if path.symlink_metadata().is_ok() {
        return CheckpointError::Damaged {
            path: path.to_path_buf(),
            found: "is a link to a file that is not there".into(),
        };
    }
    CheckpointError::NotFound {
        path: path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_outside_the_file_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, b"0123456789").unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.get(2, 3), Some(&b"234"[..]));
        assert_eq!(file.get(0, 10), Some(&b"0123456789"[..]));
        assert_eq!(file.get(8, 3), None);
        assert_eq!(file.get(usize::MAX, 2), None);
        file.release(0..10);
        assert_eq!(file.bytes(), b"0123456789");
    }

    #[test]
    fn stand_ins_are_recognised_by_content() {
        assert!(
            stand_in(b"version https://git-lfs.github.com/spec/v1\noid")
                .unwrap()
                .0
                .contains("git lfs pointer")
        );
        assert!(
            stand_in(b"\n <!DOCTYPE html><html>")
                .unwrap()
                .0
                .contains("web page")
        );
        assert_eq!(stand_in(b"PK\x03\x04"), None);
    }
}
