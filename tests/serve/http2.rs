//! HTTP/2 frame by frame, as clients speak it that mean no good: what libraries do not send.

use crate::grpc_client::{BIONEMO, run};
use crate::support::{LONG, Server, protein};
use esm_embed::server::grpc::proto::bionemo::InputSpec;
use prost::Message;
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a request, no name or value compressed.
fn head(flags: u8, stream: u32, headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name.as_bytes(), value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend(text);
        }
    }
    frame(HEADERS, flags | END_HEADERS, stream, &block)
}

/// A connection with this window for answers.
fn connect(server: &Server, window: u32) -> TcpStream {
    let mut stream = server.connect();
    let mut setting = vec![0, 4];
    setting.extend(window.to_be_bytes());
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat();
    stream.write_all(&begin).unwrap();
    stream
}

fn post(stream: u32, path: &str, kind: &str, more: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    let mut headers: Vec<(&str, &[u8])> = vec![
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", path.as_bytes()),
        (":authority", b"a"),
        ("content-type", kind.as_bytes()),
        ("te", b"trailers"),
    ];
    headers.extend(more);
    [
        head(0, stream, &headers),
        frame(DATA, END_STREAM, stream, body),
    ]
    .concat()
}

fn embed(stream: u32) -> Vec<u8> {
    let body = json!({"inputs": "MKT"}).to_string();
    post(stream, "/embed", "application/json", &[], body.as_bytes())
}

/// A message of gRPC.
fn grpc(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &message].concat()
}

/// Reads until the other side closes.
fn drain(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it stays open"),
            Err(_) => return,
        }
    }
}

#[test]
fn calls_end_at_the_deadline_of_their_client() {
    let server = Server::start("--threads 1 --bionemo-pooled");
    let mut stream = connect(&server, 65_535);
    let long = InputSpec {
        seqs: vec![protein(20_000, 1)],
    };
    // In time for one that takes a moment, and not for one that takes many seconds.
    let short = InputSpec {
        seqs: vec!["MKT".to_owned()],
    };
    let kind = "application/grpc";
    let call = post(1, BIONEMO, kind, &[("grpc-timeout", b"1H")], &grpc(&short));
    stream.write_all(&call).unwrap();
    let line = |status: &str| {
        format!("esm_embed_requests_total{{route=\"{BIONEMO}\",status=\"{status}\"}} 1")
    };
    server.wait_for_line(&line("OK"));
    let mut body = grpc(&long);
    let rest = body.split_off(16_000);
    let mut call = post(3, BIONEMO, kind, &[("grpc-timeout", b"200m")], &body);
    // The end of the stream comes with its last frame.
    let last = call.len() - body.len() - 5;
    call[last] = 0;
    call.extend(frame(DATA, END_STREAM, 3, &rest));
    stream.write_all(&call).unwrap();
    server.wait_for_line(&line("DEADLINE_EXCEEDED"));
    assert_eq!(server.metric("esm_embed_tokens_total"), 5.0);
    let call = post(
        5,
        BIONEMO,
        kind,
        &[("grpc-timeout", b"soon")],
        &grpc(&short),
    );
    stream.write_all(&call).unwrap();
    server.wait_for_line(&line("INVALID_ARGUMENT"));
}

#[test]
fn clients_that_take_no_answer_keep_nobody_from_being_worked_on() {
    let server = Server::start("--max-concurrent-requests 2");
    let mut streams: Vec<TcpStream> = (0..4).map(|_| connect(&server, 0)).collect();
    for stream in &mut streams {
        for i in 0..10 {
            stream.write_all(&embed(2 * i + 1)).unwrap();
        }
    }
    server.wait_for("esm_embed_requests_in_progress", |active| active >= 41.0);
    let begin = Instant::now();
    let mut answered = 0;
    while answered < 10 {
        match server.post("/embed", &json!({"inputs": "MKT"})).status {
            200 => answered += 1,
            // Until the requests of those clients are computed.
            429 => assert!(begin.elapsed() < LONG, "busy"),
            status => panic!("{status}"),
        }
    }
    drop(streams);
    server.wait_for("esm_embed_requests_in_progress", |active| active == 1.0);
}

