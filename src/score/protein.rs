//! The proteins whose variants are scored.

use crate::fasta::{Input, Reader, Record};
use crate::printable;
use crate::tokenizer::{TokenId, TokenizerError, UnknownPolicy, tokenize};
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::path::Path;

/// A protein.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protein {
    id: String,
    /// `<cls>`, residues, `<eos>`.
    tokens: Vec<TokenId>,
}

impl Protein {
    /// A protein of this sequence.
    ///
    /// # Errors
    /// A letter outside the alphabet.
    pub fn new(id: &str, sequence: &[u8]) -> Result<Protein, TokenizerError> {
        let tokens = tokenize(sequence, UnknownPolicy::Error)?;
        Ok(Protein {
            id: id.to_owned(),
            tokens: tokens.ids,
        })
    }

    /// All proteins of a FASTA file, in order.
    ///
    /// # Errors
    /// A file that cannot be read, a record without residues or with unknown letters, or two records
    /// with the same identifier.
    pub fn read(path: &Path) -> Result<Vec<Protein>> {
        let mut reader = Reader::new(Input::open(path)?);
        let mut record = Record::default();
        let mut proteins: Vec<Protein> = Vec::new();
        let mut ids = HashSet::new();
        while reader.read(&mut record)? {
            let id = String::from_utf8_lossy(&record.id).into_owned();
            let place = || format!("{}, record {}", path.display(), printable::name(&id));
            let protein = Protein::new(&id, &record.sequence).with_context(place)?;
            if protein.residues() == 0 {
                bail!("{}: it has no residues", place());
            }
            if !ids.insert(id.clone()) {
                bail!(
                    "{}: an earlier record has the same identifier\nhint: rename one of the two",
                    place()
                );
            }
            proteins.push(protein);
        }
        match proteins.is_empty() {
            true => bail!("{}: it holds no records", path.display()),
            false => Ok(proteins),
        }
    }

    /// Its identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its identifier, for messages.
    pub fn shown(&self) -> String {
        printable::name(&self.id)
    }

    /// `<cls>`, residues, `<eos>`.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Number of residues.
    pub fn residues(&self) -> usize {
        self.tokens.len() - 2
    }

    /// The token of a residue, counted from 0.
    pub fn residue(&self, residue: usize) -> Option<TokenId> {
        match residue < self.residues() {
            true => self.tokens.get(residue + 1).copied(),
            false => None,
        }
    }
}
