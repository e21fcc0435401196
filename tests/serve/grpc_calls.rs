//! The calls of BioNeMo and KServe, health, reflection, and keys.

use crate::grpc_client::{BIONEMO, INFER, call, connect, embed, message, run};
use crate::same_bits;
use crate::support::{Server, protein};
use esm_embed::server::grpc::proto::bionemo::{InputSpec, OutputSpec};
use esm_embed::server::grpc::proto::kserve::*;
use model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use prost::bytes::Bytes;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

fn rows_of(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn bionemo_gets_padded_rows_with_the_bits_of_run() {
    let sequences = same_bits::sequences();
    let expected = same_bits::run(&sequences);
    let server = Server::start("");
    // Those of which every character is a row.
    let which: Vec<usize> = (0..13).rev().collect();
    let seqs: Vec<String> = which.iter().map(|&i| sequences[i].clone()).collect();
    let output: OutputSpec = run(async {
        let input = InputSpec { seqs: seqs.clone() };
        call(&connect(&server).await, BIONEMO, Request::new(input))
            .await
            .unwrap()
    });
    assert_eq!(output.seqs, seqs);
    assert_eq!(output.dim, [13, 513, 32]);
    for (row, &i) in output.embeddings.chunks_exact(513 * 32).zip(&which) {
        let (rows, padding) = row.split_at(32 * sequences[i].len());
        assert!(rows_of(rows) == expected[i].rows, "{i}");
        assert!(padding.iter().all(|value| value.to_bits() == 0), "{i}");
    }
}

#[test]
fn bionemo_gets_means_if_the_server_pools() {
    let sequences = same_bits::sequences();
    let expected = same_bits::run(&sequences);
    let server = Server::start("--bionemo-pooled");
    let output: OutputSpec = run(async {
        let input = InputSpec {
            seqs: sequences.clone(),
        };
        call(&connect(&server).await, BIONEMO, Request::new(input))
            .await
            .unwrap()
    });
    assert_eq!(output.dim, [sequences.len() as i32, 32]);
    for (row, of) in output.embeddings.chunks_exact(32).zip(&expected) {
        assert!(rows_of(row) == of.mean);
    }
}

#[test]
fn bionemo_is_refused_what_its_clients_could_not_read() {
    let server = Server::start("--bionemo-max-answer-mib 1");
    let status = |seqs: &[&str]| {
        let input = InputSpec {
            seqs: seqs.iter().map(|seq| (*seq).to_owned()).collect(),
        };
        let answer: Result<OutputSpec, Status> =
            run(async { call(&connect(&server).await, BIONEMO, Request::new(input)).await });
        let status = answer.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    // 8,200 rows of 128 bytes, for which no pass is made.
    let (code, text) = status(&["M", &protein(4100, 1)]);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(
        text.starts_with("the answer would have 1,053,")
            && text.contains(" more than the 1,048,576 that clients of this call accept: ")
            && text.ends_with(" use the stream esm_embed.v1.Embedder/Embed"),
        "{text}"
    );
    assert_eq!(server.metric("esm_embed_tokens_total"), 0.0);
    let invalid = Code::InvalidArgument;
    assert_eq!(
        status(&["MKT", "MKT*"]),
        (
            invalid,
            "seqs[1]: 4 characters have 3 rows, and clients of this call expect one for each character: use \
             the stream esm_embed.v1.Embedder/Embed"
                .to_owned()
        )
    );
    assert_eq!(
        status(&["MKT", ""]),
        (invalid, "seqs[1]: the sequence is empty".to_owned())
    );
    assert_eq!(status(&[]), (invalid, "`seqs` is empty".to_owned()));
    let (code, text) = status(&["MK<pad>T"]);
    assert_eq!(code, invalid);
    assert!(
        text.starts_with("seqs[0]: residue 3: `<pad>` is not a residue"),
        "{text}"
    );
}

fn raw(sequences: &[&str]) -> Bytes {
    let elements = sequences.iter().map(|sequence| {
        let length = (sequence.len() as u32).to_le_bytes();
        [&length, sequence.as_bytes()].concat()
    });
    elements.collect::<Vec<_>>().concat().into()
}

fn infer_request(model: &str, sequences: &[&str]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: model.to_owned(),
        id: "7".to_owned(),
        inputs: vec![InferInputTensor {
            name: "sequences".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![sequences.len() as i64, 1],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![raw(sequences)],
        ..ModelInferRequest::default()
    }
}

async fn infer(
    channel: &Channel,
    request: ModelInferRequest,
) -> Result<ModelInferResponse, Status> {
    call(channel, INFER, Request::new(request)).await
}

#[test]
fn kserve_returns_the_outputs_of_a_model() {
    let sequences = same_bits::sequences();
    let expected = same_bits::run(&sequences);
    let server = Server::start("");
    let given: Vec<&str> = sequences[..6].iter().map(String::as_str).collect();
    let bits = |bytes: &Bytes| {
        let numbers = bytes.chunks_exact(4);
        let bits = numbers.map(|four| u32::from_le_bytes(four.try_into().unwrap()));
        bits.collect::<Vec<u32>>()
    };
    run(async {
        let channel = connect(&server).await;
        let found = infer(&channel, infer_request("embeddings", &given))
            .await
            .unwrap();
        assert_eq!((&*found.model_name, &*found.id), ("embeddings", "7"));
        assert_eq!(found.outputs.len(), 1);
        assert_eq!(
            (&*found.outputs[0].name, &*found.outputs[0].datatype),
            ("embeddings", "FP32")
        );
        assert_eq!(found.outputs[0].shape, [6, 32]);
        let means: Vec<u32> = expected[..6]
            .iter()
            .flat_map(|of| of.mean.clone())
            .collect();
        assert!(bits(&found.raw_output_contents[0]) == means);

        // Elements in the tensor, and outputs in the order in which they are asked for.
        let mut request = infer_request("hiddens", &given);
        request.inputs[0].shape = vec![6];
        request.inputs[0].contents = Some(InferTensorContents {
            bytes_contents: given
                .iter()
                .map(|text| Bytes::copy_from_slice(text.as_bytes()))
                .collect(),
            ..InferTensorContents::default()
        });
        request.raw_input_contents.clear();
        request.outputs = ["mask", "hiddens"]
            .map(|name| InferRequestedOutputTensor {
                name: name.to_owned(),
                ..InferRequestedOutputTensor::default()
            })
            .to_vec();
        let found = infer(&channel, request).await.unwrap();
        let described: Vec<(&str, &str, &[i64])> = found
            .outputs
            .iter()
            .map(|one| (&*one.name, &*one.datatype, &*one.shape))
            .collect();
        let longest = 40;
        assert_eq!(
            described,
            [
                ("mask", "BOOL", &[6, longest][..]),
                ("hiddens", "FP32", &[6, longest, 32])
            ]
        );
        let hiddens = bits(&found.raw_output_contents[1]);
        let mask = found.raw_output_contents[0].chunks_exact(40);
        for ((i, rows), mask) in hiddens.chunks_exact(40 * 32).enumerate().zip(mask) {
            let n = given[i].len();
            assert!(rows[..32 * n] == expected[i].rows, "{i}");
            assert!(rows[32 * n..].iter().all(|bits| *bits == 0));
            let wanted: Vec<u8> = (0..40).map(|at| u8::from(at < n)).collect();
            assert_eq!(mask, wanted);
        }
    });
}

#[test]
fn kserve_describes_its_models() {
    let server = Server::start("");
    run(async {
        let channel = connect(&server).await;
        let request = ModelMetadataRequest {
            name: "hiddens".to_owned(),
            version: String::new(),
        };
        let path = "/inference.GRPCInferenceService/ModelMetadata";
        let found: ModelMetadataResponse =
            call(&channel, path, Request::new(request)).await.unwrap();
        assert_eq!(found.versions, ["1"]);
        assert_eq!(
            (&*found.inputs[0].name, &*found.inputs[0].datatype),
            ("sequences", "BYTES")
        );
        assert_eq!(found.inputs[0].shape, [-1, 1]);
        let outputs: Vec<(&str, &[i64])> = found
            .outputs
            .iter()
            .map(|one| (&*one.name, &*one.shape))
            .collect();
        assert_eq!(
            outputs,
            [("hiddens", &[-1, -1, 32][..]), ("mask", &[-1, -1])]
        );
        let path = "/inference.GRPCInferenceService/ServerReady";
        let found: ServerReadyResponse = call(&channel, path, Request::new(ServerReadyRequest {}))
            .await
            .unwrap();
        assert!(found.ready);
    });
}

#[test]
fn kserve_names_what_is_wrong_with_a_request() {
    let server = Server::start("");
    let change = |change: fn(&mut ModelInferRequest)| {
        let mut request = infer_request("embeddings", &["MKT", "AC"]);
        change(&mut request);
        request
    };
    let output = |name: &str| InferRequestedOutputTensor {
        name: name.to_owned(),
        ..InferRequestedOutputTensor::default()
    };
    let mut other = change(|_| ());
    other.outputs = vec![output("hiddens")];
    let cases = [
        (
            change(|r| r.model_name = "x".into()),
            "there is no model `x`: the models are ",
        ),
        (
            change(|r| r.model_version = "2".into()),
            "there is no version `2`: ",
        ),
        (change(|r| r.inputs.clear()), "the request has 0 inputs, "),
        (
            change(|r| r.inputs[0].name = "s".into()),
            "the input `s` is unknown: ",
        ),
        (
            change(|r| r.inputs[0].datatype = "FP32".into()),
            "sequences has the type `FP32`, ",
        ),
        (
            change(|r| r.inputs[0].shape = vec![1, 2]),
            "sequences has the shape [1, 2], ",
        ),
        (
            change(|r| r.inputs[0].shape = vec![3, 1]),
            "sequences has 2 elements, and its shape says 3",
        ),
        (
            change(|r| r.raw_input_contents[0].truncate(5)),
            "sequences[0] ends early",
        ),
        (
            change(|r| r.raw_input_contents.clear()),
            "sequences has 0 elements, ",
        ),
        (
            change(|r| r.raw_input_contents.push(Bytes::new())),
            "raw_input_contents has several ",
        ),
        (
            infer_request("embeddings", &["MKT", "M<cls>"]),
            "sequences[1]: residue 2: `<cls>` is not ",
        ),
        (infer_request("embeddings", &[]), "`sequences` is empty"),
        (
            other,
            "there is no output `hiddens`: this model has embeddings",
        ),
    ];
    run(async {
        let channel = connect(&server).await;
        for (request, says) in cases {
            let status = infer(&channel, request).await.unwrap_err();
            let code = match says.starts_with("there is no model")
                || says.starts_with("there is no version")
            {
                true => Code::NotFound,
                false => Code::InvalidArgument,
            };
            assert_eq!(status.code(), code, "{status:?}");
            assert!(status.message().starts_with(says), "{status:?}");
        }
    });
}

#[test]
fn health_is_known_for_each_service() {
    let server = Server::start("");
    run(async {
        let mut client = HealthClient::new(connect(&server).await);
        for service in [
            "",
            "esm_embed.v1.Embedder",
            "inference.GRPCInferenceService",
        ] {
            let service = service.to_owned();
            let answer = client.check(HealthCheckRequest { service }).await.unwrap();
            assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
        }
        let service = "nobody".to_owned();
        let status = client
            .check(HealthCheckRequest { service })
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    });
}

async fn reflect(channel: &Channel, request: MessageRequest) -> ServerReflectionResponse {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await;
    answers
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap()
}

#[test]
fn reflection_lists_the_services_and_their_files() {
    let server = Server::start("");
    run(async {
        let channel = connect(&server).await;
        let listed = reflect(&channel, MessageRequest::ListServices(String::new())).await;
        let Some(MessageResponse::ListServicesResponse(listed)) = listed.message_response else {
            panic!("{listed:?}");
        };
        let mut names: Vec<String> = listed.service.into_iter().map(|one| one.name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "bionemo.model.protein.esm1nv.grpc.GenerativeSampler",
                "esm_embed.v1.Embedder",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "inference.GRPCInferenceService",
            ]
        );
        for name in names {
            let symbol = MessageRequest::FileContainingSymbol(name.clone());
            let found = reflect(&channel, symbol).await;
            assert!(
                matches!(
                    found.message_response,
                    Some(MessageResponse::FileDescriptorResponse(_))
                ),
                "{name}"
            );
        }
    });
}

#[test]
fn a_key_comes_in_the_metadata() {
    let server = Server::start("--api-key s3cret");
    run(async {
        let channel = connect(&server).await;
        let mut codes = Vec::new();
        for (name, value) in [
            ("x-other", "s3cret"),
            ("authorization", "Bearer wrong"),
            ("authorization", "Bearer s3cret"),
            ("x-api-key", "s3cret"),
        ] {
            let mut request = Request::new(infer_request("embeddings", &["MKT"]));
            request
                .metadata_mut()
                .insert(name, MetadataValue::from_static(value));
            let found: Result<ModelInferResponse, Status> = call(&channel, INFER, request).await;
            codes.push(found.map_or_else(|status| status.code(), |_| Code::Ok));
        }
        let refused = Code::Unauthenticated;
        assert_eq!(codes, [refused, refused, Code::Ok, Code::Ok]);
        let status = embed(&channel, vec![message("", "MKT")]).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(
            status.message(),
            "the key is missing or wrong: send the header Authorization: Bearer KEY"
        );
        // A probe has none.
        let mut client = HealthClient::new(channel);
        let service = String::new();
        let answer = client.check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    });
}
