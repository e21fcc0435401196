//! The alphabets: which tokens there are, their numbers, and what each byte of a sequence is.

use super::{TokenId, structure_aware};

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
    pub(super) fn letters(self) -> String {
        let letters = self.tokens().iter().filter(|token| token.len() == 1);
        letters.copied().collect()
    }

    /// What a byte is, as in [`TABLE`].
    pub(super) fn class_of(self, byte: u8) -> u8 {
        let table = match self {
            Alphabet::Esm | Alphabet::SaProt => &TABLE,
            Alphabet::EsmC => &TABLE_OF_ESM_C,
        };
        table[usize::from(byte)]
    }
}

/// Whether a token is a gap of an alignment.
pub const fn is_gap(id: TokenId) -> bool {
    matches!(id, DOT | DASH)
}

/// The number of the token of one letter.
pub(crate) const fn number_of(letter: u8) -> TokenId {
    TABLE[letter as usize] as TokenId
}

/// Added to the number of a residue that is written as a lower-case letter.
pub(super) const LOWER: u8 = 0x80;
/// In the table: white space, which is not a residue.
pub(super) const BLANK: u8 = 0xFD;
/// In the table: `<`, which may begin a token of several characters.
pub(super) const BRACKET: u8 = 0xFE;
/// In the table: every byte outside the alphabet.
pub(super) const OTHER: u8 = 0xFF;

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
