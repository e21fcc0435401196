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

mod alphabet;
mod error;
mod structure_aware;

pub(crate) use alphabet::number_of;
pub use alphabet::{Alphabet, CLS, DASH, DOT, EOS, MASK, PAD, UNK, VOCABULARY, is_gap};
use alphabet::{BLANK, BRACKET, LOWER, OTHER};
pub use error::TokenizerError;

/// The number of a token: the row of the embedding. The structure-aware alphabet has 446.
pub type TokenId = u16;

impl Alphabet {
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
mod tests;
