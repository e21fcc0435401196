//! A file of a shard that is read once, from the first byte to the last, and verified against its
//! checksum at the end.

use super::MergeError;
use super::agree::Part;
use crate::output::checksum::{PiecewiseSha256, pieces};
use crate::output::disk;
use crate::output::shard_file::ShardFile;
use std::io::{self, BufRead, BufReader, Read};

/// A file and the checksum of what has been read.
pub(super) struct Hashed<'a> {
    part: &'a Part,
    name: String,
    sha256: String,
    reader: BufReader<Tap>,
}

/// Adds every byte that is read to the checksum.
struct Tap {
    source: ShardFile,
    hash: PiecewiseSha256,
}

impl Read for Tap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<'a> Hashed<'a> {
    /// Opens a file that `run.json` of the shard lists.
    pub(super) fn open(part: &'a Part, name: &str, buffer: usize) -> Result<Self, MergeError> {
        Self::open_among(part, name, buffer, true)
    }

    /// The same for one of many files, which stays open only if it is to be `kept`.
    pub(super) fn open_among(
        part: &'a Part,
        name: &str,
        buffer: usize,
        is_kept: bool,
    ) -> Result<Self, MergeError> {
        let entry = part.entry(name)?;
        let hash = PiecewiseSha256::new(pieces(entry.bytes));
        Self::with(part, name, (entry.sha256.clone(), hash), buffer, is_kept)
    }

    /// Opens the file of a record, which must have this checksum.
    pub(super) fn open_as(
        part: &'a Part,
        name: &str,
        sha256: String,
        buffer: usize,
    ) -> Result<Self, MergeError> {
        let hash = PiecewiseSha256::new(None);
        Self::with(part, name, (sha256, hash), buffer, true)
    }

    fn with(
        part: &'a Part,
        name: &str,
        (sha256, hash): (String, PiecewiseSha256),
        buffer: usize,
        is_kept: bool,
    ) -> Result<Self, MergeError> {
        let path = part.dir.join(name);
        let file = disk::open_regular(&path);
        let source = file.and_then(|file| ShardFile::new(file, &path, is_kept));
        let source = source.map_err(|e| part.unreadable(name, e))?;
        Ok(Self {
            part,
            name: name.into(),
            sha256,
            reader: BufReader::with_capacity(buffer, Tap { source, hash }),
        })
    }

    /// Reads the next line, without its line feed, into `line`; false at the end of the file.
    pub(super) fn line(&mut self, longest: usize, line: &mut Vec<u8>) -> Result<bool, MergeError> {
        line.clear();
        let most = longest as u64 + 1;
        let count = (&mut self.reader)
            .take(most)
            .read_until(b'\n', line)
            .map_err(|e| self.part.unreadable(&self.name, e))?;
        if count > 0 && line.pop() != Some(b'\n') {
            return Err(self.damaged("has a line that is cut off or too long"));
        }
        Ok(count > 0)
    }

    /// An error about this file.
    pub(super) fn damaged(&self, what: impl Into<String>) -> MergeError {
        self.part.damaged(&self.name, what)
    }

    /// Checks that the file ends here and has its checksum.
    pub(super) fn close(mut self) -> Result<(), MergeError> {
        let rest = self.reader.fill_buf().map(<[u8]>::len);
        if rest.map_err(|e| self.part.unreadable(&self.name, e))? > 0 {
            return Err(self.damaged("has more bytes than run.json says"));
        }
        let found = self.reader.get_ref().hash.clone().finish();
        if found != self.sha256 {
            let what = format!("its SHA-256 is {found}, not {}", self.sha256);
            return Err(self.damaged(what));
        }
        Ok(())
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}
