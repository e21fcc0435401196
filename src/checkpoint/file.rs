//! A file of weights, read piece by piece and never held completely in memory.
//!
//! It is not memory-mapped: a mapping counts against a limit on the address space, costs a page fault
//! for each page, and kills the process if the file is shortened, where reading is an error.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use crate::stamp::Stamp;

/// Bytes that are enough to recognise a file.
const START: usize = 512;

/// One open file, or the part of it that holds the weights. Everything is read from the file that was opened, even if its path later names
/// another one.
#[derive(Debug)]
pub(super) struct WeightFile {
    path: PathBuf,
    file: File,
    /// What is read, where it is not the file itself.
    content: Option<File>,
    /// Where what is read begins.
    from: usize,
    length: usize,
    stamp: Stamp,
    start: Vec<u8>,
}

impl WeightFile {
    /// Opens a regular file that is not empty, a web page or a Git LFS pointer.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io {
            path: path.to_path_buf(),
            source,
        };
        // Examined before it is opened: opening a named pipe would wait for a writer.
        let kind = match path.metadata() {
            Ok(kind) => kind,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(absent(path)),
            Err(error) => return Err(io(error)),
        };
        if !kind.is_file() {
            return Err(CheckpointError::NotWeights {
                path: path.to_path_buf(),
                found: "is not a regular file".into(),
                remedy: "name the file that holds the weights".into(),
            });
        }
        if kind.len() == 0 {
            return Err(CheckpointError::NotWeights {
                path: path.to_path_buf(),
                found: "is empty".into(),
                remedy: "download it again; the last download did not finish".into(),
            });
        }
        let file = File::open(path).map_err(io)?;
        let stamp = Stamp::of(&file.metadata().map_err(io)?);
        let mut opened = Self {
            path: path.to_path_buf(),
            file,
            content: None,
            from: 0,
            length: usize::try_from(stamp.bytes).unwrap_or(usize::MAX),
            stamp,
            start: Vec::new(),
        };
        opened.start = opened.read(0, opened.length.min(START))?;
        refuse_stand_in(path, &opened.start)?;
        Ok(opened)
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Its first bytes: 512 of them, or all.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }

    /// `length` bytes from `offset`. Memory is allocated only for bytes that the file has.
    ///
    /// # Errors
    /// As [`WeightFile::read_into`].
    pub(super) fn read(&self, offset: usize, length: usize) -> Result<Vec<u8>, CheckpointError> {
        self.check_range(offset, length)?;
        let mut bytes = vec![0; length];
        self.read_into(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `into` with the bytes from `offset`.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] if the file never had them, [`CheckpointError::Changed`] if it no
    /// longer has them, or it cannot be read.
    pub(super) fn read_into(&self, offset: usize, into: &mut [u8]) -> Result<(), CheckpointError> {
        self.check_range(offset, into.len())?;
        let content = self.content.as_ref().unwrap_or(&self.file);
        content
            .read_exact_at(into, (self.from + offset) as u64)
            .map_err(|source| match source.kind() {
                ErrorKind::UnexpectedEof => self.changed(),
                _ => CheckpointError::Io {
                    path: self.path.clone(),
                    source,
                },
            })
    }

    /// A part of what is read of this file, in place of the whole.
    ///
    /// # Errors
    /// It does not have that part, or it cannot be read.
    pub(super) fn part(mut self, start: usize, length: usize) -> Result<Self, CheckpointError> {
        self.check_range(start, length)?;
        self.from += start;
        self.length = length;
        self.start = self.read(0, length.min(START))?;
        Ok(self)
    }

    /// The same file, of which other bytes are read: those that it holds in another form.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn with_content(
        mut self,
        content: File,
        length: u64,
    ) -> Result<Self, CheckpointError> {
        self.content = Some(content);
        self.from = 0;
        self.length = usize::try_from(length).unwrap_or(usize::MAX);
        self.start = self.read(0, self.length.min(START))?;
        Ok(self)
    }

    /// The bytes of the file from the first to the last, whatever is read of it.
    pub(super) fn reader(&self) -> FileReader<'_> {
        FileReader {
            file: &self.file,
            at: 0,
        }
    }

    /// Checks that the file was not written to since it was opened.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`], or the file cannot be examined.
    pub(super) fn check_unchanged(&self) -> Result<(), CheckpointError> {
        let metadata = self.file.metadata().map_err(|source| CheckpointError::Io {
            path: self.path.clone(),
            source,
        })?;
        match Stamp::of(&metadata).is_as_written(&self.stamp) {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    /// The file's stamp, if it has not changed since the file was opened.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let now = Stamp::of(&self.file.metadata().ok()?);
        (now == self.stamp).then_some(now)
    }

    /// The error that this file is damaged.
    pub(super) fn damaged(&self, found: impl Into<String>) -> CheckpointError {
        CheckpointError::Damaged {
            path: self.path.clone(),
            found: found.into(),
        }
    }

    fn changed(&self) -> CheckpointError {
        CheckpointError::Changed {
            path: self.path.clone(),
        }
    }

    fn check_range(&self, offset: usize, length: usize) -> Result<(), CheckpointError> {
        match offset
            .checked_add(length)
            .is_some_and(|end| end <= self.length)
        {
            true => Ok(()),
            false => Err(self.damaged(format!(
                "ends at byte {}, before {length} bytes that should be at {offset}",
                self.length
            ))),
        }
    }
}

