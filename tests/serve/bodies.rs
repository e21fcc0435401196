//! Bodies and answers that are large, slow or cut off.

use crate::support::{Answer, LONG, Server, json_request, protein, request};
use serde_json::json;
use std::io::{Read, Write};

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let server = Server::start("--max-body-mb 1");
    let says = "the body has more than 1.0 MB, the limit of this server";
    // By its length: nothing of it is sent.
    let mut stream = server.connect();
    let head = "POST /embed HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let length = "content-length: 10000000000\r\n\r\n";
    stream
        .write_all(format!("{head}{length}").as_bytes())
        .unwrap();
    assert_eq!(Answer::read(&mut stream).unwrap().error(413), says);
    // Without a length: as soon as it is more.
    let mut stream = server.connect();
    stream
        .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())
        .unwrap();
    let part = "A".repeat(100_000);
    for _ in 0..11 {
        stream
            .write_all(format!("186a0\r\n{part}\r\n").as_bytes())
            .unwrap();
    }
    assert_eq!(Answer::read(&mut stream).unwrap().error(413), says);
    // A client that writes all of it before it reads sees the answer too.
    let body = format!("{{\"inputs\": \"{}\"}}", "A".repeat(5_000_000));
    let json = [("content-type", "application/json")];
    assert_eq!(
        server
            .send("POST", "/embed", &json, body.as_bytes())
            .error(413),
        says
    );
    // The limit itself.
    let body = format!("{{\"inputs\": \"\"{}}}", " ".repeat(1_000_000 - 14));
    assert_eq!(body.len(), 1_000_000);
    server
        .send("POST", "/embed", &json, body.as_bytes())
        .error(400);
    let body = format!("{body} ");
    assert_eq!(
        server
            .send("POST", "/embed", &json, body.as_bytes())
            .error(413),
        says
    );
}

#[test]
fn slow_and_half_open_connections_hold_up_nobody() {
    let server = Server::start("--max-concurrent-requests 2");
    let mut held = Vec::new();
    for i in 0..200 {
        let mut stream = server.connect();
        let head = "POST /embed HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
        let bytes = match i % 4 {
            0 => String::new(),
            1 => "POST /emb".to_owned(),
            2 => head.to_owned(),
            _ => format!("{head}content-length: 100\r\n\r\n{{\"inputs\": "),
        };
        stream.write_all(bytes.as_bytes()).unwrap();
        held.push(stream);
    }
    server.wait_for("esm_embed_connections", |open| open >= 201.0);
    for _ in 0..20 {
        assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
    }
    // A body that comes bit by bit is answered.
    let body = json!({"inputs": "MKTAYI"}).to_string();
    let json = [("content-type", "application/json")];
    let mut stream = server.connect();
    for byte in request("POST", "/embed", &json, body.as_bytes()) {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let server = Server::start("--threads 1");
    // 4,000 rows of 32 numbers, several MB of JSON: more than sockets take.
    let body = json!({"inputs": [protein(2000, 1), protein(2000, 2), protein(2001, 3)]});
    let mut lazy: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            stream
                .write_all(&json_request("/embed_all", &body))
                .unwrap();
            stream
        })
        .collect();
    server.wait_for("esm_embed_sequences_total", |computed| computed >= 3.0);
    for _ in 0..5 {
        assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
    }
    // The answer is whole when it is read after all.
    let answer = Answer::read(&mut lazy[0]).unwrap();
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let rows: Vec<usize> = answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m.as_array().unwrap().len())
        .collect();
    assert_eq!(rows, [2000, 2000, 2001]);
}

#[test]
fn a_body_that_ends_early_is_no_request() {
    let server = Server::start("");
    let mut stream = server.connect();
    let head = "POST /embed HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    stream
        .write_all(format!("{head}content-length: 100\r\n\r\n{{\"inputs\"").as_bytes())
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(server.metric("esm_embed_tokens_total"), 0.0);
    server.wait_for("esm_embed_requests_in_progress", |active| active == 1.0);
}
