//! What an interrupted run has computed: one line for each piece, beside the output.
//!
//! A line has the piece's key, its numbers (the bits of f64 in hexadecimal) and the first digits of the
//! SHA-256 of both. The key is a digest of everything that the numbers depend on: the model, what
//! computes, the tokens and the rows. Lines that are torn, or that belong to another run, are passed
//! over.

use super::piece::{Keep, Piece};
use super::protein::Protein;
use crate::sha256::sha256_of;
use crate::tokenizer::bytes_of;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Digits of a key and of the checksum of a line.
const KEY: usize = 32;
const CHECKSUM: usize = 8;

/// The finished work of a run. The file is made when there is some.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<Option<BufWriter<File>>>,
    finished: HashMap<String, Box<[f64]>>,
}

impl Journal {
    /// Reads what is in a journal, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> io::Result<Journal> {
        let mut journal = Journal {
            path: path.to_path_buf(),
            file: Mutex::default(),
            finished: HashMap::new(),
        };
        let mut reader = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(journal),
            Err(error) => return Err(error),
        };
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            journal.finished.extend(parse(&line));
            line.clear();
        }
        Ok(journal)
    }

    /// The file, to add lines to it.
    fn create(&self) -> io::Result<BufWriter<File>> {
        let mut options = File::options();
        let file = options.append(true).create(true).open(&self.path)?;
        let is_empty = file.metadata()?.len() == 0;
        let mut file = BufWriter::new(file);
        if !is_empty {
            // The last line may be torn.
            file.write_all(b"\n")?;
        }
        Ok(file)
    }

    /// The numbers of a piece that an earlier run has computed.
    pub fn finished(&self, key: &str) -> Option<&[f64]> {
        self.finished.get(key).map(|kept| &**kept)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds pieces that are computed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn enter<'a>(&self, pieces: impl Iterator<Item = (&'a str, &'a [f64])>) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = Some(self.create()?);
        }
        let Some(file) = &mut *file else {
            return Ok(());
        };
        for (key, kept) in pieces {
            let mut line = format!("{key} ");
            for number in kept {
                line += &format!("{:016x}", number.to_bits());
            }
            let sum = sha256_of(&line);
            writeln!(file, "{line} {}", sum.get(..CHECKSUM).unwrap_or_default())?;
        }
        file.flush()
    }

    /// Removes it when its work is in the output.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// The key of a piece that is computed by something with this identity.
pub fn key(computed_by: &str, piece: &Piece, protein: &Protein) -> String {
    let place = |residue: usize| residue + 1 - piece.window.start.min(residue + 1);
    let keep = match piece.keep {
        Keep::All => "all".to_owned(),
        Keep::Own => "own".to_owned(),
        Keep::Residue(residue) => format!("residue {}", place(residue)),
        Keep::Token(residue, token) => format!("token {token} at {}", place(residue)),
    };
    let is_whole = piece.window.len() == protein.tokens().len();
    let head = format!("{computed_by}\n{keep}\n{is_whole}\n");
    let digest = sha256_of([head.as_bytes(), &bytes_of(&piece.tokens(protein))].concat());
    digest.get(..KEY).unwrap_or_default().to_owned()
}

/// A line that is whole.
fn parse(line: &[u8]) -> Option<(String, Box<[f64]>)> {
    let line = str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (content, sum) = line.rsplit_once(' ')?;
    if sha256_of(content).get(..CHECKSUM) != Some(sum) {
        return None;
    }
    let (key, numbers) = content.split_once(' ')?;
    let numbers = numbers.as_bytes().chunks(16).map(|digits| {
        let digits = str::from_utf8(digits).ok()?;
        u64::from_str_radix(digits, 16).ok().map(f64::from_bits)
    });
    let numbers: Option<Box<[f64]>> = numbers.collect();
    Some((key.to_owned(), numbers?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Alphabet;

    #[test]
    fn what_was_entered_is_found_again_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let numbers = [0.1, -2.5e-300, f64::MIN_POSITIVE];
        let journal = Journal::open(&path).unwrap();
        journal
            .enter([("a", &numbers[..]), ("b", &[1.0])].into_iter())
            .unwrap();
        drop(journal);
        let again = Journal::open(&path).unwrap();
        assert_eq!(again.finished("a"), Some(&numbers[..]));
        assert_eq!(again.finished("b"), Some(&[1.0][..]));
        assert_eq!(again.finished("c"), None);
        again.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let journal = Journal::open(&path).unwrap();
        journal.enter([("k", &[3.25][..])].into_iter()).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let cut = Journal::open(&path).unwrap();
            assert_eq!(cut.finished("k"), None, "{length}");
            // What comes after a torn line is a line.
            cut.enter([("l", &[1.5][..])].into_iter()).unwrap();
            drop(cut);
            assert_eq!(
                Journal::open(&path).unwrap().finished("l"),
                Some(&[1.5][..])
            );
        }
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert_eq!(Journal::open(&path).unwrap().finished("k"), None, "{at}");
        }
    }

    #[test]
    fn a_key_depends_on_all_that_can_change_numbers() {
        let protein = Protein::new("p", b"LAGVSE", Alphabet::Esm).unwrap();
        let other = Protein::new("p", b"LAGVSD", Alphabet::Esm).unwrap();
        let piece = Piece::new(0, 0..8, &[], Some(2), Keep::Residue(2));
        let base = key("m", &piece, &protein);
        assert_eq!(base, key("m", &piece, &protein));
        assert_eq!(base.len(), 32);
        let keep = |keep| Piece {
            keep,
            ..piece.clone()
        };
        for changed in [
            key("n", &piece, &protein),
            key("m", &piece, &other),
            key("m", &keep(Keep::Token(2, 6)), &protein),
            key("m", &keep(Keep::Token(2, 7)), &protein),
            key("m", &keep(Keep::Residue(3)), &protein),
            key("m", &keep(Keep::All), &protein),
            key("m", &keep(Keep::Own), &protein),
        ] {
            assert_ne!(changed, base);
        }
    }
}
