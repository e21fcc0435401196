//! A file in one of many folders: there may be more of them than may be open at a time.

use super::disk;
use crate::stamp::Stamp;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Files that are open besides those of the folders.
const OTHER_FILES: u64 = 64;

/// Whether this many files may be open at a time. The limit of this process is raised for them, as far as it
/// may be.
pub(super) fn fit(files: usize) -> bool {
    is_room_for(files, disk::lift_open_files())
}

fn is_room_for(files: usize, most: u64) -> bool {
    (files as u64).saturating_add(OTHER_FILES) <= most
}

/// A file that is read only. It is either kept open, or opened again for each read.
#[derive(Debug)]
pub(super) struct ShardFile {
    source: Source,
    /// Where the next read begins.
    at: u64,
}

#[derive(Debug)]
enum Source {
    Kept(File),
    Reopened { path: PathBuf, stamp: Stamp },
}

impl ShardFile {
    /// A file that stays open, to be read from where it is.
    ///
    /// # Errors
    /// Where it is cannot be found out.
    pub(super) fn kept(mut file: File) -> io::Result<Self> {
        let at = file.stream_position()?;
        Ok(Self {
            source: Source::Kept(file),
            at,
        })
    }

    /// The file at `path`, which is open now and stays open only if it is to be `kept`.
    ///
    /// # Errors
    /// It cannot be examined.
    pub(super) fn new(file: File, path: &Path, is_kept: bool) -> io::Result<Self> {
        let mut opened = Self::kept(file)?;
        if let (Source::Kept(file), false) = (&opened.source, is_kept) {
            opened.source = Source::Reopened {
                path: path.to_path_buf(),
                stamp: Stamp::of(&file.metadata()?),
            };
        }
        Ok(opened)
    }

    /// Reads up to as many bytes as fit, from byte `at` on.
    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.with(|file| file.read_at(buffer, at))
    }

    /// Fills `buffer` from byte `at` on.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.with(|file| file.read_exact_at(buffer, at))
    }

    fn with<T>(&self, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        match &self.source {
            Source::Kept(file) => read(file),
            Source::Reopened { path, stamp } => {
                let file = disk::open_regular(path)?;
                let now = Stamp::of(&file.metadata()?);
                match now.is_same_file(stamp) && now.is_as_written(stamp) {
                    true => read(&file),
                    false => Err(io::Error::other("it was changed while it was read")),
                }
            }
        }
    }
}

impl Read for ShardFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for ShardFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self
                .at
                .checked_add_signed(by)
                .ok_or(io::ErrorKind::InvalidInput)?,
            SeekFrom::End(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_the_same_whether_it_is_kept_open_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        for is_kept in [true, false] {
            let mut first = disk::open_regular(&path).unwrap();
            first.read_exact(&mut [0; 2]).unwrap();
            let mut file = ShardFile::new(first, &path, is_kept).unwrap();
            let mut three = [0; 3];
            file.read_exact(&mut three).unwrap();
            assert_eq!(&three, b"234");
            file.read_exact_at(&mut three, 0).unwrap();
            assert_eq!(&three, b"012");
            assert_eq!(file.seek(SeekFrom::Current(1)).unwrap(), 6);
            let mut rest = Vec::new();
            file.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"6789");
            assert_eq!(file.seek(SeekFrom::Start(9)).unwrap(), 9);
            assert_eq!(file.read(&mut three).unwrap(), 1);
            assert!(file.seek(SeekFrom::Current(-11)).is_err());
            assert!(file.read_exact_at(&mut three, 8).is_err());
        }
    }

    #[test]
    fn another_file_in_its_place_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123").unwrap();
        let open = |is_kept| {
            let file = disk::open_regular(&path).unwrap();
            ShardFile::new(file, &path, is_kept).unwrap()
        };
        let (mut kept, mut reopened) = (open(true), open(false));
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        std::fs::write(&path, b"4567").unwrap();
        let mut text = String::new();
        kept.read_to_string(&mut text).unwrap();
        assert_eq!(text, "0123");
        let error = reopened.read_to_string(&mut text).unwrap_err();
        assert_eq!(error.to_string(), "it was changed while it was read");
        std::fs::remove_file(&path).unwrap();
        assert!(reopened.read_to_string(&mut text).is_err());
    }

    #[test]
    fn room_is_left_for_other_files() {
        assert!(is_room_for(960, 1024) && !is_room_for(961, 1024));
        assert!(is_room_for(0, u64::MAX) && !is_room_for(usize::MAX, 1024));
    }
}
