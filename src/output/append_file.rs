//! A file in the working folder to which bytes are appended through a buffer.

use crate::output::disk;
use crate::output::error::OutputError;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Bytes collected before they are written.
const BUFFER: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct AppendFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl AppendFile {
    /// Creates a file; anything that exists at `path` is an error.
    pub(super) fn create(path: PathBuf) -> Result<Self, OutputError> {
        let file = disk::create_new(&path).map_err(|e| OutputError::io("making", &path, e))?;
        Ok(Self {
            path,
            out: BufWriter::with_capacity(BUFFER, file),
        })
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        let pending = self.out.buffer().len() + bytes.len();
        self.out
            .write_all(bytes)
            .map_err(|e| OutputError::io(format!("writing {pending} bytes to"), &self.path, e))
    }

    /// Writes what is left in the buffer and closes the file.
    pub(super) fn close(mut self) -> Result<(), OutputError> {
        let pending = self.out.buffer().len();
        self.out
            .flush()
            .map_err(|e| OutputError::io(format!("writing {pending} bytes to"), &self.path, e))
    }
}
