//! An opened source of FASTA: a file or standard input, decompressed as it is read.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::AsFd,
        unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use sha2::{Digest as _, Sha256};

use super::compression::{Block, Compression, Decoder};
use super::{Damage, FastaError};
use crate::cancel::Cancel;
use crate::printable;

/// Characters of a path that a message shows; no path of the system is longer.
const SHOWN: usize = 4096;

/// An opened source whose [`Read`] gives decompressed bytes.
///
/// Errors of [`Read`] carry a [`FastaError`], except those of the system.
pub struct Input {
    name: String,
    is_regular_file: bool,
    decoder: Decoder<Raw>,
    bytes: u64,
    hasher: Option<Sha256>,
    /// Decompressed bytes after which the input ends.
    most: u64,
    copy: Option<Box<dyn Write + Send>>,
}

/// A part of the decompressed data of a file, and where to begin reading to get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Byte of the file: the part itself, or the block of bgzip with its first byte.
    pub from: u64,
    /// Decompressed bytes between there and the part.
    pub skipped: u64,
    /// Bytes of the part.
    pub bytes: u64,
}

/// What identifies the content of an input, after decompression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Bytes read so far.
    pub bytes: u64,
    /// SHA-256 of these bytes.
    pub sha256: [u8; 32],
}

impl Input {
    /// Opens `path`, or standard input if it is `-`, and reads the first bytes to choose the
    /// decompression.
    ///
    /// # Errors
    ///
    /// [`FastaError::Open`], [`FastaError::Folder`] or [`FastaError::Read`].
    pub fn open(path: &Path) -> Result<Self, FastaError> {
        Self::open_until(path, Cancel::default())
    }

    /// The same, but a stream that stalls is not waited for after a cancellation.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_until(path: &Path, cancel: Cancel) -> Result<Self, FastaError> {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin {
            "<stdin>".to_owned()
        } else {
            printable::start(path.as_os_str().as_encoded_bytes(), SHOWN)
        };
        let raw = if is_stdin {
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            let file = File::from(stdin.map_err(|error| FastaError::Open {
                file: name.clone(),
                cause: Arc::new(error),
            })?);
            Raw::Stream(Stream { file, cancel })
        } else {
            open_file(path, &name, cancel)?
        };
        let is_regular_file = matches!(raw, Raw::File(_));
        let decoder = Decoder::new(raw).map_err(|error| failure(&name, 1, error))?;
        Ok(Self {
            name,
            is_regular_file,
            decoder,
            bytes: 0,
            hasher: Some(Sha256::new()),
            most: u64::MAX,
            copy: None,
        })
    }

    /// A part of an opened regular file, without a digest. `name` is for messages.
    ///
    /// # Errors
    ///
    /// [`FastaError::Read`], or what is wrong with the compressed data.
    pub fn part(file: &File, name: &str, part: Part) -> Result<Self, FastaError> {
        let failed = |error| failure(name, 1, error);
        let begin = || {
            let mut file = file.try_clone()?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(part.from))?;
            let mut decoder = Decoder::new(Raw::File(Regular {
                file,
                name: name.to_owned(),
                length,
                read: part.from.min(length),
            }))?;
            io::copy(&mut decoder.by_ref().take(part.skipped), &mut io::sink())?;
            Ok(decoder)
        };
        Ok(Self {
            name: name.to_owned(),
            is_regular_file: true,
            decoder: begin().map_err(failed)?,
            bytes: 0,
            hasher: None,
            most: part.bytes,
            copy: None,
        })
    }

    /// How the data is stored.
    pub fn compression(&self) -> Compression {
        self.decoder.compression()
    }

    /// Keeps the starts of all blocks of bgzip; to be called before anything is read.
    pub fn note_blocks(&mut self) {
        self.decoder.note_blocks();
    }

    /// The blocks of bgzip that have been begun.
    pub fn blocks(&self) -> &[Block] {
        self.decoder.blocks()
    }

    /// Writes everything that is read from now on, decompressed, to `copy` as well.
    pub fn copy_to(&mut self, copy: Box<dyn Write + Send>) {
        self.copy = Some(copy);
    }

    /// Where the copy goes; to be flushed at the end.
    pub fn copy(&mut self) -> Option<&mut (dyn Write + Send)> {
        match &mut self.copy {
            Some(copy) => Some(copy.as_mut()),
            None => None,
        }
    }

    /// The path, fit for print, or `<stdin>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is a file that can be opened and read again; never true for `-`.
    pub fn is_regular_file(&self) -> bool {
        self.is_regular_file
    }

    /// Number and digest of the decompressed bytes so far (of a part there is no digest): of all of them once
    /// [`Reader::read`](super::Reader::read) has returned `false`.
    pub fn digest(&self) -> Digest {
        Digest {
            bytes: self.bytes,
            sha256: self.hasher.clone().unwrap_or_default().finalize().into(),
        }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("is_regular_file", &self.is_regular_file)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.most - self.bytes).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let into = into.get_mut(..wanted).unwrap_or_default();
        if into.is_empty() {
            return Ok(0);
        }
        let count = self.decoder.read(into)?;
        if let Some(read) = into.get(..count) {
            self.bytes += count as u64;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(read);
            }
            if let Some(copy) = &mut self.copy {
                copy.write_all(read).map_err(|error| {
                    io::Error::other(FastaError::Copy {
                        file: self.name.clone(),
                        cause: Arc::new(error),
                    })
                })?;
            }
        }
        Ok(count)
    }
}

