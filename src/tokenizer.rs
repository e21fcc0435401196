//! The ESM alphabets: a sequence in, token numbers out, one per residue.
//!
//! ```
//! use esm_embed::tokenizer::{UnknownPolicy, tokenize};
//!
//! let tokens = tokenize(b"MKJjt", UnknownPolicy::Unk)?;
//! assert_eq!(tokens.ids, [0, 20, 15, 3, 3, 11, 2]);
//! assert_eq!((tokens.residues(), tokens.unknown, tokens.lower), (5, 2, 1));
//! # Ok::<(), esm_embed::tokenizer::TokenizerError>(())
//! ```
//!
//! The vocabulary is that of fair-esm's `ESM-1b` alphabet, which ESM-1b, ESM-1v and ESM-2 share;
//! [`Alphabet::EsmC`] differs in one token; [`Alphabet::SaProt`] has a token for each pair of a residue and a
//! letter of its structure. A character outside it becomes one `<unk>`; Hugging Face's tokenizer makes one `<unk>` of a
//! run of them, after which its rows are no longer those of residues.

use crate::invisible::is_unseen;
use crate::printable;
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;

mod structure_aware;

/// The number of a token: the row of the embedding. The structure-aware alphabet has 446.
pub type TokenId = u16;

/// Number of `<cls>`, the first token of every sequence.
pub const CLS: TokenId = 0;
/// Number of `<pad>`, which fills up padded tensors and never comes from a sequence.
pub const PAD: TokenId = 1;
/// Number of `<eos>`, the last token of every sequence.
pub const EOS: TokenId = 2;
/// Number of `<unk>`, the token of every character outside the alphabet.
pub const UNK: TokenId = 3;
/// Number of `.`, a gap of an alignment.
pub const DOT: TokenId = 29;
/// Number of `-`, a gap of an alignment.
pub const DASH: TokenId = 30;
/// Number of `<mask>`.
pub const MASK: TokenId = 32;

/// The tokens by their numbers.
pub const VOCABULARY: [&str; 33] = [
    "<cls>", "<pad>", "<eos>", "<unk>", "L", "A", "G", "V", "S", "E", "R", "T", "I", "D", "P", "K",
    "Q", "N", "F", "Y", "M", "H", "W", "C", "X", "B", "U", "Z", "O", ".", "-", "<null_1>",
    "<mask>",
];

/// The rows of ESM C's embedding. Those after `<mask>` belong to no token, but have logits.
const ESM_C: [&str; 64] = {
    let mut all = [""; 64];
    let mut id = 0;
    while id < VOCABULARY.len() {
        all[id] = VOCABULARY[id];
        id += 1;
    }
    all[CHAIN_BREAK as usize] = "|";
    while id < all.len() {
        all[id] = UNUSED[id - VOCABULARY.len()];
        id += 1;
    }
    all
};

/// The rows 33 to 63 of ESM C.
#[rustfmt::skip]
const UNUSED: [&str; 31] = [
    "<unused_33>", "<unused_34>", "<unused_35>", "<unused_36>", "<unused_37>", "<unused_38>", "<unused_39>",
    "<unused_40>", "<unused_41>", "<unused_42>", "<unused_43>", "<unused_44>", "<unused_45>", "<unused_46>",
    "<unused_47>", "<unused_48>", "<unused_49>", "<unused_50>", "<unused_51>", "<unused_52>", "<unused_53>",
    "<unused_54>", "<unused_55>", "<unused_56>", "<unused_57>", "<unused_58>", "<unused_59>", "<unused_60>",
    "<unused_61>", "<unused_62>", "<unused_63>",
];

/// Number of `|` in ESM C, the break between two chains.
const CHAIN_BREAK: u8 = 31;

/// The alphabet of a family of models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Alphabet {
    /// ESM-1b, ESM-1v and ESM-2: [`VOCABULARY`].
    #[default]
    Esm,
    /// ESM C: 64 rows, of which the first 33 are the tokens of [`VOCABULARY`], but 31 is `|`, the break
    /// between two chains. `_` in a sequence is `<mask>`. Both are tokens and nothing else: attention
    /// runs across a chain break.
    EsmC,
    /// SaProt: 446 tokens, most of which are pairs of an amino acid and a letter of Foldseek's 3Di alphabet,
    /// written as two characters: `Md`, `M#`.
    SaProt,
}

