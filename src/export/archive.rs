//! A ZIP archive in a file. [`ZipWriter`] prints to standard error when it is dropped and cannot end the
//! archive: after a failure, which the caller has, it writes to nothing.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Seek, SeekFrom, Write};
use zip::ZipWriter;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;

/// An archive that is being written.
pub(super) struct Archive(ZipWriter<Once<BufWriter<File>>>);

impl Archive {
    /// Begins an archive.
    pub(super) fn new(inner: BufWriter<File>) -> Self {
        Self(ZipWriter::new(Once {
            inner,
            has_failed: false,
        }))
    }

    /// Begins a member.
    pub(super) fn begin(&mut self, name: String, options: SimpleFileOptions) -> io::Result<()> {
        self.0.start_file(name, options).map_err(plain)
    }

    /// Writes more of the member.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> io::Result<BufWriter<File>> {
        let Once { inner, has_failed } = self.0.finish().map_err(plain)?;
        match has_failed {
            true => Err(io::Error::other("an earlier write failed")),
            false => Ok(inner),
        }
    }
}

/// Without the words that the crate puts before it.
fn plain(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => other.into(),
    }
}

/// Does nothing once it has failed.
struct Once<W> {
    inner: W,
    has_failed: bool,
}

impl<W> Once<W> {
    fn call<T>(
        &mut self,
        otherwise: T,
        call: impl FnOnce(&mut W) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.has_failed {
            return Ok(otherwise);
        }
        let result = call(&mut self.inner);
        let is_failure = |error: &io::Error| error.kind() != ErrorKind::Interrupted;
        self.has_failed = result.as_ref().is_err_and(is_failure);
        result
    }
}

impl<W: Write> Write for Once<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call((), |inner| inner.flush())
    }
}

impl<W: Seek> Seek for Once<W> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.call(0, |inner| inner.seek(position))
    }
}
