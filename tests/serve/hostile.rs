//! Input that nobody sends who means well: each gets an answer that says what is wrong, or its connection
//! is closed, and the server goes on.

use crate::support::{Answer, Server, request};
use serde_json::json;
use std::io::{Read, Write};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[test]
fn bodies_that_nobody_means() {
    let server = Server::start("--unknown error");
    let object = "the body has to be a JSON object, as {\"inputs\": …}: see /docs";
    for (body, status, says) in [
        ("[".repeat(100_000), 422, object),
        ("[]".to_owned(), 422, object),
        (
            "[\"MK\", null, null, null, null, null, null, null, null]".to_owned(),
            422,
            object,
        ),
        (" null ".to_owned(), 422, object),
        ("null".to_owned(), 422, object),
        ("\"MKT\"".to_owned(), 422, object),
        ("1e999".to_owned(), 422, object),
        (" \n".to_owned(), 400, "the body is not JSON: it is empty"),
        (
            "{\"a\":".repeat(100_000),
            422,
            "the body cannot be used: unknown field `a`, expected one of",
        ),
        (
            format!("{{\"inputs\": {}", "[".repeat(100_000)),
            422,
            "the body cannot be used: invalid type: list, expected a sequence",
        ),
        (
            "{\"inputs\": \"MK\", \"inputs\": \"MKT\"}".to_owned(),
            422,
            "the body cannot be used: duplicate field `inputs`",
        ),
        (
            "{\"inputs\": \"MK\", \"layer\": 1e999}".to_owned(),
            400,
            "the body is not JSON: number out of range",
        ),
        (
            "{\"inputs\": \"MK\", \"layer\": 99999999999999999999}".to_owned(),
            422,
            "the body cannot be used: invalid type: floating point",
        ),
        (
            "{\"inputs\": \"M\\ud800K\"}".to_owned(),
            400,
            "the body is not JSON: unexpected end of hex escape",
        ),
        (
            "\u{feff}{\"inputs\": \"MK\"}".to_owned(),
            400,
            "the body is not JSON: expected value at line 1 column 1",
        ),
        (
            "{\"inputs\": \"M\\u0000K\"}".to_owned(),
            422,
            "inputs[0]: residue 2: `\\u{0}` is not in the ESM alphabet",
        ),
        (
            "{\"inputs\": \"MK**T*\"}".to_owned(),
            422,
            "inputs[0]: residue 3: `*` is not in the ESM alphabet",
        ),
    ] {
        let error = server
            .send("POST", "/embed", &JSON, body.as_bytes())
            .error(status);
        assert!(error.starts_with(says), "{error}");
    }
    for good in ["M", "mkt", "MKT*", " M K\nT ", "MK\u{200b}T"] {
        let answer = server.post("/embed", &json!({"inputs": good, "notes": true}));
        assert_eq!(answer.status, 200, "{good:?} {}", answer.text());
    }
}

#[test]
fn heads_and_lengths_that_nobody_means() {
    let server = Server::start("");
    let head = "POST /embed HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n";
    for (bytes, status) in [
        ("\x16\x03\x01\x02\0\x01\0\r\n\r\n".to_owned(), 400),
        (format!("{head}x: {}\r\n\r\n", "a".repeat(1_000_000)), 431),
        (format!("{head}{}\r\n", "a: b\r\n".repeat(20_000)), 431),
        (
            format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n"),
            400,
        ),
        (
            format!("{head}transfer-encoding: chunked\r\n\r\n-1\r\n"),
            400,
        ),
        (
            format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
            400,
        ),
        (
            format!("{head}content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"),
            400,
        ),
        (format!("{head}content-length: -1\r\n\r\n"), 400),
        (
            format!("{head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("GET /health\r\n\r\n".to_owned(), 400),
        ("GET /health HTTP/3.0\r\n\r\n".to_owned(), 400),
        ("GET /a\0b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        (
            "GET /health HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n".to_owned(),
            400,
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(),
            404,
        ),
    ] {
        let mut stream = server.connect();
        // The server may close before everything is written.
        let _ = stream.write_all(bytes.as_bytes());
        if let Ok(answer) = Answer::read(&mut stream) {
            assert_eq!(answer.status, status, "{:.80}", bytes);
        }
        assert_eq!(server.get("/health").status, 200);
    }
    // Many requests at once over one connection.
    let mut stream = server.connect();
    let one = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n".repeat(50);
    stream.write_all(&one).unwrap();
    stream
        .write_all(&request("GET", "/health", &[], b""))
        .unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 51);
    assert!(
        !server.messages().contains("panicked"),
        "{}",
        server.messages()
    );
}
