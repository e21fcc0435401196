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
            position: 0,
            end: 0,
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
        let file = self.0.finish().map_err(plain)?;
        match file.has_failed {
            true => Err(io::Error::other("an earlier write failed")),
            false => Ok(file.inner),
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

/// Once it has failed, it does nothing, and reports what a file without end would.
struct Once<W> {
    inner: W,
    has_failed: bool,
    position: u64,
    end: u64,
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
        let written = self.call(bytes.len(), |inner| inner.write(bytes))?;
        self.position += written as u64;
        self.end = self.end.max(self.position);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call((), |inner| inner.flush())
    }
}

impl<W: Seek> Seek for Once<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::Current(offset) => self.position.saturating_add_signed(offset),
            SeekFrom::End(offset) => self.end.saturating_add_signed(offset),
        };
        self.position = self.call(position, |inner| inner.seek(to))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_fails_at_any_byte_ends_quietly() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.zip");
        let write = |room: u64| {
            let file = File::create(&path).unwrap();
            let limited = Limited { file, room };
            let mut zip = ZipWriter::new(Once {
                inner: limited,
                has_failed: false,
                position: 0,
                end: 0,
            });
            let options = SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored)
                .with_alignment(64);
            let mut all = || -> io::Result<()> {
                for name in ["a", "b"] {
                    zip.start_file(name, options).map_err(plain)?;
                    zip.write_all(&[7; 100])?;
                }
                Ok(())
            };
            let written = all();
            let ended = zip.finish().map_err(plain)?;
            written?;
            match ended.has_failed {
                true => Err(io::Error::other("")),
                false => Ok(()),
            }
        };
        write(10_000).unwrap();
        let whole = std::fs::metadata(&path).unwrap().len();
        write(whole).unwrap();
        for room in 0..whole {
            assert!(write(room).is_err(), "{room}");
        }
    }

    /// A file on a disk with little room.
    struct Limited {
        file: File,
        room: u64,
    }

    impl Write for Limited {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.room.saturating_sub(self.file.stream_position()?);
            match bytes.get(..room as usize).unwrap_or(bytes) {
                [] if !bytes.is_empty() => Err(ErrorKind::StorageFull.into()),
                fitting => self.file.write(fitting),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl Seek for Limited {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }
}
