//! The structure-aware alphabet of SaProt: two characters for each residue.
//!
//! The first is an amino acid, the second the letter that Foldseek's 3Di alphabet has for the structure
//! around it, in lower case. `#` is an unknown one in both places: `MdKvT#` are three residues. A token is
//! a pair, and a pair is one row of output. Case has a meaning here and is never changed.

use super::{
    Alphabet, BLANK, CLS, EOS, PAD, TokenId, TokenizerError, Tokens, UNK, UnknownPolicy,
    continuation_length,
};
use crate::printable;

/// Amino acids and the unknown one, in the order of the tokens.
const AMINO_ACIDS: &[u8; 21] = b"ACDEFGHIKLMNPQRSTVWY#";
/// 3Di letters and the unknown one, in the order of the tokens.
const STRUCTURES: &[u8; 21] = b"pynwrqhgdlvtmfsaeikc#";
/// Tokens before the first pair.
const SPECIAL: [&str; 5] = ["<cls>", "<pad>", "<eos>", "<unk>", "<mask>"];
/// Number of `<mask>`.
pub(super) const MASK: TokenId = 4;
/// All tokens.
const COUNT: usize = SPECIAL.len() + AMINO_ACIDS.len() * STRUCTURES.len();

const PAIRS: &[[u8; 2]; COUNT - SPECIAL.len()] = &{
    let mut pairs = [[0; 2]; COUNT - SPECIAL.len()];
    let mut i = 0;
    while i < pairs.len() {
        pairs[i] = [
            AMINO_ACIDS[i / STRUCTURES.len()],
            STRUCTURES[i % STRUCTURES.len()],
        ];
        i += 1;
    }
    pairs
};

/// The tokens by their numbers.
pub(super) const TOKENS: [&str; COUNT] = {
    let mut all = [""; COUNT];
    let mut id = 0;
    while id < COUNT {
        all[id] = match id {
            0..5 => SPECIAL[id],
            _ => match str::from_utf8(&PAIRS[id - SPECIAL.len()]) {
                Ok(pair) => pair,
                Err(_) => panic!("pairs are ASCII"),
            },
        };
        id += 1;
    }
    all
};

/// The amino acid of a token; None if it is not a pair or the amino acid is unknown.
pub(super) fn amino_acid(id: TokenId) -> Option<u8> {
    let pair = PAIRS.get(usize::from(id).checked_sub(SPECIAL.len())?)?;
    Some(pair[0]).filter(u8::is_ascii_uppercase)
}

/// The token of a pair: `<unk>` for a letter that is not one of the twenty amino acids.
///
/// # Errors
/// What is wrong with the pair.
fn token_of(first: &[u8], second: &[u8]) -> Result<TokenId, &'static str> {
    let place = |letters: &[u8; 21], found: &[u8]| match found {
        [byte] => letters.iter().position(|letter| letter == byte),
        _ => None,
    };
    match first {
        [b'A'..=b'Z' | b'#'] => {}
        [b'a'..=b'z'] => return Err("begins with a lower-case letter, not with an amino acid"),
        _ => return Err("does not begin with an amino acid"),
    }
    let Some(structure) = place(STRUCTURES, second) else {
        return Err(match second {
            [] => "has no structure letter: the sequence ends",
            [b'A'..=b'Z'] => "ends with an upper-case letter, not with a 3Di letter",
            _ => "does not end with a 3Di letter",
        });
    };
    let Some(amino_acid) = place(AMINO_ACIDS, first) else {
        return Ok(UNK);
    };
    let id = SPECIAL.len() + amino_acid * STRUCTURES.len() + structure;
    Ok(TokenId::try_from(id).unwrap_or(UNK))
}

/// Whether a sequence has amino acids only, as other models read them.
fn is_plain(sequence: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_whitespace();
    sequence.iter().all(is_letter)
}