impl Alphabet {
    /// Names of all rows that have a logit, by number.
    pub const fn rows(self) -> &'static [&'static str] {
        match self {
            Alphabet::Esm => &VOCABULARY,
            Alphabet::EsmC => &ESM_C,
            Alphabet::SaProt => &structure_aware::TOKENS,
        }
    }

    /// The tokens that a sequence may have, by number.
    pub fn tokens(self) -> &'static [&'static str] {
        match self {
            Alphabet::SaProt => self.rows(),
            Alphabet::Esm | Alphabet::EsmC => {
                self.rows().get(..VOCABULARY.len()).unwrap_or_default()
            }
        }
    }

    /// Number of `<mask>`.
    pub const fn mask(self) -> TokenId {
        match self {
            Alphabet::Esm | Alphabet::EsmC => MASK,
            Alphabet::SaProt => structure_aware::MASK,
        }
    }

    /// Whether `#` is one of its letters.
    pub fn has_hash(self) -> bool {
        self == Alphabet::SaProt
    }

    /// The alphabet with this many rows that have a logit.
    pub fn of_rows(rows: usize) -> Option<Alphabet> {
        let all = [Alphabet::Esm, Alphabet::EsmC, Alphabet::SaProt];
        all.into_iter()
            .find(|alphabet| alphabet.rows().len() == rows)
    }

    /// The letter of the amino acid, gap or unknown residue that a token is; `X` for the others.
    pub fn letter(self, id: TokenId) -> u8 {
        let letter = match self {
            Alphabet::SaProt => structure_aware::amino_acid(id),
            Alphabet::Esm | Alphabet::EsmC => {
                let token = self.tokens().get(usize::from(id));
                token.and_then(|token| match token.as_bytes() {
                    &[letter] => Some(letter),
                    _ => None,
                })
            }
        };
        letter.unwrap_or(b'X')
    }

    /// The residues, gaps and other tokens of one letter.
    fn letters(self) -> String {
        let letters = self.tokens().iter().filter(|token| token.len() == 1);
        letters.copied().collect()
    }

    fn class_of(self, byte: u8) -> u8 {
        let table = match self {
            Alphabet::Esm | Alphabet::SaProt => &TABLE,
            Alphabet::EsmC => &TABLE_OF_ESM_C,
        };
        table[usize::from(byte)]
    }

    /// As [`tokenize`], with this alphabet.
    ///
    /// # Errors
    /// As [`tokenize`].
    pub fn tokenize(
        self,
        sequence: &[u8],
        unknown: UnknownPolicy,
    ) -> Result<Tokens, TokenizerError> {
        let (sequence, invisible) = without_unseen(sequence);
        let (sequence, _) = trim_end(&sequence, false);
        if self == Alphabet::SaProt {
            return structure_aware::tokenize(sequence, invisible, unknown);
        }
        self.visible_tokens(sequence, invisible, unknown)
    }

    /// As [`Alphabet::tokenize`], with the gaps of an alignment (`-` and `.`) taken out before a `*` at
    /// the end is looked for; [`Tokens::gaps`] still says how many there were. The structure-aware alphabet
    /// has no gaps.
    ///
    /// # Errors
    /// As [`tokenize`]; positions count the gaps.
    pub fn tokenize_without_gaps(
        self,
        sequence: &[u8],
        unknown: UnknownPolicy,
    ) -> Result<Tokens, TokenizerError> {
        if self == Alphabet::SaProt {
            return self.tokenize(sequence, unknown);
        }
        let (sequence, invisible) = without_unseen(sequence);
        let (sequence, gaps) = trim_end(&sequence, true);
        let mut tokens = self.visible_tokens(sequence, invisible, unknown)?;
        tokens.gaps += gaps;
        tokens.ids.retain(|&id| !is_gap(id));
        Ok(tokens)
    }
}

/// What happens to a character outside the alphabet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// One `<unk>` for each.
    #[default]
    Unk,
    /// An error.
    Error,
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnknownPolicy::Unk => "unk",
            UnknownPolicy::Error => "error",
        })
    }
}

