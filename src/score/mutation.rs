//! Mutations as they are written: `A42G`, several joined by `:`.

use super::protein::Protein;
use crate::printable;
use crate::tokenizer::{TokenId, VOCABULARY, number_of};

/// What may be wrong with a position.
const NUMBERING: &str = "hint: set `offset` to the number of the first residue, if it is not 1";

/// One substitution in a protein.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mutation {
    /// The residue, counted from 0.
    pub residue: usize,
    /// Token of the residue in the protein.
    pub wild: TokenId,
    /// Token of the residue in the variant.
    pub mutant: TokenId,
}

/// Substitutions at different residues, in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant(Vec<Mutation>);

impl Variant {
    /// Reads `A42G` or `A42G:K50R` and checks it against the protein, whose first residue has the
    /// number `first`. Letters may be lower case.
    ///
    /// # Errors
    /// What was expected, and what is there; with a hint where the numbering may be another one.
    pub fn parse(text: &str, protein: &Protein, first: i64) -> Result<Variant, String> {
        if text.trim().is_empty() {
            return Err("expected a mutation such as A42G, found an empty cell".into());
        }
        let mut mutations: Vec<Mutation> = Vec::new();
        for part in text.trim().split(':') {
            if part.trim().is_empty() {
                let text = printable::name(text);
                return Err(format!(
                    "expected a mutation such as A42G on both sides of :, found {text}"
                ));
            }
            let mutation = parse_one(part.trim(), protein, first)?;
            if mutations.iter().any(|m| m.residue == mutation.residue) {
                return Err(format!(
                    "expected mutations of different residues, found a second one at {} in {}",
                    first.saturating_add_unsigned(mutation.residue as u64),
                    printable::name(text)
                ));
            }
            mutations.push(mutation);
        }
        Ok(Variant(mutations))
    }

    /// The substitutions.
    pub fn mutations(&self) -> &[Mutation] {
        &self.0
    }

    /// Residues that differ from those of the protein, with their tokens, in ascending order.
    pub fn changes(&self) -> Vec<(usize, TokenId)> {
        let real = self.0.iter().filter(|m| m.wild != m.mutant);
        let mut changes: Vec<(usize, TokenId)> = real.map(|m| (m.residue, m.mutant)).collect();
        changes.sort_unstable();
        changes
    }
}

fn parse_one(text: &str, protein: &Protein, first: i64) -> Result<Mutation, String> {
    let found = || printable::name(text);
    let malformed = || format!("expected a mutation such as A42G, found {}", found());
    let mut letters = text.chars();
    let (Some(wild), Some(mutant)) = (letters.next(), letters.next_back()) else {
        return Err(malformed());
    };
    let number = letters.as_str();
    let digits = number.strip_prefix('-').unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let (wild, mutant) = (token(wild, text)?, token(mutant, text)?);
    let outside = || {
        let last = first.saturating_add_unsigned(protein.residues() as u64) - 1;
        format!(
            "expected a position from {first} to {last}, the residues of {}, found {number} in {}\n{NUMBERING}",
            protein.shown(),
            found()
        )
    };
    let position: i64 = number.parse().map_err(|_| outside())?;
    let residue = position.checked_sub(first);
    let residue = residue.and_then(|residue| usize::try_from(residue).ok());
    let (residue, there) = residue
        .and_then(|residue| Some((residue, protein.residue(residue)?)))
        .ok_or_else(outside)?;
    if there != wild {
        return Err(format!(
            "expected {} at position {position}, which is what {} has there, found {} in {}\n{NUMBERING}",
            protein.token_name(there),
            protein.shown(),
            protein.token_name(wild),
            found()
        ));
    }
    Ok(Mutation {
        residue,
        wild,
        mutant,
    })
}