/// Reads a file from its beginning, independently of other readers.
#[derive(Debug)]
pub(super) struct FileReader<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Refuses files that hosting sites and tools leave instead of the real ones.
pub(super) fn refuse_stand_in(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let Some((found, remedy)) = stand_in(bytes) else {
        return Ok(());
    };
    Err(CheckpointError::NotWeights {
        path: path.to_path_buf(),
        found: found.into(),
        remedy: remedy.into(),
    })
}

/// What the file is instead of the real one, and what to do about it.
fn stand_in(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let start: Vec<u8> = bytes.iter().take(256).map(u8::to_ascii_lowercase).collect();
    let text = start.trim_ascii_start();
    if text.starts_with(b"version https://git-lfs") {
        return Some((
            "is a git lfs pointer, not the file it points to",
            "run `git lfs pull` in its folder, or download the file itself",
        ));
    }
    if [&b"<!doctype"[..], b"<html", b"<?xml", b"<head"]
        .iter()
        .any(|tag| text.starts_with(tag))
    {
        return Some((
            "is a web page, not the file it should be",
            "download the file itself (on Hugging Face: /resolve/, not /blob/)",
        ));
    }
    None
}

/// The error of a path that does not exist or is a broken link (a cache whose blobs were removed).
fn absent(path: &Path) -> CheckpointError {
    if path.symlink_metadata().is_ok() {
        return CheckpointError::Damaged {
            path: path.to_path_buf(),
            found: "is a link to a file that does not exist".into(),
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
    fn a_range_outside_the_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, b"0123456789").unwrap();
        let file = WeightFile::open(&path).unwrap();
        assert_eq!((file.length(), file.start()), (10, &b"0123456789"[..]));
        assert_eq!(file.read(2, 3).unwrap(), b"234");
        assert_eq!(file.read(10, 0).unwrap(), b"");
        for (offset, length) in [(8, 3), (11, 0), (0, usize::MAX), (usize::MAX, 2)] {
            let found = file.read(offset, length).unwrap_err().to_string();
            let says = format!(
                "weights: ends at byte 10, before {length} bytes that should be at {offset}\n\
                 hint: the file is damaged or was not copied completely: download or copy it again"
            );
            assert!(found.ends_with(&says), "{found}");
        }
    }

    #[test]
    fn a_file_that_is_written_to_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, b"0123456789").unwrap();
        let opened = WeightFile::open(&path).unwrap();
        opened.check_unchanged().unwrap();
        let writer = File::options().write(true).open(&path).unwrap();
        let modified = |seconds| {
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            writer.set_modified(time).unwrap();
        };
        modified(1);
        let opened_now = WeightFile::open(&path).unwrap();
        let says = "weights: changed while it was read\n\
                    hint: wait until nothing writes to it, then run again";
        let changed = |result: Result<(), CheckpointError>| {
            let found = result.unwrap_err().to_string();
            assert!(found.ends_with(says), "{found}");
        };
        changed(opened.check_unchanged());
        writer.set_len(5).unwrap();
        modified(1);
        changed(opened_now.check_unchanged());
        assert_eq!(opened_now.read(0, 5).unwrap(), b"01234");
        changed(opened_now.read(3, 5).map(drop));
        // Another file at the same path does not count: it is not the one that is read.
        let opened = WeightFile::open(&path).unwrap();
        std::fs::write(folder.path().join("other"), b"abcdefgh").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        opened.check_unchanged().unwrap();
        assert_eq!(opened.read(0, 5).unwrap(), b"01234");
    }

    #[test]
    fn files_left_instead_of_the_real_one_are_recognised() {
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
