//! Why a sequence has no tokens.

use super::Alphabet;
use thiserror::Error;

/// A sequence that has no tokens. Positions count residues from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenizerError {
    /// A character outside the alphabet, under [`UnknownPolicy::Error`](super::UnknownPolicy::Error).
    #[error(
        "residue {position}: `{character}` is not in the ESM alphabet ({})\n\
         hint: correct it, or write X for an unknown residue\n\
         hint: use `unknown=unk`, which embeds it as <unk>",
        .alphabet.letters()
    )]
    Unknown {
        /// The alphabet.
        alphabet: Alphabet,
        /// The character, escaped if it does not print.
        character: String,
        /// Its position.
        position: usize,
    },
    /// A token that marks the start, end or padding of a sequence, within its text.
    #[error(
        "residue {position}: `{token}` is not a residue: the model would read it as the start, end or \
         padding of a sequence\n\
         hint: delete it, or write <mask> or X"
    )]
    Reserved {
        /// The token.
        token: &'static str,
        /// Its position.
        position: usize,
    },
    /// A sequence of amino acids, for a model that reads pairs.
    #[error(
        "it has amino acids only, but this model reads a structure letter behind each\n\
         hint: write # behind each amino acid, as SaProt's authors recommend where the structure is \
         unknown: M#K#T# (sed '/^>/!s/[A-Z]/&#/g' does it)\n\
         hint: with a structure, take the 3Di letters of Foldseek in lower case: MdKvTp"
    )]
    NoStructure,
    /// Two characters that are not an amino acid and a structure letter.
    #[error(
        "residue {position}: `{pair}` {found}\n\
         hint: write each residue as an amino acid in upper case and its 3Di letter in lower case, or # \
         for an unknown one: MdK#"
    )]
    Pair {
        /// The characters, escaped if they do not print.
        pair: String,
        /// Their position.
        position: usize,
        /// What is wrong.
        found: &'static str,
    },
    /// A pair whose letter is not one of the twenty amino acids, under [`UnknownPolicy::Error`](super::UnknownPolicy::Error).
    #[error(
        "residue {position}: `{pair}` has no token: its first letter is not one of the 20 amino acids\n\
         hint: write # for an unknown amino acid\n\
         hint: use `unknown=unk`, which embeds it as <unk>"
    )]
    UnknownPair {
        /// The two characters.
        pair: String,
        /// Their position.
        position: usize,
    },
}
