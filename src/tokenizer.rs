//! The ESM alphabet: a sequence in, token numbers out, one per residue.
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
//! The vocabulary is that of fair-esm's `ESM-1b` alphabet, which ESM-1b, ESM-1v and ESM-2 share.
//! A character outside it becomes one `<unk>`; Hugging Face's tokenizer makes one `<unk>` of a
//! whole run of them, after which its rows no longer stand for residues.

use crate::invisible::{is_invisible, is_unseen};
use std::borrow::Cow;
use thiserror::Error;

/// Number of `<cls>`, the first token of every sequence.
pub const CLS: u8 = 0;
/// Number of `<pad>`, which fills up padded tensors and never comes from a sequence.
pub const PAD: u8 = 1;
/// Number of `<eos>`, the last token of every sequence.
pub const EOS: u8 = 2;
/// Number of `<unk>`, which stands for a character outside the alphabet.
pub const UNK: u8 = 3;
/// Number of `.`, a gap of an alignment.
pub const DOT: u8 = 29;
/// Number of `-`, a gap of an alignment.
pub const DASH: u8 = 30;
/// Number of `<mask>`.
pub const MASK: u8 = 32;

/// The tokens by their numbers.
pub const VOCABULARY: [&str; 33] = [
    "<cls>", "<pad>", "<eos>", "<unk>", "L", "A", "G", "V", "S", "E", "R", "T", "I", "D", "P", "K",
    "Q", "N", "F", "Y", "M", "H", "W", "C", "X", "B", "U", "Z", "O", ".", "-", "<null_1>",
    "<mask>",
];

/// What becomes of a character outside the alphabet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// One `<unk>` for each.
    #[default]
    Unk,
    /// An error.
    Error,
}

/// The tokens of one sequence, and what was done to get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// `<cls>`, one number for each residue, `<eos>`.
    pub ids: Vec<u8>,
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

    /// Takes the gaps out; [`gaps`](Self::gaps) still says how many there were.
    pub fn drop_gaps(&mut self) {
        self.ids.retain(|&id| !is_gap(id));
    }
}

/// Whether a token is a gap of an alignment.
pub const fn is_gap(id: u8) -> bool {
    matches!(id, DOT | DASH)
}

/// A sequence that has no tokens. Positions count residues from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenizerError {
    /// A character outside the alphabet, under [`UnknownPolicy::Error`].
    #[error(
        "residue {position}: `{character}` is outside the ESM alphabet \
         (LAGVSERTIDPKQNFYMHWCXBUZO.-); correct it, write X for an unknown residue, or choose \
         `--unknown unk`"
    )]
    Unknown {
        /// The character, escaped if it does not print.
        character: String,
        /// Its position.
        position: usize,
    },
    /// A token that marks the start, end or padding of a sequence, within its text.
    #[error(
        "residue {position}: `{token}` is not a residue: the model would take it for the start, \
         end or padding of a sequence; delete it, or write <mask> or X"
    )]
    Reserved {
        /// The token.
        token: &'static str,
        /// Its position.
        position: usize,
    },
}

/// Added to the number of a residue that is written as a lower-case letter.
const LOWER: u8 = 0x80;
/// In the table: white space, which is no residue.
const BLANK: u8 = 0xFD;
/// In the table: `<`, which may begin a token of several characters.
const BRACKET: u8 = 0xFE;
/// In the table: every byte outside the alphabet.
const OTHER: u8 = 0xFF;

