//! The sequences of the records. An output folder does not have them: they are read again from the
//! FASTA files of the run, whose SHA-256 is in `run.json`.

use super::ExportError;
use crate::fasta::{self, FastaError, Input, Reader};
use crate::output::{Manifest, Record};
use crate::run_record::InputFacts;
use crate::sha256::hex;
use crate::tokenizer::{Alphabet, UnknownPolicy};
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

/// The sequences of the records of a run, in order.
pub(super) struct Sequences {
    inputs: IntoIter<(PathBuf, InputFacts)>,
    open: Option<(PathBuf, InputFacts, Reader<Input>)>,
    alphabet: Alphabet,
    drops_gaps: bool,
    record: fasta::Record,
    letters: Vec<u8>,
}

/// The sequence of a record.
pub(super) struct Sequence<'a> {
    /// As in the FASTA.
    pub(super) as_written: &'a [u8],
    /// One letter for each embedded residue, `X` for those outside the alphabet.
    pub(super) letters: &'a [u8],
}

impl Sequences {
    /// The sequences in these files, or those at the paths of the run.
    pub(super) fn open(manifest: &Manifest, fasta: &[PathBuf]) -> Result<Self, ExportError> {
        let inputs = &manifest.resolved.inputs;
        let paths: Vec<PathBuf> = match fasta {
            [] => inputs
                .iter()
                .map(|input| PathBuf::from(&input.path))
                .collect(),
            given => given.to_vec(),
        };
        if let Some(path) = paths.iter().find(|path| path.as_os_str() == "-") {
            return Err(sequences(
                path,
                "the run read standard input, which is gone",
            ));
        }
        if paths.len() != inputs.len() {
            let path = paths.first().cloned().unwrap_or_default();
            let what = format!(
                "is one of {} FASTA files; the run read {}",
                paths.len(),
                inputs.len()
            );
            return Err(sequences(&path, &what));
        }
        let all: Vec<_> = paths.into_iter().zip(inputs.iter().cloned()).collect();
        Ok(Self {
            inputs: all.into_iter(),
            open: None,
            // Those of all other models have the same letters.
            alphabet: match manifest
                .resolved
                .model
                .alphabet_size
                .and_then(Alphabet::of_rows)
            {
                Some(Alphabet::SaProt) => Alphabet::SaProt,
                _ => Alphabet::Esm,
            },
            drops_gaps: manifest.resolved.gaps == "drop",
            record: fasta::Record::default(),
            letters: Vec::new(),
        })
    }

    /// The sequence of the next record of the index; what the run skipped is passed over.
    pub(super) fn next(&mut self, record: &Record) -> Result<Sequence<'_>, ExportError> {
        loop {
            if !self.read()? {
                let id = String::from_utf8_lossy(&record.id);
                let what = format!("has no record {:?} where index.tsv has it", id);
                return Err(sequences(Path::new("FASTA"), &what));
            }
            let found = &self.record;
            if found.id == record.id
                && found.description == record.description
                && self.is_as_long(record)
            {
                break;
            }
        }
        Ok(Sequence {
            as_written: &self.record.sequence,
            letters: &self.letters,
        })
    }

    /// Reads what is left, so that every file is known to be that of the run.
    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        while self.read()? {}
        Ok(())
    }

    /// Reads the next record of the files; false if there is none.
    fn read(&mut self) -> Result<bool, ExportError> {
        loop {
            let Some((path, facts, reader)) = &mut self.open else {
                let Some((path, facts)) = self.inputs.next() else {
                    return Ok(false);
                };
                let input =
                    Input::open(&path).map_err(|error| sequences(&path, &plain(&path, &error)))?;
                let reader = Reader::new(input).hash_is_letter(self.alphabet.has_hash());
                self.open = Some((path, facts, reader));
                continue;
            };
            match reader.read(&mut self.record) {
                Ok(true) => return Ok(true),
                // The run has skipped it.
                Err(FastaError::Record(_)) => {}
                Err(error) => return Err(error.into()),
                Ok(false) => {
                    if hex(&reader.get_ref().digest().sha256) != facts.sha256 {
                        return Err(sequences(path, "is not the file that the run read"));
                    }
                    self.open = None;
                }
            }
        }
    }

    /// Finds the letters; whether there are as many as the record has residues.
    fn is_as_long(&mut self, record: &Record) -> bool {
        let (alphabet, sequence) = (self.alphabet, &self.record.sequence);
        let tokens = match self.drops_gaps {
            true => alphabet.tokenize_without_gaps(sequence, UnknownPolicy::Unk),
            false => alphabet.tokenize(sequence, UnknownPolicy::Unk),
        };
        let Ok(tokens) = tokens else {
            return false;
        };
        let residues = tokens.residues();
        // A run may embed only the beginning.
        let kept = residues.min(usize::try_from(record.length).unwrap_or(usize::MAX));
        self.letters.clear();
        let ids = tokens.ids.iter().skip(1).take(kept);
        self.letters.extend(ids.map(|&id| alphabet.letter(id)));
        kept as u64 == record.length
    }
}

fn sequences(path: &Path, what: &str) -> ExportError {
    ExportError::Sequences {
        path: path.to_path_buf(),
        what: what.to_owned(),
    }
}

/// The first line of an error, without the path that it begins with, and without its hints.
fn plain(path: &Path, error: &FastaError) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let path = format!("{}: ", path.display());
    line.strip_prefix(&path).unwrap_or(line).to_owned()
}