/// The tokens of a sequence that ends with a visible character, of which one `*` is dropped.
pub(super) fn tokenize(
    sequence: &[u8],
    invisible: usize,
    unknown: UnknownPolicy,
) -> Result<Tokens, TokenizerError> {
    let (text, stop_dropped) = match sequence.strip_suffix(b"*") {
        Some(residues) => (residues, true),
        None => (sequence, false),
    };
    let mut tokens = Tokens {
        ids: Vec::with_capacity(text.len() / 2 + 2),
        stop_dropped,
        invisible,
        ..Tokens::default()
    };
    tokens.ids.push(CLS);
    let mut rest = text;
    while let Some((first, tail)) = next(rest) {
        let position = tokens.ids.len();
        if first == b"<"
            && let Some((id, token)) = Alphabet::SaProt.named_token(tail)
        {
            if matches!(id, CLS | PAD | EOS) {
                return Err(TokenizerError::Reserved { token, position });
            }
            tokens.ids.push(id);
            tokens.masks += usize::from(id == MASK);
            rest = tail.get(token.len() - 1..).unwrap_or_default();
            continue;
        }
        let (second, tail) = next(tail).unwrap_or_default();
        let pair = || printable::start([first, second].concat(), 2);
        let id = match token_of(first, second) {
            Ok(id) => id,
            Err(_) if is_plain(text) => return Err(TokenizerError::NoStructure),
            Err(found) => {
                let pair = pair();
                return Err(TokenizerError::Pair {
                    pair,
                    position,
                    found,
                });
            }
        };
        if id == UNK {
            if unknown == UnknownPolicy::Error {
                let pair = pair();
                return Err(TokenizerError::UnknownPair { pair, position });
            }
            tokens.unknown += 1;
        }
        tokens.ids.push(id);
        rest = tail;
    }
    tokens.ids.push(EOS);
    Ok(tokens)
}

