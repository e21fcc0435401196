//! The proteins whose variants are scored.

use crate::printable;
use crate::tokenizer::{Alphabet, TokenId, TokenizerError, UnknownPolicy};

/// A protein.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protein {
    id: String,
    alphabet: Alphabet,
    /// `<cls>`, residues, `<eos>`.
    tokens: Vec<TokenId>,
}

impl Protein {
    /// A protein of this sequence, in the alphabet of the model that scores it.
    ///
    /// # Errors
    /// A letter outside the alphabet.
    pub fn new(id: &str, sequence: &[u8], alphabet: Alphabet) -> Result<Protein, TokenizerError> {
        let tokens = alphabet.tokenize(sequence, UnknownPolicy::Error)?;
        Ok(Protein {
            id: id.to_owned(),
            alphabet,
            tokens: tokens.ids,
        })
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

    /// What a token is called in its alphabet.
    pub(super) fn token_name(&self, token: TokenId) -> &'static str {
        let tokens = self.alphabet.tokens();
        tokens.get(usize::from(token)).copied().unwrap_or("?")
    }
}
