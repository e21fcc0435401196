//! A `.npy` file whose values are written by position.

use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::npy;
use crate::product::{OutDtype, Values};
use crc32fast::Hasher;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Values converted and bytes copied at a time.
pub(crate) const CHUNK: usize = 1 << 18;

/// An open file of an array.
#[derive(Debug)]
pub(crate) struct ArrayFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

impl ArrayFile {
    /// Writes the header of an array of this shape.
    pub(crate) fn write_header(&self, dtype: OutDtype, shape: &[u64]) -> Result<(), OutputError> {
        let header = npy::header(dtype, shape).ok_or_else(|| {
            let what = io::Error::other(format!("a shape of {shape:?} does not fit the format"));
            OutputError::io("writing the header of", &self.path, what)
        })?;
        self.write_bytes_at(0, &header)
    }

    /// Writes values one after the other from byte `start`, and adds their bytes to a CRC-32.
    pub(crate) fn write_at(
        &self,
        start: u64,
        values: Values<'_>,
        dtype: OutDtype,
        hasher: &mut Hasher,
    ) -> Result<(), OutputError> {
        let mut at = start;
        let mut bytes = Vec::with_capacity(values.len().min(CHUNK) * dtype.bytes() as usize);
        for chunk in values.chunks(CHUNK) {
            bytes.clear();
            chunk.encode(dtype, &mut bytes);
            hasher.update(&bytes);
            self.write_bytes_at(at, &bytes)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// The CRC-32 of `bytes` bytes from byte `start`, or `None` if the file ends before.
    pub(crate) fn checksum_at(&self, start: u64, bytes: u64) -> Result<Option<u32>, OutputError> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(CHUNK).min(CHUNK)];
        let mut done = 0;
        while done < bytes {
            let count = usize::try_from(bytes - done).unwrap_or(CHUNK).min(CHUNK);
            let (part, _) = buffer.split_at_mut(count);
            match self.file.read_exact_at(part, start.saturating_add(done)) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                result => result.map_err(|e| OutputError::io("reading", &self.path, e))?,
            }
            hasher.update(part);
            done += count as u64;
        }
        Ok(Some(hasher.finalize()))
    }

    fn write_bytes_at(&self, at: u64, bytes: &[u8]) -> Result<(), OutputError> {
        self.file.write_all_at(bytes, at).map_err(|e| {
            OutputError::io(
                format!("writing {} bytes at byte {at} of", bytes.len()),
                &self.path,
                e,
            )
        })
    }

    /// Copies `bytes` bytes from `source` to byte `to`.
    pub(crate) fn pour(
        &self,
        to: u64,
        bytes: u64,
        source: &mut impl Read,
    ) -> Result<(), OutputError> {
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(CHUNK).min(CHUNK)];
        let mut done = 0;
        while done < bytes {
            let count = usize::try_from(bytes - done).unwrap_or(CHUNK).min(CHUNK);
            let (part, _) = buffer.split_at_mut(count);
            source
                .read_exact(part)
                .map_err(|e| OutputError::io("reading the rows of", &self.path, e))?;
            self.write_bytes_at(to + done, part)?;
            done += count as u64;
        }
        Ok(())
    }

    /// Copies `bytes` bytes from one place to another; the two do not overlap.
    pub(crate) fn copy_within(&self, from: u64, to: u64, bytes: u64) -> Result<(), OutputError> {
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(CHUNK).min(CHUNK)];
        let mut done = 0;
        while done < bytes {
            let count = usize::try_from(bytes - done).unwrap_or(CHUNK).min(CHUNK);
            let (part, _) = buffer.split_at_mut(count);
            self.file
                .read_exact_at(part, from + done)
                .map_err(|e| OutputError::io(format!("reading {count} bytes of"), &self.path, e))?;
            self.write_bytes_at(to + done, part)?;
            done += count as u64;
        }
        Ok(())
    }
}

/// Creates the file of one record, and its sub-folder if necessary. A file that exists is from an
/// earlier attempt at the same record and is replaced.
pub(crate) fn make_file(path: &Path) -> Result<File, OutputError> {
    let made = match disk::create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_parent(path).and_then(|()| disk::create_new(path))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path).and_then(|()| disk::create_new(path))
        }
        result => result,
    };
    made.map_err(|e| OutputError::io("making", path, e))
}

/// Makes `path` a hard link to the file `source`, and creates its sub-folder if necessary; false
/// where links are impossible, as between two file systems.
pub(crate) fn link(source: &Path, path: &Path) -> Result<bool, OutputError> {
    let linked = match std::fs::hard_link(source, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_parent(path).and_then(|()| std::fs::hard_link(source, path))
        }
        result => result,
    };
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            Err(OutputError::io("making", path, error))
        }
        Err(_) => Ok(false),
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent().map_or(Ok(()), std::fs::create_dir) {
        // Another thread created it first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}
