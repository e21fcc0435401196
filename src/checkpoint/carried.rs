//! An alphabet that a torch file carries beside its weights, as the training program saved it.

use super::alphabet::{against_list, against_table};
use super::pickle::{Node, Pickle, Value};

/// Keys and attributes under which programs keep their tokens.
const KEYS: [&str; 11] = [
    "all_toks",
    "alphabet",
    "idx_to_tok",
    "itos",
    "stoi",
    "tok_to_idx",
    "token_to_id",
    "token_to_idx",
    "tokens",
    "vocab",
    "vocabulary",
];

/// Tokens that distinguish the alphabet of a language model from a list of classes or letters.
const TELLING: [&str; 2] = ["<cls>", "<mask>"];

/// Most alphabets of a file that are examined.
const MOST_ALPHABETS: usize = 100;

/// Longest alphabet that is read.
const MOST_TOKENS: usize = 10_000;

/// How the first such alphabet that is not ESM's differs from it.
pub(super) fn against(pickle: &Pickle<'_>) -> Option<String> {
    let entries = pickle.nodes.iter().filter_map(|node| match node {
        Node::Dict(entries) | Node::Object { items: entries, .. } => Some(entries),
        _ => None,
    });
    let is_alphabet =
        |(key, _): &&(Value, Value)| pickle.text(*key).is_some_and(|key| KEYS.contains(&key));
    // Many keys may share one long value.
    let mut alphabets = entries.flatten().filter(is_alphabet).take(MOST_ALPHABETS);
    alphabets.find_map(|(_, value)| of_value(pickle, *value))
}

fn of_value(pickle: &Pickle<'_>, value: Value) -> Option<String> {
    let is_telling = |token: &&str| TELLING.contains(token);
    match pickle.node(value)? {
        Node::List(values) if values.len() <= MOST_TOKENS => {
            let tokens: Option<Vec<&str>> =
                values.iter().map(|token| pickle.text(*token)).collect();
            let tokens = tokens.filter(|tokens| tokens.iter().any(is_telling))?;
            against_list(&tokens.into_iter().map(str::to_owned).collect::<Vec<_>>())
        }
        _ => {
            let entries = pickle.entries(value)?;
            if entries.len() > MOST_TOKENS {
                return None;
            }
            let numbered = entries.iter().map(|(token, number)| match number {
                Value::Int(number) => Some((pickle.text(*token)?, usize::try_from(*number).ok()?)),
                _ => None,
            });
            let numbered: Vec<(&str, usize)> = numbered.collect::<Option<_>>()?;
            let tells = numbered.iter().any(|(token, _)| is_telling(token));
            let numbered = numbered.into_iter();
            tells
                .then(|| against_table(numbered.map(|(token, number)| (token.to_owned(), number))))
                .flatten()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pickle::read;
    use super::*;
    use crate::tokenizer::VOCABULARY;

    fn text(text: &str) -> Vec<u8> {
        let length = (text.len() as u32).to_le_bytes();
        [b"X", &length[..], text.as_bytes()].concat()
    }

    fn found(key: &str, value: &[u8]) -> Option<String> {
        let bytes = [b"\x80\x02}", &text(key)[..], value, b"s."].concat();
        against(&read(&bytes).unwrap())
    }

    fn list(tokens: &[&str]) -> Vec<u8> {
        let tokens: Vec<u8> = tokens.iter().flat_map(|token| text(token)).collect();
        [b"](", &tokens[..], b"e"].concat()
    }

    fn table(tokens: &[&str]) -> Vec<u8> {
        let tokens = tokens.iter().zip(0u8..);
        let entries: Vec<u8> = tokens
            .flat_map(|(token, number)| [text(token), vec![b'K', number]].concat())
            .collect();
        [b"}(", &entries[..], b"u"].concat()
    }

    #[test]
    fn another_order_is_found_and_lists_of_letters_are_none() {
        let mut other = VOCABULARY.to_vec();
        other.swap(4, 5);
        assert_eq!(found("alphabet", &list(&VOCABULARY)), None);
        assert_eq!(found("tok_to_idx", &table(&VOCABULARY)), None);
        assert_eq!(
            found("alphabet", &list(&other)).unwrap(),
            "token 4 is `A`, not `L`"
        );
        assert_eq!(
            found("tok_to_idx", &table(&other)).unwrap(),
            "`L` is token 5, not token 4"
        );
        assert_eq!(found("alphabet", &list(&["A", "C", "D"])), None);
        assert_eq!(found("classes", &list(&other)), None);
    }
}