/// The token of the letter of a residue.
fn token(letter: char, text: &str) -> Result<TokenId, String> {
    let upper = letter.to_ascii_uppercase();
    let known = u8::try_from(upper)
        .ok()
        .filter(|byte| byte.is_ascii_uppercase());
    let number = known.map(number_of);
    number
        .filter(|number| usize::from(*number) < VOCABULARY.len())
        .ok_or_else(|| {
            format!(
                "expected residues of ESM's alphabet, found {} in {}",
                printable::name(letter.to_string()),
                printable::name(text)
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Alphabet;

    fn protein() -> Protein {
        Protein::new("p1", b"MKTAYX", Alphabet::Esm).unwrap()
    }

    fn parse(text: &str, first: i64) -> Result<Vec<(usize, TokenId)>, String> {
        Variant::parse(text, &protein(), first).map(|variant| variant.changes())
    }

    #[test]
    fn single_and_multiple_mutations() {
        assert_eq!(parse("M1L", 1), Ok(vec![(0, 4)]));
        assert_eq!(parse(" a4g : k2r ", 1), Ok(vec![(1, 10), (3, 6)]));
        assert_eq!(parse("Y-1C", -5), Ok(vec![(4, 23)]));
        assert_eq!(parse("M24L", 24), Ok(vec![(0, 4)]));
        // A silent mutation changes nothing.
        assert_eq!(parse("T3T:X6A", 1), Ok(vec![(5, 5)]));
    }

    #[test]
    fn a_chain_break_is_named_as_in_its_alphabet() {
        let protein = Protein::new("p1", b"MK|_", Alphabet::EsmC).unwrap();
        for (text, there) in [("A3G", "|"), ("A4G", "<mask>")] {
            let found = Variant::parse(text, &protein, 1).unwrap_err();
            assert!(
                found.starts_with(&format!("expected {there} at position ")),
                "{found}"
            );
        }
    }

    #[test]
    fn what_is_wrong_says_what_was_expected_and_what_is_there() {
        for (text, first, says) in [
            (
                "",
                1,
                "expected a mutation such as A42G, found an empty cell",
            ),
            (
                "  ",
                1,
                "expected a mutation such as A42G, found an empty cell",
            ),
            ("A", 1, "expected a mutation such as A42G, found A"),
            ("A4", 1, "expected a mutation such as A42G, found A4"),
            ("4G", 1, "expected a mutation such as A42G, found 4G"),
            (
                "A4G:",
                1,
                "expected a mutation such as A42G on both sides of :, found A4G:",
            ),
            (
                "A4G::K2R",
                1,
                "expected a mutation such as A42G on both sides of :, found A4G::K2R",
            ),
            ("A+4G", 1, "expected a mutation such as A42G, found A+4G"),
            (
                "A4*",
                1,
                "expected residues of ESM's alphabet, found * in A4*",
            ),
            (
                "A4J",
                1,
                "expected residues of ESM's alphabet, found J in A4J",
            ),
            (
                "A4-",
                1,
                "expected residues of ESM's alphabet, found - in A4-",
            ),
            (
                "A7G",
                1,
                "expected a position from 1 to 6, the residues of p1, found 7 in A7G\n\
                 hint: set `offset` to the number of the first residue, if it is not 1",
            ),
            (
                "A4G",
                24,
                "expected a position from 24 to 29, the residues of p1, found 4 in A4G\n\
                 hint: set `offset` to the number of the first residue, if it is not 1",
            ),
            (
                "A99999999999999999999G",
                1,
                "expected a position from 1 to 6, the residues of p1, found 99999999999999999999 in \
                 A99999999999999999999G\n\
                 hint: set `offset` to the number of the first residue, if it is not 1",
            ),
            (
                "G4A",
                1,
                "expected A at position 4, which is what p1 has there, found G in G4A\n\
                 hint: set `offset` to the number of the first residue, if it is not 1",
            ),
            (
                "A4G:A4C",
                1,
                "expected mutations of different residues, found a second one at 4 in A4G:A4C",
            ),
        ] {
            assert_eq!(parse(text, first), Err(says.to_owned()), "{text}");
        }
    }
}
