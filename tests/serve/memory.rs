//! Memory that requests share: bodies that are read, and what they claim to hold.

use crate::grpc_client::{INFER, call, call_with, connect, run};
use crate::support::{Answer, Server};
use esm_embed::server::grpc::proto::kserve::model_infer_request::InferInputTensor;
use esm_embed::server::grpc::proto::kserve::{ModelInferRequest, ModelInferResponse};
use prost::Message;
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use tonic::{Code, Request};

const BUSY: &str = "the bodies of other requests take all the memory for bodies";

/// Sends all but the last byte of a body of 1 MB.
fn almost(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    let head = "POST /embed HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let length = "content-length: 1000000\r\n\r\n";
    let body = format!("{{\"inputs\": \"MKT\"{}", " ".repeat(1_000_000 - 17));
    stream
        .write_all(format!("{head}{length}{body}").as_bytes())
        .unwrap();
    stream
}

#[test]
fn bodies_that_are_read_at_the_same_time_share_a_limit() {
    let server = Server::start("--max-body-mb 1");
    // 16 MB, of which a body takes two bytes for each of its own: 8 of them.
    let mut streams: Vec<TcpStream> = (0..8).map(|_| almost(&server)).collect();
    server.wait_for("esm_embed_requests_in_progress", |active| active == 9.0);
    // One that has to wait for them is refused. Until the others have been read, it is not.
    let refused = loop {
        let body = json!({"inputs": "A".repeat(900_000), "truncate": true});
        let answer = server.post("/embed", &body);
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.error(429), BUSY);
    assert_eq!(refused.json()["error_type"], "Overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // The same for a message of gRPC.
    run(async {
        let channel = connect(&server).await;
        let message = InferInputTensor {
            name: "A".repeat(900_000),
            ..InferInputTensor::default()
        };
        let request = ModelInferRequest {
            inputs: vec![message],
            ..ModelInferRequest::default()
        };
        let found = call::<_, ModelInferResponse>(&channel, INFER, Request::new(request)).await;
        let status = found.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::ResourceExhausted, BUSY)
        );
    });
    // Those that were first are answered, and what they took is free again.
    for stream in &mut streams {
        stream.write_all(b"}").unwrap();
        assert_eq!(Answer::read(stream).unwrap().status, 200);
    }
    let body = json!({"inputs": "A".repeat(900_000), "truncate": true});
    assert_eq!(server.post("/embed", &body).status, 200);
}

#[test]
fn bodies_that_are_given_up_are_free_again() {
    let server = Server::start("--max-body-mb 1");
    for _ in 0..5 {
        let streams: Vec<TcpStream> = (0..8).map(|_| almost(&server)).collect();
        server.wait_for("esm_embed_requests_in_progress", |active| active == 9.0);
        drop(streams);
        server.wait_for("esm_embed_requests_in_progress", |active| active == 1.0);
    }
    let body = json!({"inputs": "A".repeat(900_000), "truncate": true});
    assert_eq!(server.post("/embed", &body).status, 200);
}

#[test]
fn short_elements_are_counted_before_they_are_made() {
    let server = Server::start("--max-body-mb 1");
    let most = server.get("/info").json()["max_client_batch_size"].clone();
    assert_eq!(most, 16_000_000 / 264);
    let body = format!("{{\"inputs\": [\"A\"{}]}}", ",\"A\"".repeat(100_000));
    let json = [("content-type", "application/json")];
    let answer = server.send("POST", "/embed", &json, body.as_bytes());
    assert_eq!(
        answer.error(413),
        "the body has about 100,000 elements, more than this server has memory for: send several requests"
    );
    run(async {
        let channel = connect(&server).await;
        // 150,000 inputs of two bytes each, and as many empty elements of a tensor.
        let inputs = b"\x2a\x00".repeat(150_000);
        let status = call_with(&channel, INFER, inputs).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(
            status.message(),
            "the body has about 150,000 elements, more than this server has memory for: send several \
             requests"
        );
        let request = ModelInferRequest {
            model_name: "embeddings".to_owned(),
            inputs: vec![InferInputTensor {
                name: "sequences".to_owned(),
                datatype: "BYTES".to_owned(),
                shape: vec![150_000, 1],
                ..InferInputTensor::default()
            }],
            raw_input_contents: vec![vec![0; 600_000].into()],
            ..ModelInferRequest::default()
        };
        let status = call_with(&channel, INFER, request.encode_to_vec()).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        // A shape that claims more than there is takes nothing.
        let mut claims = request;
        claims.inputs[0].shape = vec![i64::MAX];
        claims.raw_input_contents = vec![b"\x01\0\0\0M".to_vec().into()];
        let status = call_with(&channel, INFER, claims.encode_to_vec()).await;
        let status = status.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (
                Code::InvalidArgument,
                "sequences has 1 element, and its shape says 9223372036854775807"
            )
        );
    });
    assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
}

#[test]
fn a_request_is_admitted_for_what_it_asks_for() {
    let longest = |server: &Server| server.get("/info").json()["max_input_length"].clone();
    let plain = Server::start("");
    let maps = Server::start("--include contacts");
    assert_eq!(longest(&plain), longest(&maps));
}