/// What each byte is: the number of a token, with [`LOWER`] or not, or one of the marks above.
const TABLE: [u8; 256] = {
    let mut table = [OTHER; 256];
    let mut id = 0;
    while id < VOCABULARY.len() {
        if let [byte] = VOCABULARY[id].as_bytes() {
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
};

/// Turns a sequence into tokens, one for each residue.
///
/// - Lower case is read as upper case.
/// - `<mask>`, `<unk>` and `<null_1>`, in any case, are one token and one residue each.
/// - One `*` at the end is dropped; `-` and `.` are tokens of the alphabet.
/// - Every other character outside the alphabet is one `<unk>`, however many bytes it takes; so
///   is each byte that is not UTF-8.
/// - White space is not a residue and is passed over; so are the invisible characters of Unicode,
///   such as the zero-width space, the soft hyphen and marks of direction.
///
/// An empty sequence, or one of `*` alone, has no residues, and its tokens are `<cls>` and
/// `<eos>`.
///
/// # Errors
///
/// [`TokenizerError::Reserved`] for `<cls>`, `<pad>` and `<eos>` in the text, and
/// [`TokenizerError::Unknown`] for the first character outside the alphabet if the policy says
/// so.
pub fn tokenize(sequence: &[u8], unknown: UnknownPolicy) -> Result<Tokens, TokenizerError> {
    let (sequence, invisible) = without_unseen(sequence);
    let sequence = trim_end(&sequence);
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
        let class = class_of(*byte);
        rest = tail;
        if class == BRACKET
            && let Some((id, token)) = named_token(tail)
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
                tokens.ids.push(class);
                tokens.gaps += usize::from(is_gap(class));
            }
            LOWER..BLANK => {
                tokens.ids.push(class & !LOWER);
                tokens.lower += 1;
            }
            BLANK => {}
            BRACKET | OTHER => {
                let length = continuation_length(*byte, tail);
                let (continuation, next) = tail.split_at_checked(length).unwrap_or((&[], tail));
                rest = next;
                if unknown == UnknownPolicy::Error {
                    return Err(TokenizerError::Unknown {
                        character: shown(*byte, continuation),
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

fn class_of(byte: u8) -> u8 {
    TABLE[usize::from(byte)]
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

fn trim_end(mut sequence: &[u8]) -> &[u8] {
    while let [rest @ .., last] = sequence
        && class_of(*last) == BLANK
    {
        sequence = rest;
    }
    sequence
}

/// The token of several characters whose text after `<` starts `tail`.
fn named_token(tail: &[u8]) -> Option<(u8, &'static str)> {
    VOCABULARY
        .iter()
        .zip(0..)
        .filter_map(|(token, id)| Some((id, *token, token.strip_prefix('<')?)))
        .find(|(_, _, name)| {
            tail.get(..name.len())
                .is_some_and(|text| text.eq_ignore_ascii_case(name.as_bytes()))
        })
        .map(|(id, token, _)| (id, token))
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

/// A character as a message shows it.
fn shown(first: u8, continuation: &[u8]) -> String {
    let bytes = [&[first], continuation].concat();
    match std::str::from_utf8(&bytes) {
        Ok(text) => text
            .chars()
            .map(|character| {
                if is_invisible(character) {
                    character.escape_default().to_string()
                } else {
                    character.to_string()
                }
            })
            .collect(),
        Err(_) => format!("\\x{first:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(sequence: &str) -> Vec<u8> {
        tokenize(sequence.as_bytes(), UnknownPolicy::Unk)
            .unwrap()
            .ids
    }

    #[test]
    fn the_alphabet_has_its_numbers() {
        let residues = "LAGVSERTIDPKQNFYMHWCXBUZO.-";
        let expected: Vec<u8> = [0].into_iter().chain(4..=30).chain([2]).collect();
        assert_eq!(ids(residues), expected);
        assert_eq!(VOCABULARY.len(), 33);
        assert_eq!(VOCABULARY[usize::from(CLS)], "<cls>");
        assert_eq!(VOCABULARY[usize::from(PAD)], "<pad>");
        assert_eq!(VOCABULARY[usize::from(EOS)], "<eos>");
        assert_eq!(VOCABULARY[usize::from(UNK)], "<unk>");
        assert_eq!(VOCABULARY[usize::from(MASK)], "<mask>");
        assert_eq!(VOCABULARY[31], "<null_1>");
    }

    #[test]
    fn each_unknown_character_is_one_token() {
        assert_eq!(ids("MKJJT"), [0, 20, 15, 3, 3, 11, 2]);
        assert_eq!(ids("M1*K"), [0, 20, 3, 3, 15, 2]);
        assert_eq!(ids("Mé€𝄞K"), [0, 20, 3, 3, 3, 15, 2]);
        let latin1 = tokenize(b"M\xe9\xffK", UnknownPolicy::Unk).unwrap();
        assert_eq!(latin1.ids, [0, 20, 3, 3, 15, 2]);
        assert_eq!(latin1.unknown, 2);
    }

    #[test]
    fn lower_case_is_read_and_counted() {
        let tokens = tokenize(b"mKtjx", UnknownPolicy::Unk).unwrap();
        assert_eq!(tokens.ids, [0, 20, 15, 11, 3, 24, 2]);
        assert_eq!((tokens.lower, tokens.unknown), (3, 1));
    }

    #[test]
    fn named_tokens_are_one_residue_each() {
        let tokens = tokenize(b"KA<mask>ISQ", UnknownPolicy::Unk).unwrap();
        assert_eq!(tokens.ids, [0, 15, 5, 32, 12, 8, 16, 2]);
        assert_eq!((tokens.residues(), tokens.masks), (6, 1));
        let tokens = tokenize(b"<MASK><Unk><null_1><mask>", UnknownPolicy::Error).unwrap();
        assert_eq!(tokens.ids, [0, 32, 3, 31, 32, 2]);
        assert_eq!((tokens.masks, tokens.unknown, tokens.lower), (2, 0, 0));
    }

    #[test]
    fn a_bracket_that_names_no_token_is_characters() {
        assert_eq!(ids("M<K"), [0, 20, 3, 15, 2]);
        assert_eq!(ids("<foo>"), [0, 3, 18, 28, 28, 3, 2]);
        assert_eq!(ids("<mask"), [0, 3, 20, 5, 8, 15, 2]);
        assert_eq!(ids("<<mask>"), [0, 3, 32, 2]);
    }

    #[test]
    fn reserved_tokens_are_refused() {
        for (text, token) in [("<cls>", "<cls>"), ("<PAD>", "<pad>"), ("<eos>", "<eos>")] {
            let sequence = format!("MK<mask>{text}A");
            assert_eq!(
                tokenize(sequence.as_bytes(), UnknownPolicy::Unk),
                Err(TokenizerError::Reserved { token, position: 4 })
            );
        }
    }

    #[test]
    fn one_stop_at_the_end_is_dropped() {
        for (sequence, expected, unknown, dropped) in [
            ("MK*", &[0, 20, 15, 2][..], 0, true),
            ("MK**", &[0, 20, 15, 3, 2], 1, true),
            ("M*K", &[0, 20, 3, 15, 2], 1, false),
            ("*", &[0, 2], 0, true),
            ("", &[0, 2], 0, false),
            ("MK* ", &[0, 20, 15, 2], 0, true),
        ] {
            let tokens = tokenize(sequence.as_bytes(), UnknownPolicy::Unk).unwrap();
            assert_eq!(tokens.ids, expected, "{sequence}");
            assert_eq!((tokens.unknown, tokens.stop_dropped), (unknown, dropped));
        }
    }

    #[test]
    fn white_space_is_no_residue() {
        assert_eq!(
            ids("K A <mask>\tI\nS\r\n\x0b\x0cQ"),
            [0, 15, 5, 32, 12, 8, 16, 2]
        );
    }

    #[test]
    fn unknown_characters_are_named_with_their_position() {
        for (sequence, character, position) in [
            (&b"MK<mask>JJ"[..], "J", 4),
            (b"mj", "j", 2),
            (b"*M", "*", 1),
            ("MKé".as_bytes(), "é", 3),
            ("M\u{202e}\u{a0}\u{301}".as_bytes(), "\u{301}", 2),
            (b"M\x1b", "\\u{1b}", 2),
            (b"M\xe9", "\\xE9", 2),
            (b"M <K", "<", 2),
        ] {
            assert_eq!(
                tokenize(sequence, UnknownPolicy::Error),
                Err(TokenizerError::Unknown {
                    character: character.to_owned(),
                    position
                })
            );
        }
        let error = tokenize(b"MJ", UnknownPolicy::Error).unwrap_err();
        assert_eq!(
            error.to_string(),
            "residue 2: `J` is outside the ESM alphabet (LAGVSERTIDPKQNFYMHWCXBUZO.-); correct \
             it, write X for an unknown residue, or choose `--unknown unk`"
        );
    }

    #[test]
    fn white_space_and_invisible_characters_of_unicode_are_not_residues() {
        let unseen = "\u{a0}\u{ad}\u{200b}\u{2007}\u{202f}\u{2060}\u{feff}\u{202e}\u{85}";
        for text in [
            format!("MK{unseen}T*"),
            format!("{unseen}MKT*"),
            format!("MKT*{unseen} "),
            format!("M{unseen}k{unseen}T{unseen}*"),
        ] {
            let tokens = tokenize(text.as_bytes(), UnknownPolicy::Error).unwrap();
            assert_eq!(tokens.ids, [0, 20, 15, 11, 2], "{text:?}");
            assert_eq!(tokens.invisible, text.matches('\u{200b}').count() * 9);
            assert!(tokens.stop_dropped);
        }
        let tokens = tokenize("<ma\u{ad}sk>".as_bytes(), UnknownPolicy::Error).unwrap();
        assert_eq!((tokens.ids, tokens.masks), (vec![0, 32, 2], 1));
        // Each byte that is not UTF-8 is still one unknown character.
        let tokens = tokenize(b"M\xc2\xa0\xe9\xc2", UnknownPolicy::Unk).unwrap();
        assert_eq!(tokens.ids, [0, 20, 3, 3, 2]);
        assert_eq!((tokens.unknown, tokens.invisible), (2, 1));
    }

    #[test]
    fn gaps_are_tokens_that_are_counted_and_can_be_taken_out() {
        let mut tokens = tokenize(b"-M.K<mask>--T.", UnknownPolicy::Error).unwrap();
        assert_eq!(tokens.ids, [0, 30, 20, 29, 15, 32, 30, 30, 11, 29, 2]);
        assert_eq!((tokens.gaps, tokens.masks), (5, 1));
        tokens.drop_gaps();
        assert_eq!(tokens.ids, [0, 20, 15, 32, 11, 2]);
        assert_eq!((tokens.gaps, tokens.residues()), (5, 4));
    }

    proptest! {
        #[test]
        fn every_character_that_is_seen_has_one_token(text in "[^\\s<*]{0,200}") {
            let tokens = tokenize(text.as_bytes(), UnknownPolicy::Unk).unwrap();
            prop_assert_eq!(tokens.residues() + tokens.invisible, text.chars().count());
            prop_assert_eq!(tokens.ids.first(), Some(&0));
            prop_assert_eq!(tokens.ids.last(), Some(&2));
            let unknown = tokens.ids.iter().filter(|&&id| id == 3).count();
            prop_assert_eq!(tokens.unknown, unknown);
            prop_assert_eq!(
                tokenize(text.as_bytes(), UnknownPolicy::Error).is_err(),
                unknown > 0
            );
        }

        #[test]
        fn tokens_read_back_as_their_text(
            ids in prop::collection::vec(3u8..33, 0..100)
        ) {
            let text: String = ids.iter().map(|&id| VOCABULARY[usize::from(id)]).collect();
            let tokens = tokenize(text.as_bytes(), UnknownPolicy::Error).unwrap();
            prop_assert_eq!(&tokens.ids[1..=ids.len()], &ids[..]);
            prop_assert_eq!(tokens.residues(), ids.len());
        }

        #[test]
        fn tokens_of_parts_join(
            left in "[A-Za-z.\\-]{0,50}",
            right in "[A-Za-z.\\-]{0,50}",
        ) {
            let one = tokenize(left.as_bytes(), UnknownPolicy::Unk).unwrap();
            let two = tokenize(right.as_bytes(), UnknownPolicy::Unk).unwrap();
            let whole = tokenize(format!("{left}{right}").as_bytes(), UnknownPolicy::Unk).unwrap();
            let joined = [&one.ids[..=left.len()], &two.ids[1..]].concat();
            prop_assert_eq!(whole.ids, joined);
            prop_assert_eq!(whole.lower, one.lower + two.lower);
        }

        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(tokens) = tokenize(&bytes, UnknownPolicy::Unk) {
                prop_assert!(tokens.residues() <= bytes.len());
                prop_assert!(tokens.ids[1..=tokens.residues()].iter().all(|&id| (3..33).contains(&id)));
            }
        }
    }
}