/// The tokens of one sequence, and what was done to get them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// `<cls>`, one number for each residue, `<eos>`.
    pub ids: Vec<TokenId>,
    /// Characters outside the alphabet, each now an `<unk>`; an `<unk>` as typed is not counted.
    pub unknown: usize,
    /// Lower-case letters read as their upper-case residues.
    pub lower: usize,
    /// `<mask>` tokens.
    pub masks: usize,
    /// Gaps of an alignment, `-` and `.`.
    pub gaps: usize,
    /// White space and invisible characters beyond ASCII, which are not residues and were dropped.
    pub invisible: usize,
    /// A `*` at the end, the mark of a stop codon, was dropped.
    pub stop_dropped: bool,
}

impl Tokens {
    /// Residues, each with one row of output: the tokens but `<cls>` and `<eos>`.
    pub fn residues(&self) -> usize {
        self.ids.len().saturating_sub(2)
    }
}

/// The tokens of a sequence as bytes, for digests: one byte for each if all fit, else two.
pub fn bytes_of(ids: &[TokenId]) -> Vec<u8> {
    let narrow: Result<Vec<u8>, _> = ids.iter().map(|&id| u8::try_from(id)).collect();
    narrow.unwrap_or_else(|_| ids.iter().flat_map(|id| id.to_le_bytes()).collect())
}

/// Whether a token is a gap of an alignment.
pub const fn is_gap(id: TokenId) -> bool {
    matches!(id, DOT | DASH)
}

/// A sequence that has no tokens. Positions count residues from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenizerError {
    /// A character outside the alphabet, under [`UnknownPolicy::Error`].
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
    /// A pair whose letter is not one of the twenty amino acids, under [`UnknownPolicy::Error`].
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

/// The number of the token of one letter.
pub(crate) const fn number_of(letter: u8) -> TokenId {
    TABLE[letter as usize] as TokenId
}

/// Added to the number of a residue that is written as a lower-case letter.
const LOWER: u8 = 0x80;
/// In the table: white space, which is not a residue.
const BLANK: u8 = 0xFD;
/// In the table: `<`, which may begin a token of several characters.
const BRACKET: u8 = 0xFE;
/// In the table: every byte outside the alphabet.
const OTHER: u8 = 0xFF;

/// What each byte is: the number of a token, with [`LOWER`] or not, or one of the marks above.
const TABLE: [u8; 256] = table(Alphabet::Esm);
const TABLE_OF_ESM_C: [u8; 256] = {
    let mut table = table(Alphabet::EsmC);
    table[b'_' as usize] = MASK as u8;
    table
};

const fn table(alphabet: Alphabet) -> [u8; 256] {
    let mut table = [OTHER; 256];
    let mut id = 0;
    while id < VOCABULARY.len() {
        if let [byte] = alphabet.rows()[id].as_bytes() {
            if byte.is_ascii_uppercase() {
                table[byte.to_ascii_lowercase() as usize] = LOWER | id as u8;
            }
            table[*byte as usize] = id as u8;
        }
        id += 1;
    }
    table[b' ' as usize] = BLANK;
    let mut control = b'\t';
    while control <= b'\r' {
        table[control as usize] = BLANK;
        control += 1;
    }
    table[b'<' as usize] = BRACKET;
    table
}

/// Turns a sequence into tokens, one for each residue.
///
/// - Lower case is read as upper case.
/// - `<mask>`, `<unk>` and `<null_1>`, in any case, are one token and one residue each.
/// - One `*` at the end is dropped; `-` and `.` are tokens of the alphabet.
/// - Every other character outside the alphabet is one `<unk>`, however many bytes it takes; so
///   is each byte that is not UTF-8.
/// - In ESM C, `|` is a token and `_` is `<mask>` ([`Alphabet::tokenize`]).
/// - White space is not a residue and is passed over; so are the invisible characters of Unicode,
///   such as the zero-width space, the soft hyphen and marks of direction.
///
/// An empty sequence, or only `*`, has no residues, and its tokens are `<cls>` and
/// `<eos>`.
///
/// # Errors
///
/// [`TokenizerError::Reserved`] for `<cls>`, `<pad>` and `<eos>` in the text, and
/// [`TokenizerError::Unknown`] for the first character outside the alphabet if the policy says
/// so.
pub fn tokenize(sequence: &[u8], unknown: UnknownPolicy) -> Result<Tokens, TokenizerError> {
    Alphabet::Esm.tokenize(sequence, unknown)
}