/// The first character that is not white space, and what follows it.
fn next(mut text: &[u8]) -> Option<(&[u8], &[u8])> {
    while let [byte, tail @ ..] = text {
        if Alphabet::SaProt.class_of(*byte) != BLANK {
            let length = 1 + continuation_length(*byte, tail);
            return text.split_at_checked(length);
        }
        text = tail;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sa_prot(text: &str) -> Result<Tokens, TokenizerError> {
        Alphabet::SaProt.tokenize(text.as_bytes(), UnknownPolicy::Unk)
    }

    fn error(text: &str) -> String {
        sa_prot(text).unwrap_err().to_string()
    }

    #[test]
    fn the_alphabet_has_its_numbers() {
        let rows = Alphabet::SaProt.rows();
        assert_eq!(rows.len(), 446);
        assert_eq!(
            rows[..8],
            [
                "<cls>", "<pad>", "<eos>", "<unk>", "<mask>", "Ap", "Ay", "An"
            ]
        );
        assert_eq!((rows[25], rows[26]), ("A#", "Cp"));
        assert_eq!((rows[425], rows[445]), ("#p", "##"));
        assert_eq!(Alphabet::SaProt.tokens(), rows);
        assert_eq!(Alphabet::SaProt.mask(), 4);
    }

    #[test]
    fn a_pair_is_one_residue() {
        // The example of SaProt's page.
        let tokens = sa_prot("M#EvVpQpL#VyQdYaKv").unwrap();
        assert_eq!(tokens.residues(), 9);
        let names: Vec<&str> = tokens.ids[1..10]
            .iter()
            .map(|&id| Alphabet::SaProt.rows()[usize::from(id)])
            .collect();
        assert_eq!(names.concat(), "M#EvVpQpL#VyQdYaKv");
        assert_eq!((tokens.lower, tokens.unknown, tokens.masks), (0, 0, 0));

        let tokens = sa_prot("#d##<MASK> A p\nA#*").unwrap();
        assert_eq!(tokens.ids, [0, 433, 445, 4, 5, 25, 2]);
        assert_eq!((tokens.masks, tokens.stop_dropped), (1, true));
        assert_eq!(sa_prot("").unwrap().residues(), 0);
        assert_eq!(sa_prot("*").unwrap().residues(), 0);
    }

    #[test]
    fn a_letter_without_amino_acid_is_one_unknown_residue() {
        let tokens = sa_prot("MdX#BpKv").unwrap();
        assert_eq!(tokens.ids[2..4], [3, 3]);
        assert_eq!((tokens.residues(), tokens.unknown), (4, 2));
        let refused = Alphabet::SaProt.tokenize(b"MdX#", UnknownPolicy::Error);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "residue 2: `X#` has no token: its first letter is not one of the 20 amino acids\n\
             hint: write # for an unknown amino acid\n\
             hint: use `unknown=unk`, which embeds it as <unk>"
        );
    }

    #[test]
    fn gaps_are_no_amino_acids_whatever_happens_to_gaps() {
        for text in ["Md-#", "Md.#"] {
            assert!(error(text).starts_with("residue 2: `"), "{text}");
            let dropped =
                Alphabet::SaProt.tokenize_without_gaps(text.as_bytes(), UnknownPolicy::Unk);
            assert_eq!(dropped.unwrap_err().to_string(), error(text));
        }
        // Tokens 29 and 30 are residues here, not gaps.
        let text = b"CwCrMd";
        let tokens = Alphabet::SaProt.tokenize_without_gaps(text, UnknownPolicy::Unk);
        assert_eq!(tokens.unwrap().ids[1..3], [29, 30]);
    }

    #[test]
    fn what_is_no_pair_says_why_and_where() {
        for (text, says) in [
            (
                "MdK",
                "residue 2: `K` has no structure letter: the sequence ends",
            ),
            (
                "MdKVp",
                "residue 2: `KV` ends with an upper-case letter, not with a 3Di letter",
            ),
            ("MdKb", "residue 2: `Kb` does not end with a 3Di letter"),
            ("MdK*", "residue 2: `K` has no structure letter"),
            ("MdK**", "residue 2: `K*` does not end with a 3Di letter"),
            (
                "mdKv",
                "residue 1: `md` begins with a lower-case letter, not with an amino acid",
            ),
            ("Md*v", "residue 2: `*v` does not begin with an amino acid"),
            ("Mdév", "residue 2: `év` does not begin with an amino acid"),
            (
                "Md<foo>",
                "residue 2: `<f` does not begin with an amino acid",
            ),
        ] {
            let found = error(text);
            assert!(found.starts_with(says), "{text}: {found}");
            assert!(
                found.ends_with(
                    "\nhint: write each residue as an amino acid in upper case and its 3Di letter in \
                     lower case, or # for an unknown one: MdK#"
                ),
                "{found}"
            );
        }
        assert_eq!(
            error("Md<eos>"),
            TokenizerError::Reserved {
                token: "<eos>",
                position: 2
            }
            .to_string()
        );
    }

    #[test]
    fn a_plain_sequence_says_what_its_authors_recommend() {
        for text in ["MKTV", "MKT", "M", "MKTV*", "MK TV"] {
            assert_eq!(
                error(text),
                "it has amino acids only, but this model reads a structure letter behind each\n\
                 hint: write # behind each amino acid, as SaProt's authors recommend where the \
                 structure is unknown: M#K#T# (sed '/^>/!s/[A-Z]/&#/g' does it)\n\
                 hint: with a structure, take the 3Di letters of Foldseek in lower case: MdKvTp",
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn tokens_read_back_as_their_text(ids in prop::collection::vec(3u16..446, 0..100)) {
            let rows = Alphabet::SaProt.rows();
            let text: String = ids.iter().map(|&id| rows[usize::from(id)]).collect();
            let tokens = Alphabet::SaProt.tokenize(text.as_bytes(), UnknownPolicy::Error).unwrap();
            prop_assert_eq!(&tokens.ids[1..=ids.len()], &ids[..]);
        }

        #[test]
        fn any_bytes_give_tokens_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(tokens) = Alphabet::SaProt.tokenize(&bytes, UnknownPolicy::Unk) {
                let residues = &tokens.ids[1..=tokens.residues()];
                prop_assert!(residues.iter().all(|&id| (3..446).contains(&id)));
            }
        }
    }
}
