//! SHA-256 of files, and lists of them as `sha256sum` writes and checks them.

use super::disk;
use super::escape::hex;
use super::layout::is_sub_folder_name;
use super::name;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Bytes read at a time.
const BUFFER: usize = 1 << 20;
/// Longest line of a list: digest, folder, sub-folder and name take less than half.
const LONGEST_LINE: u64 = 1024;

/// Size and SHA-256, in lower-case hexadecimal, of a file from where it stands.
pub(super) fn sha256(file: &mut File) -> io::Result<(u64, String)> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(BUFFER);
    let mut buffer = vec![0; length.clamp(1, BUFFER)];
    let mut hash = Sha256::new();
    let mut bytes = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if count == 0 {
            return Ok((bytes, hex(&hash.finalize())));
        }
        let (read, _) = buffer.split_at(count);
        hash.update(read);
        bytes += count as u64;
    }
}

/// One line of a list: the file `FOLDER/sub/name` and its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) sha256: String,
    pub(super) sub: String,
    pub(super) name: String,
}

impl Listed {
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
            && name::is_safe(name);
        fit.then(|| Self {
            sha256: sha256.into(),
            sub: sub.into(),
            name: name.into(),
        })
    }
}

/// Reads a list line by line; lines of any length take a bounded amount of memory.
#[derive(Debug)]
pub(super) struct ListReader<'a> {
    reader: BufReader<File>,
    folder: &'a str,
    line: Vec<u8>,
}

impl<'a> ListReader<'a> {
    pub(super) fn open(path: &Path, folder: &'a str) -> io::Result<Self> {
        let reader = BufReader::new(disk::open_regular(path)?);
        Ok(Self {
            reader,
            folder,
            line: Vec::new(),
        })
    }
}

impl Iterator for ListReader<'_> {
    /// The file of a line, or `None` for a line (or part of an overlong one) that names no file
    /// of a record.
    type Item = io::Result<Option<Listed>>;

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
                Some(Ok(line.and_then(|line| Listed::parse(line, self.folder))))
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
            sha256(&mut File::open(&path).unwrap()).unwrap(),
            (3, DIGEST.into())
        );
    }

    #[test]
    fn lists_are_read_back_and_name_nothing_outside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let listed = Listed {
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
