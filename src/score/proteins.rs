//! The records of a FASTA file: proteins, and what cannot be one.

use super::protein::Protein;
use super::skipped::Skipped;
use crate::fasta::{Input, Reader, Record};
use crate::pipeline::OnInvalid;
use crate::printable;
use crate::tokenizer::Alphabet;
use anyhow::{Result, bail};
use std::collections::HashSet;
use std::path::Path;

/// The records of a FASTA file.
#[derive(Debug, Default)]
pub struct Proteins {
    /// Those that can be scored, in order.
    pub sound: Vec<Protein>,
    /// All of them, in order.
    pub records: Vec<Entry>,
}

/// A record.
#[derive(Debug)]
pub struct Entry {
    /// Its identifier.
    pub id: String,
    /// Its line.
    pub line: u64,
    /// The number of its protein, or why it has no scores.
    pub protein: Result<usize, String>,
}

impl Proteins {
    /// All records of a FASTA file, in the alphabets of the models that score them.
    ///
    /// # Errors
    /// A file that cannot be read or is empty, two records with the same identifier, or a record
    /// without residues or with unknown letters if such records are not to be left out.
    pub fn read(path: &Path, alphabets: &[Alphabet], on_invalid: OnInvalid) -> Result<Proteins> {
        let input = Input::open(path)?;
        let name = input.name().to_owned();
        let mut reader = Reader::new(input);
        let mut record = Record::default();
        let mut proteins = Proteins::default();
        let mut ids = HashSet::new();
        while reader.read(&mut record)? {
            let id = String::from_utf8_lossy(&record.id).into_owned();
            let line = record.line;
            let place = || format!("{name}, line {line}, record {}", printable::name(&id));
            if !ids.insert(id.clone()) {
                bail!(
                    "{}: an earlier record has the same identifier\nhint: rename one of the two",
                    place()
                );
            }
            let protein = match (protein(&id, &record.sequence, alphabets), on_invalid) {
                (Ok(protein), _) => {
                    proteins.sound.push(protein);
                    Ok(proteins.sound.len() - 1)
                }
                (Err(why), OnInvalid::Skip) => Err(why),
                (Err(why), OnInvalid::Fail) => bail!(
                    "{}: {why}\n\
                     hint: correct it, or write X for an unknown residue\n\
                     hint: use `on_invalid=skip` to leave such records without scores",
                    place()
                ),
            };
            proteins.records.push(Entry { id, line, protein });
        }
        match proteins.records.is_empty() {
            true => bail!("{name}: it holds no records"),
            false => Ok(proteins),
        }
    }

    /// Records that have no scores.
    pub fn skipped(&self) -> Vec<Skipped> {
        let skipped = self.records.iter().filter_map(|record| {
            Some(Skipped {
                line: record.line,
                text: record.id.clone(),
                why: record.protein.as_ref().err()?.clone(),
            })
        });
        skipped.collect()
    }
}

/// The protein of a sequence that is sound in every alphabet.
fn protein(id: &str, sequence: &[u8], alphabets: &[Alphabet]) -> Result<Protein, String> {
    let mut found: Option<Protein> = None;
    for &alphabet in alphabets {
        let protein = Protein::new(id, sequence, alphabet).map_err(|error| {
            // Its hints are those of commands that embed.
            let text = error.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        })?;
        if protein.residues() == 0 {
            return Err("it has no residues".to_owned());
        }
        found.get_or_insert(protein);
    }
    found.ok_or_else(|| "there is no model".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Alphabet::{Esm, EsmC};

    fn read(text: &str, alphabets: &[Alphabet], on_invalid: OnInvalid) -> Result<Proteins> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.fasta");
        std::fs::write(&path, text).unwrap();
        Proteins::read(&path, alphabets, on_invalid)
    }

    #[test]
    fn unsound_records_are_left_out_or_stop_the_run() {
        let text = ">a\nMK\n>b\nMKJ\n>c\n*\n>d\nMK<cls>\n>e\nmk\n";
        let all = read(text, &[Esm], OnInvalid::Skip).unwrap();
        let ids: Vec<&str> = all.sound.iter().map(Protein::id).collect();
        assert_eq!(ids, ["a", "e"]);
        let numbers: Vec<_> = all
            .records
            .iter()
            .map(|r| r.protein.as_ref().ok())
            .collect();
        assert_eq!(numbers, [Some(&0), None, None, None, Some(&1)]);
        let skipped = all.skipped();
        let lines: Vec<_> = skipped.iter().map(|s| (s.line, &*s.text)).collect();
        assert_eq!(lines, [(3, "b"), (5, "c"), (7, "d")]);
        assert_eq!(
            skipped[0].why,
            "residue 3: `J` is not in the ESM alphabet (LAGVSERTIDPKQNFYMHWCXBUZO.-)"
        );
        assert_eq!(skipped[1].why, "it has no residues");
        let error = read(text, &[Esm], OnInvalid::Fail).unwrap_err().to_string();
        assert!(
            error.contains("p.fasta, line 3, record b: residue 3: `J` is not"),
            "{error}"
        );
        // Two records with the same id cannot be told apart.
        assert!(read(">a\nJ\n>a\nM\n", &[Esm], OnInvalid::Skip).is_err());
    }

    #[test]
    fn a_sequence_is_in_the_alphabet_of_every_model() {
        let text = ">a\nMK|A_\n";
        let of = |alphabets: &[Alphabet]| {
            read(text, alphabets, OnInvalid::Fail).map(|all| all.sound[0].tokens().to_vec())
        };
        assert_eq!(of(&[EsmC, EsmC]).unwrap(), [0, 20, 15, 31, 5, 32, 2]);
        assert!(of(&[Esm]).is_err());
        assert!(of(&[EsmC, Esm]).is_err());
    }
}