#[test]
fn streams_that_are_reset_at_once_leave_nothing_behind() {
    let server = Server::start("--threads 1");
    for _ in 0..4 {
        let mut stream = connect(&server, 65_535);
        for i in 0..500 {
            let id = 2 * i + 1;
            let both = [embed(id), frame(RESET, 0, id, &[0, 0, 0, 8])].concat();
            // The server may close the connection of such a client.
            if stream.write_all(&both).is_err() {
                break;
            }
        }
        assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
    }
    server.wait_for("esm_embed_connections", |open| open == 1.0);
    server.wait_for("esm_embed_requests_in_progress", |active| active == 1.0);
    assert_eq!(server.metric("esm_embed_queue_tokens"), 0.0);
}

#[test]
fn frames_that_are_none_close_their_connection_only() {
    let server = Server::start("");
    let good = || {
        head(
            END_STREAM,
            1,
            &[
                (":method", b"GET"),
                (":path", b"/health"),
                (":scheme", b"http"),
            ],
        )
    };
    for bytes in [
        // A length that ends early, an unknown index of the table of headers, a stream of the server, data
        // of a stream that there is not, more than a frame may have, a window beyond 31 bits.
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x7f"),
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            b"\xff\xff\xff\xff\x0f",
        ),
        frame(HEADERS, END_HEADERS | END_STREAM, 2, b"\x82"),
        frame(DATA, END_STREAM, 7, b"abc"),
        frame(DATA, 0, 1, &vec![0; 1 << 20]),
        [
            frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ]
        .concat(),
        frame(SETTINGS, 0, 0, b"\x00\x04"),
    ] {
        let mut stream = connect(&server, 65_535);
        stream.write_all(&good()).unwrap();
        // Its other end may be closed already.
        let _ = stream.write_all(&bytes);
        drain(stream);
        assert_eq!(server.get("/health").status, 200);
    }
    // Headers that are too large, in one piece after another.
    let mut stream = connect(&server, 65_535);
    let part = frame(
        HEADERS,
        0,
        1,
        &[b"\x00\x01a\x78".as_slice(), &[b'b'; 120]].concat(),
    );
    let more = frame(
        9,
        0,
        1,
        &[b"\x00\x01a\x78".as_slice(), &[b'b'; 120]]
            .concat()
            .repeat(100),
    );
    let _ = stream.write_all(&part);
    for _ in 0..100 {
        if stream.write_all(&more).is_err() {
            break;
        }
    }
    drain(stream);
    assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
    assert!(
        !server.messages().contains("panicked"),
        "{}",
        server.messages()
    );
}

#[test]
fn half_open_and_slow_connections_hold_up_no_call() {
    let server = Server::start("--max-concurrent-requests 2");
    let mut held = Vec::new();
    for i in 0..60 {
        let mut stream = connect(&server, 65_535);
        let call = post(
            1,
            BIONEMO,
            "application/grpc",
            &[],
            &grpc(&InputSpec::default()),
        );
        let part = match i % 3 {
            // Nothing more; half a head; a message that does not end.
            0 => 0,
            1 => 20,
            _ => call.len() - 2,
        };
        stream.write_all(&call[..part]).unwrap();
        held.push(stream);
    }
    server.wait_for("esm_embed_connections", |open| open >= 61.0);
    run(async {
        let channel = crate::grpc_client::connect(&server).await;
        let message = crate::grpc_client::message("", "MKT");
        for _ in 0..10 {
            let found = crate::grpc_client::embed(&channel, vec![message.clone()]).await;
            assert_eq!(found.unwrap()[0].error, None);
        }
    });
}
