//! SHA-256 of files, and lists of them as `sha256sum` writes and checks them.

use crate::output::disk;
use crate::output::file_name;
use crate::output::layout::is_sub_folder_name;
use crate::sha256::hex;
use crate::threads::Threads;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes read at a time.
const BUFFER: usize = 1 << 20;
/// Longest line of a list: digest, folder, sub-folder and name take less than half.
const LONGEST_LINE: u64 = 1024;

/// Bytes of a piece. The checksum of a larger file is the SHA-256 of the concatenated SHA-256 digests
/// of its pieces, so that several threads can compute it.
const PIECE: u64 = 64 << 20;

/// The size of the pieces whose digests make the checksum of a file of `bytes` bytes; `None` if it
/// is the plain SHA-256.
pub(super) fn pieces(bytes: u64) -> Option<u64> {
    (bytes > PIECE).then_some(PIECE)
}

/// The checksum of a stream of bytes.
#[derive(Clone)]
pub(super) struct PiecewiseSha256 {
    piece: u64,
    /// Bytes missing from the current piece.
    left: u64,
    hash: Sha256,
    /// Of the digests of complete pieces; `None` without pieces.
    digests: Option<Sha256>,
}

impl PiecewiseSha256 {
    /// For a file with pieces of this size, see [`pieces`].
    pub(super) fn new(pieces: Option<u64>) -> Self {
        let piece = pieces.unwrap_or(u64::MAX);
        Self {
            piece,
            left: piece,
            hash: Sha256::new(),
            digests: pieces.map(|_| Sha256::new()),
        }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.close_piece();
            }
            let count = usize::try_from(self.left).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(count.min(bytes.len()));
            self.hash.update(now);
            self.left -= now.len() as u64;
            bytes = later;
        }
    }

    /// The checksum, in lower-case hexadecimal.
    pub(super) fn finish(mut self) -> String {
        if self.digests.is_some() {
            self.close_piece();
        }
        hex(&self.digests.unwrap_or(self.hash).finalize())
    }

    fn close_piece(&mut self) {
        let digest = self.hash.finalize_reset();
        if let Some(digests) = &mut self.digests {
            digests.update(digest);
        }
        self.left = self.piece;
    }
}

/// The checksum of a file of `bytes` bytes; the plain SHA-256 without pieces.
pub(super) fn sha256(
    file: &File,
    bytes: u64,
    pieces: Option<u64>,
    threads: &Threads,
) -> io::Result<String> {
    let Some(piece) = pieces else {
        return Ok(hex(&part(file, 0, bytes)?));
    };
    let count = usize::try_from(bytes.div_ceil(piece)).unwrap_or(usize::MAX);
    let digests = threads.map(count, |i| {
        let start = i as u64 * piece;
        part(file, start, piece.min(bytes - start))
    })?;
    let mut all = Sha256::new();
    digests.iter().for_each(|digest| all.update(digest));
    Ok(hex(&all.finalize()))
}

/// SHA-256 of `bytes` bytes from byte `start` on.
fn part(file: &File, start: u64, bytes: u64) -> io::Result<[u8; 32]> {
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(BUFFER).min(BUFFER)];
    let mut hash = Sha256::new();
    let mut done = 0;
    while done < bytes {
        let count = usize::try_from(bytes - done).unwrap_or(BUFFER).min(BUFFER);
        let (read, _) = buffer.split_at_mut(count);
        file.read_exact_at(read, start + done)?;
        hash.update(read);
        done += count as u64;
    }
    Ok(hash.finalize().into())
}

/// One line of a list: the file `FOLDER/sub/name` and its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChecksumLine {
    pub(super) sha256: String,
    pub(super) sub: String,
    pub(super) name: String,
}

impl ChecksumLine {
    /// The line, for the files of `folder`.
    pub(super) fn line(&self, folder: &str) -> String {
        format!("{}  {folder}/{}/{}\n", self.sha256, self.sub, self.name)
    }

