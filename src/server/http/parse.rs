//! Bodies as the server reads them, without a server.

use super::body;
use super::nim::NimRequest;
use super::openai::EmbeddingsRequest;
use super::tei::{EmbedRequest, ResiduesRequest};
use crate::server::refusal::Refusal;

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/embed` and `/`.
    Embed,
    /// `/embed_all`, `/logits` and `/contacts`.
    Residues,
    /// `/v1/embeddings`.
    OpenAi,
    /// `/v1/biology/meta/…`.
    Nim,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 4] = [
        Dialect::Embed,
        Dialect::Residues,
        Dialect::OpenAi,
        Dialect::Nim,
    ];

    /// The sequences of a body.
    ///
    /// # Errors
    /// It cannot be read, or asks for what there is not.
    pub fn sequences(self, body: &[u8]) -> Result<Vec<String>, Refusal> {
        Ok(match self {
            Dialect::Embed => body::parse::<EmbedRequest>(body)?.inputs.into_vec(),
            Dialect::Residues => body::parse::<ResiduesRequest>(body)?.inputs.into_vec(),
            Dialect::OpenAi => body::parse::<EmbeddingsRequest>(body)?.input.into_vec(),
            Dialect::Nim => body::parse::<NimRequest>(body)?.sequences,
        })
    }

    /// The key of the sequences.
    pub fn key(self) -> &'static str {
        match self {
            Dialect::Embed | Dialect::Residues => "inputs",
            Dialect::OpenAi => "input",
            Dialect::Nim => "sequences",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::refusal::Kind;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// JSON of any shape, with the keys that requests have.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            Just(Value::from("MKT")),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let key = prop_oneof![
                Just("inputs".to_owned()),
                Just("input".to_owned()),
                Just("sequences".to_owned()),
                Just("truncate".to_owned()),
                Just("pool".to_owned()),
                Just("model".to_owned()),
                ".{0,4}",
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    fn check(body: &[u8]) -> Result<(), TestCaseError> {
        for dialect in Dialect::ALL {
            let Err(refusal) = dialect.sequences(body) else {
                continue;
            };
            prop_assert!(matches!(refusal.kind, Kind::Malformed | Kind::Invalid));
            let text = &refusal.message;
            prop_assert!(!text.contains(char::is_control), "{text:?}");
            prop_assert!(text.len() < 4096, "{} bytes", text.len());
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn sequences_come_out_as_they_were_sent(
            sequences in proptest::collection::vec("\\PC{0,20}|[A-Z]{0,30}", 0..6),
        ) {
            for dialect in Dialect::ALL {
                let body = json!({ dialect.key(): sequences }).to_string();
                prop_assert_eq!(dialect.sequences(body.as_bytes()), Ok(sequences.clone()));
            }
        }

        #[test]
        fn any_json_is_read_or_refused_in_a_sentence(value in value()) {
            check(value.to_string().as_bytes())?;
        }

        #[test]
        fn any_bytes_are_read_or_refused_in_a_sentence(
            before in proptest::collection::vec(any::<u8>(), 0..40),
            key in "[a-z_]{0,12}",
            after in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            check(&before)?;
            let text = format!("{{\"{key}\":\"");
            check(&[text.as_bytes(), &before, b"\",\"inputs\":", &after].concat())?;
        }
    }
}
