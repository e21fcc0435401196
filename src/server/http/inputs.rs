//! The sequences of a request: one, or a list of them.

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use std::fmt;
use utoipa::ToSchema;

/// One sequence, or a list of sequences.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(example = json!(["MKTAYIAKQRQISFVKSHFSRQ", "GSHMASMTGGQQ"]))]
#[serde(untagged)]
pub enum Inputs {
    /// One sequence.
    One(String),
    /// A list of sequences.
    Many(Vec<String>),
}

impl Inputs {
    /// The sequences.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Inputs::One(sequence) => std::slice::from_ref(sequence),
            Inputs::Many(sequences) => sequences,
        }
    }

    /// The sequences, taken out.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Inputs::One(sequence) => vec![sequence],
            Inputs::Many(sequences) => sequences,
        }
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self, Inputs::Many(_))
    }
}

const TOKENS: &str = "token ids are not accepted: send sequences as text";

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence or a list of sequences")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Inputs, E> {
                Ok(Inputs::One(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Inputs, E> {
                Ok(Inputs::One(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inputs, A::Error> {
                let mut all = Vec::new();
                while let Some(Sequence(sequence)) = list.next_element()? {
                    all.push(sequence);
                }
                Ok(Inputs::Many(all))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// One sequence of a list.
struct Sequence(String);

impl<'de> Deserialize<'de> for Sequence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Sequence;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Sequence, E> {
                Ok(Sequence(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Sequence, E> {
                Ok(Sequence(text))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Sequence, E> {
                Err(E::custom(TOKENS))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Sequence, A::Error> {
                Err(A::Error::invalid_type(Unexpected::Other("list"), &self))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Inputs, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn one_or_many() {
        assert_eq!(parse(r#""MKT""#), Ok(Inputs::One("MKT".into())));
        assert_eq!(parse(r#""\u004dKT""#), Ok(Inputs::One("MKT".into())));
        assert_eq!(
            parse(r#"["A","C"]"#),
            Ok(Inputs::Many(vec!["A".into(), "C".into()]))
        );
        assert_eq!(parse("[]"), Ok(Inputs::Many(Vec::new())));
        for (text, says) in [
            ("[5, 6]", TOKENS),
            (
                "7",
                "invalid type: integer `7`, expected a sequence or a list of sequences",
            ),
            (
                "null",
                "invalid type: null, expected a sequence or a list of sequences",
            ),
            (r#"["A", null]"#, "invalid type: null, expected a sequence"),
            (r#"["A", ["C"]]"#, "invalid type: list, expected a sequence"),
            (
                r#"{"A": 1}"#,
                "invalid type: map, expected a sequence or a list of sequences",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