    /// Reads a line without its end, or `None` if it names anything but a file of a record in
    /// `folder`.
    fn parse(line: &[u8], folder: &str) -> Option<Self> {
        let (sha256, path) = std::str::from_utf8(line).ok()?.split_once("  ")?;
        let (sub, name) = path
            .strip_prefix(folder)?
            .strip_prefix('/')?
            .split_once('/')?;
        let fit = sha256.len() == 64
            && sha256
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && is_sub_folder_name(sub)
            && file_name::is_safe(name);
        fit.then(|| Self {
            sha256: sha256.into(),
            sub: sub.into(),
            name: name.into(),
        })
    }
}

/// Reads a list line by line; lines of any length take a bounded amount of memory.
#[derive(Debug)]
pub(super) struct ListReader {
    reader: BufReader<File>,
    folder: String,
    line: Vec<u8>,
}

impl ListReader {
    pub(super) fn open(path: &Path, folder: &str) -> io::Result<Self> {
        let reader = BufReader::new(disk::open_regular(path)?);
        Ok(Self {
            reader,
            folder: folder.to_owned(),
            line: Vec::new(),
        })
    }
}

impl Iterator for ListReader {
    /// The file of a line, or `None` for a line (or part of an overlong one) that names no file
    /// of a record.
    type Item = io::Result<Option<ChecksumLine>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line.clear();
        match (&mut self.reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut self.line)
        {
            Err(error) => Some(Err(error)),
            Ok(0) => None,
            Ok(_) => {
                let line = self.line.strip_suffix(b"\n");
                Some(Ok(
                    line.and_then(|line| ChecksumLine::parse(line, &self.folder))
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_known_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(
            sha256(&File::open(&path).unwrap(), 3, None, &Threads::new(1)).unwrap(),
            DIGEST
        );
    }

    /// Digests by `sha256sum`, of the pieces and then of their digests.
    #[test]
    fn a_file_of_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "abcdefgh").unwrap();
        let file = File::open(&path).unwrap();
        for (piece, digest) in [
            (
                3,
                "5ebfd44f2f71f410e6b092d373c6d7e0e97828de1c3cbf63ae475e3d3e09cba2",
            ),
            (
                4,
                "7d5473712172f9ec1494baa03da3d8734d12d385d1ca6340856771c3d93382e6",
            ),
            (
                8,
                "b9b12e7125f73fda20b8c4161fb9b4b146c34cf88595a1e0503ca2cf44c86bc4",
            ),
        ] {
            for threads in [1, 2] {
                let threads = Threads::new(threads);
                assert_eq!(sha256(&file, 8, Some(piece), &threads).unwrap(), digest);
            }
            for step in 1..=8 {
                let mut running = PiecewiseSha256::new(Some(piece));
                for bytes in b"abcdefgh".chunks(step) {
                    running.update(bytes);
                }
                assert_eq!(running.finish(), digest);
            }
        }
        let mut running = PiecewiseSha256::new(None);
        running.update(b"abc");
        assert_eq!(running.finish(), DIGEST);
        assert_eq!(
            (pieces(64 << 20), pieces((64 << 20) + 1)),
            (None, Some(64 << 20))
        );
    }

    #[test]
    fn lists_are_read_back_and_name_nothing_outside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let listed = ChecksumLine {
            sha256: DIGEST.into(),
            sub: "000002".into(),
            name: "é  x.npy".into(),
        };
        let mut text = listed.line("residues.layer6");
        assert_eq!(text, format!("{DIGEST}  residues.layer6/000002/é  x.npy\n"));
        for bad in [
            "residues.layer6/../x.npy",
            "residues.layer6/000000/../../x.npy",
            "residues.layer7/000000/x.npy",
            "/residues.layer6/000000/x.npy",
            "residues.layer6/000000/.npy",
            "residues.layer6/000000/x.txt",
            "residues.layer6/000000",
            "",
        ] {
            text.push_str(&format!("{DIGEST}  {bad}\n"));
        }
        text.push_str(&"x".repeat(2500));
        std::fs::write(&path, text).unwrap();
        let lines: Vec<_> = ListReader::open(&path, "residues.layer6")
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(lines.len(), 1 + 8 + 3);
        assert_eq!(lines[0], Some(listed));
        assert!(lines[1..].iter().all(Option::is_none));
    }
}