fn open_file(path: &Path, name: &str, cancel: Cancel) -> Result<Raw, FastaError> {
    let failed = |error| FastaError::Open {
        file: name.to_owned(),
        cause: Arc::new(error),
    };
    let mut options = OpenOptions::new();
    if path
        .metadata()
        .is_ok_and(|found| found.file_type().is_fifo())
    {
        // Opening would wait for a writer and ignore `cancel`.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.read(true).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(FastaError::Folder {
            file: name.to_owned(),
        });
    }
    Ok(if metadata.is_file() {
        Raw::File(Regular {
            file,
            name: name.to_owned(),
            length: metadata.len(),
            read: 0,
        })
    } else {
        Raw::Stream(Stream { file, cancel })
    })
}

/// Turns an error of [`Input`]'s or another [`Read`] into one that names the place.
pub(super) fn failure(name: &str, line: u64, error: io::Error) -> FastaError {
    let error = match error.downcast::<FastaError>() {
        Ok(known) => return known,
        Err(error) => error,
    };
    match error.downcast::<Damage>() {
        Ok(damage) => FastaError::Damaged {
            file: name.to_owned(),
            damage,
        },
        Err(error) => FastaError::Read {
            file: name.to_owned(),
            line,
            cause: Arc::new(error),
        },
    }
}

/// The source before decompression.
enum Raw {
    File(Regular),
    Stream(Stream),
}

/// Standard input, a pipe or a device: whoever writes to it may take any time.
struct Stream {
    file: File,
    cancel: Cancel,
}

/// How often a stalled stream checks for cancellation.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("reading was given up, as asked"));
            }
            let mut waiting = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut waiting, Some(&LOOK)) {
                // Nothing has come.
                Ok(0) | Err(Errno::INTR) => {}
                // Something has, or the end, or an error that reading will tell.
                Ok(_) | Err(_) => match self.file.read(into) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return result,
                },
            }
        }
    }
}

/// A regular file, whose end is where it was when it was opened.
struct Regular {
    file: File,
    name: String,
    length: u64,
    read: u64,
}

impl Read for Raw {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(into),
            Self::Stream(stream) => stream.read(into),
        }
    }
}

impl Read for Regular {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Files that the system makes up on reading, such as those of /proc, have length 0.
        if self.length == 0 {
            return self.file.read(into);
        }
        // What was appended since is not read: the old end may be in the middle of a record.
        let left = usize::try_from(self.length - self.read).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let count = match into.get_mut(..wanted) {
            Some(part) if wanted > 0 => self.file.read(part)?,
            _ => 0,
        };
        self.read += count as u64;
        let is_end = count == 0 && !into.is_empty();
        if is_end && (left > 0 || self.has_more()?) {
            return Err(io::Error::other(FastaError::Changed {
                file: self.name.clone(),
                found: match left {
                    0 => self.file.metadata()?.len(),
                    _ => self.read,
                },
                length: self.length,
            }));
        }
        Ok(count)
    }
}

impl Regular {
    /// Whether the file now has bytes after the end it had when it was opened.
    fn has_more(&self) -> io::Result<bool> {
        Ok(self.file.read_at(&mut [0], self.length)? > 0)
    }
}
