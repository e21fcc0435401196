//! Bodies and messages as the server reads them, without a server.

use super::byte_budget::ByteBudget;
use super::grpc;
use super::http::{self, EmbedRequest, EmbeddingsRequest, NimRequest, ResiduesRequest};
use super::refusal::Refusal;
use axum::http::HeaderMap;
use prost::bytes::Bytes;

/// Memory for what is read, more than any body takes.
const MEMORY: u64 = 1 << 40;

/// The form of a body, or of a message of gRPC.
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
    /// `/v2/models/…/infer`.
    KserveHttp,
    /// `esm_embed.v1.Sequence`.
    Stream,
    /// `InputSpec` of BioNeMo.
    Bionemo,
    /// `inference.ModelInferRequest`.
    KserveGrpc,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 8] = [
        Dialect::Embed,
        Dialect::Residues,
        Dialect::OpenAi,
        Dialect::Nim,
        Dialect::KserveHttp,
        Dialect::Stream,
        Dialect::Bionemo,
        Dialect::KserveGrpc,
    ];

    /// The sequences of a body.
    ///
    /// # Errors
    /// It cannot be read, or asks for what there is not.
    pub fn sequences(self, body: &[u8]) -> Result<Vec<Bytes>, Refusal> {
        let all = match self {
            Dialect::Embed => http::parse::<EmbedRequest>(body)?.inputs.into_vec(),
            Dialect::Residues => http::parse::<ResiduesRequest>(body)?.inputs.into_vec(),
            Dialect::OpenAi => http::parse::<EmbeddingsRequest>(body)?.input.into_vec(),
            Dialect::Nim => http::parse::<NimRequest>(body)?.sequences,
            Dialect::KserveHttp => {
                let taken = ByteBudget::new(MEMORY).nothing();
                let read = http::parse_kserve(&HeaderMap::new(), body.to_vec(), &taken)?;
                return Ok(read.1);
            }
            Dialect::Stream => vec![grpc::read_stream(body)?],
            Dialect::Bionemo => grpc::read_bionemo(body)?,
            Dialect::KserveGrpc => return grpc::read_kserve(body),
        };
        Ok(all.into_iter().map(Bytes::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::grpc::proto::bionemo::InputSpec;
    use crate::server::grpc::proto::esm_embed::{Options, Sequence};
    use crate::server::grpc::proto::kserve::model_infer_request::InferInputTensor;
    use crate::server::grpc::proto::kserve::{InferTensorContents, ModelInferRequest};
    use crate::server::refusal::Kind;
    use proptest::prelude::*;
    use prost::Message;
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

    /// A body with these sequences.
    fn body(dialect: Dialect, sequences: &[String]) -> Vec<u8> {
        let tensor = InferInputTensor {
            name: "sequences".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![sequences.len() as i64, 1],
            ..InferInputTensor::default()
        };
        match dialect {
            Dialect::Embed | Dialect::Residues => json!({ "inputs": sequences }).to_string().into(),
            Dialect::OpenAi => json!({ "input": sequences }).to_string().into(),
            Dialect::Nim => json!({ "sequences": sequences }).to_string().into(),
            Dialect::KserveHttp => {
                let lists: Vec<[&String; 1]> = sequences.iter().map(|one| [one]).collect();
                let input = json!({
                    "name": "sequences",
                    "datatype": "BYTES",
                    "shape": [sequences.len(), 1],
                    "data": lists,
                });
                json!({ "inputs": [input] }).to_string().into()
            }
            Dialect::Stream => Sequence {
                id: "a".to_owned(),
                sequence: sequences.concat(),
                options: Some(Options {
                    layers: vec![-1, 3],
                    pools: vec![1, 2],
                    ..Options::default()
                }),
            }
            .encode_to_vec(),
            Dialect::Bionemo => InputSpec {
                seqs: sequences.to_vec(),
            }
            .encode_to_vec(),
            Dialect::KserveGrpc if sequences.len().is_multiple_of(2) => ModelInferRequest {
                inputs: vec![InferInputTensor {
                    contents: Some(InferTensorContents {
                        bytes_contents: sequences.iter().map(|one| one.clone().into()).collect(),
                        ..InferTensorContents::default()
                    }),
                    ..tensor
                }],
                ..ModelInferRequest::default()
            }
            .encode_to_vec(),
            Dialect::KserveGrpc => {
                let raw = sequences
                    .iter()
                    .map(|one| [&(one.len() as u32).to_le_bytes(), one.as_bytes()].concat());
                ModelInferRequest {
                    inputs: vec![tensor],
                    raw_input_contents: vec![raw.collect::<Vec<_>>().concat().into()],
                    ..ModelInferRequest::default()
                }
                .encode_to_vec()
            }
        }
    }

    /// Numbers that are the same in every run.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % limit.max(1) as u64) as usize
        }
    }

    /// The body with some bytes changed, taken out, repeated or put in.
    fn mutated(body: &[u8], chance: &mut Chance) -> Vec<u8> {
        let mut body = body.to_vec();
        for _ in 0..=chance.below(4) {
            let at = chance.below(body.len());
            let length = chance.below(8).min(body.len() - at);
            match chance.below(6) {
                0 if at < body.len() => body[at] ^= 1 << chance.below(8),
                1 if at < body.len() => {
                    body[at] = [0, 0x7f, 0x80, 0xff, b'"', b'['][chance.below(6)]
                }
                2 => drop(body.drain(at..at + length)),
                3 => {
                    let part = body[at..at + length].to_vec();
                    body.splice(at..at, part.repeat(1 + chance.below(40)));
                }
                4 => body.truncate(at),
                _ => {
                    let new: Vec<u8> = (0..length).map(|_| chance.below(256) as u8).collect();
                    body.splice(at..at, new);
                }
            }
        }
        body
    }

    /// What the fuzz target `bodies` does, a few thousand times in each dialect.
    #[test]
    fn mutated_bodies_are_read_or_refused_in_a_sentence() {
        let mut chance = Chance(19);
        let sequences = ["MKTAYIAKQR", "A", "<mask>K*", "mkt"].map(str::to_owned);
        let (mut read, mut refused) = (0, 0);
        for dialect in Dialect::ALL {
            let seeds = [body(dialect, &sequences), body(dialect, &sequences[..1])];
            let mut inputs = seeds.to_vec();
            for i in 0..1500 {
                // Some grow out of others.
                let from = match i % 3 {
                    0 => chance.below(inputs.len()),
                    _ => chance.below(2),
                };
                let input = mutated(&inputs[from], &mut chance);
                check(&input).unwrap();
                match dialect.sequences(&input) {
                    Ok(_) => read += 1,
                    Err(_) => refused += 1,
                }
                if inputs.len() < 200 && input.len() < 4096 {
                    inputs.push(input);
                }
            }
        }
        assert_eq!(read + refused, 8 * 1500);
        assert!(read > 500 && refused > 500, "{read} {refused}");
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
                let found = dialect.sequences(&body(dialect, &sequences));
                let expected: Vec<Bytes> = match dialect {
                    Dialect::Stream => vec![sequences.concat().into()],
                    _ => sequences.iter().map(|one| one.clone().into()).collect(),
                };
                prop_assert_eq!(found, Ok(expected));
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