impl Alphabet {
    /// The tokens of a sequence that ends with a visible character, of which one `*` is dropped.
    fn visible_tokens(
        self,
        sequence: &[u8],
        invisible: usize,
        unknown: UnknownPolicy,
    ) -> Result<Tokens, TokenizerError> {
        let (mut rest, stop_dropped) = match sequence.strip_suffix(b"*") {
            Some(residues) => (residues, true),
            None => (sequence, false),
        };
        let mut tokens = Tokens {
            ids: Vec::with_capacity(rest.len().saturating_add(2)),
            unknown: 0,
            lower: 0,
            masks: 0,
            gaps: 0,
            invisible,
            stop_dropped,
        };
        tokens.ids.push(CLS);
        while let [byte, tail @ ..] = rest {
            let class = self.class_of(*byte);
            rest = tail;
            if class == BRACKET
                && let Some((id, token)) = self.named_token(tail)
            {
                if matches!(id, CLS | PAD | EOS) {
                    let position = tokens.ids.len();
                    return Err(TokenizerError::Reserved { token, position });
                }
                tokens.ids.push(id);
                tokens.masks += usize::from(id == MASK);
                rest = tail.get(token.len() - 1..).unwrap_or_default();
                continue;
            }
            match class {
                0..LOWER => {
                    tokens.ids.push(class.into());
                    tokens.gaps += usize::from(is_gap(class.into()));
                    tokens.masks += usize::from(TokenId::from(class) == MASK);
                }
                LOWER..BLANK => {
                    tokens.ids.push((class & !LOWER).into());
                    tokens.lower += 1;
                }
                BLANK => {}
                BRACKET | OTHER => {
                    let length = continuation_length(*byte, tail);
                    let (continuation, next) = tail.split_at_checked(length).unwrap_or((&[], tail));
                    rest = next;
                    if unknown == UnknownPolicy::Error {
                        return Err(TokenizerError::Unknown {
                            alphabet: self,
                            character: printable::start([&[*byte], continuation].concat(), 1),
                            position: tokens.ids.len(),
                        });
                    }
                    tokens.ids.push(UNK);
                    tokens.unknown += 1;
                }
            }
        }
        tokens.ids.push(EOS);
        Ok(tokens)
    }

    /// The token of several characters whose text after `<` starts `tail`.
    fn named_token(self, tail: &[u8]) -> Option<(TokenId, &'static str)> {
        self.tokens()
            .iter()
            .zip(0..)
            .filter_map(|(token, id)| Some((id, *token, token.strip_prefix('<')?)))
            .find(|(_, _, name)| {
                tail.get(..name.len())
                    .is_some_and(|text| text.eq_ignore_ascii_case(name.as_bytes()))
            })
            .map(|(id, token, _)| (id, token))
    }
}

/// The sequence without white space and invisible characters beyond ASCII, and how many those were.
fn without_unseen(sequence: &[u8]) -> (Cow<'_, [u8]>, usize) {
    if sequence.is_ascii() {
        return (Cow::Borrowed(sequence), 0);
    }
    let mut kept = Vec::with_capacity(sequence.len());
    let mut unseen = 0;
    for chunk in sequence.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_unseen(character) {
                unseen += 1;
            } else {
                kept.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        kept.extend_from_slice(chunk.invalid());
    }
    (Cow::Owned(kept), unseen)
}

/// The sequence without white space at its end, and without gaps there if these are to go too; and
/// how many gaps those were.
fn trim_end(mut sequence: &[u8], with_gaps: bool) -> (&[u8], usize) {
    let mut gaps = 0;
    while let [rest @ .., last] = sequence {
        let class = Alphabet::Esm.class_of(*last);
        let is_dropped_gap = with_gaps && is_gap(class.into());
        if class != BLANK && !is_dropped_gap {
            break;
        }
        gaps += usize::from(is_dropped_gap);
        sequence = rest;
    }
    (sequence, gaps)
}

/// Bytes of `tail` that belong to the UTF-8 character which `first` begins.
fn continuation_length(first: u8, tail: &[u8]) -> usize {
    let length = match first {
        0xC2..=0xDF => 1,
        0xE0..=0xEF => 2,
        0xF0..=0xF4 => 3,
        _ => 0,
    };
    let is_character = tail.get(..length).is_some_and(|continuation| {
        let mut bytes = [first; 4];
        for (byte, &next) in bytes.iter_mut().skip(1).zip(continuation) {
            *byte = next;
        }
        bytes
            .get(..=length)
            .is_some_and(|character| std::str::from_utf8(character).is_ok())
    });
    if is_character { length } else { 0 }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
