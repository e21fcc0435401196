//! More work than the server can do at once.

use crate::support::{Answer, Server, json_request, protein};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;

/// Work for minutes, in passes of a moment.
fn much() -> Value {
    let all: Vec<String> = (0..20_000).map(|i| protein(300, i)).collect();
    json!({ "inputs": all })
}

/// Posts and does not read.
fn begin(server: &Server, path: &str, body: &Value) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(&json_request(path, body)).unwrap();
    stream
}

#[test]
fn a_full_queue_refuses_with_a_time_to_come_back() {
    let server = Server::start("--threads 1 --max-queue-tokens 5000 --max-tokens 302");
    // More than the queue holds, taken while nothing waits.
    let running = begin(&server, "/embed", &much());
    server.wait_for("esm_embed_queue_tokens", |tokens| tokens > 5000.0);
    let answer = server.post("/embed", &json!({"inputs": "MKT"}));
    assert_eq!(
        answer.error(429),
        "the queue is full: too many tokens wait already"
    );
    assert_eq!(answer.json()["error_type"], "Overloaded");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(server.get("/health").status, 200);
    // The client that made it wait goes away: there is room again, and its work is not done.
    drop(running);
    server.wait_for("esm_embed_queue_tokens", |tokens| tokens == 0.0);
    assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
    let tokens = server.metric("esm_embed_tokens_total");
    assert!(tokens < 20_000.0 * 302.0, "{tokens}");
}

#[test]
fn a_pass_that_nobody_waits_for_ends_between_two_blocks() {
    let server = Server::start("--threads 1");
    // One pass of many seconds.
    let running = begin(&server, "/embed", &json!({"inputs": protein(30_000, 1)}));
    server.wait_for("esm_embed_requests_in_progress", |active| active == 2.0);
    server.wait_for("esm_embed_queue_tokens", |tokens| tokens == 0.0);
    drop(running);
    server.wait_for("esm_embed_requests_in_progress", |active| active == 1.0);
    // The one thread answers somebody else, and has not computed the pass.
    assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
    assert_eq!(server.metric("esm_embed_tokens_total"), 5.0);
    assert_eq!(server.metric("esm_embed_sequences_total"), 1.0);
}

#[test]
fn too_many_requests_at_a_time_are_refused() {
    let server = Server::start("--threads 1 --max-concurrent-requests 1 --max-tokens 302");
    let running = begin(&server, "/embed", &much());
    server.wait_for("esm_embed_queue_tokens", |tokens| tokens > 0.0);
    let answer = server.post("/embed", &json!({"inputs": "MKT"}));
    assert_eq!(answer.error(429), "too many requests are in progress");
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(running);
    server.wait_for("esm_embed_queue_tokens", |tokens| tokens == 0.0);
    assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
}

#[test]
fn a_request_is_given_up_at_its_deadline() {
    for (options, headers, says) in [
        (
            "",
            &[("x-request-timeout", "0.5")][..],
            "there was no answer within 0.5 s",
        ),
        ("--timeout 0.5", &[], "there was no answer within 0.5 s"),
        (
            "--timeout 0.25",
            &[("x-request-timeout", "100")],
            "there was no answer within 0.25 s",
        ),
    ] {
        let server = Server::start(&format!("--threads 1 --max-tokens 302 {options}"));
        let answer = server.post_for("/embed", &much(), headers);
        assert_eq!(answer.error(504), says);
        assert_eq!(answer.json()["error_type"], "Timeout");
        server.wait_for("esm_embed_queue_tokens", |tokens| tokens == 0.0);
        assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
    }
}

#[test]
fn the_oldest_comes_first_and_one_longer_than_a_batch_passes() {
    let server = Server::start("--threads 1 --max-tokens 64");
    let long = server.post("/embed", &json!({"inputs": protein(500, 1)}));
    assert_eq!(long.status, 200);
    assert_eq!(server.metric("esm_embed_pass_seconds_count"), 1.0);
    // Short ones behind a long one share passes.
    let mut inputs = vec![protein(500, 2)];
    inputs.extend((0..12).map(|i| protein(14, 100 + i)));
    assert_eq!(
        server.post("/embed", &json!({ "inputs": inputs })).status,
        200
    );
    // 12 · 16 tokens are three batches of 64.
    assert_eq!(
        server.metric("esm_embed_pass_seconds_count"),
        1.0 + 1.0 + 3.0
    );
    assert_eq!(
        server.metric("esm_embed_batch_tokens_sum"),
        502.0 + 502.0 + 192.0
    );
}

#[test]
fn clients_that_vanish_at_any_moment_leave_nothing_behind() {
    let server = Server::start("--threads 2 --max-tokens 256");
    std::thread::scope(|scope| {
        for client in 0..8 {
            let server = &server;
            scope.spawn(move || {
                for round in 0..12 {
                    let path = ["/embed", "/embed_all"][round % 2];
                    let inputs: Vec<String> = (0..10)
                        .map(|i| protein(20 + 40 * i, (client * 100 + round) as u64))
                        .collect();
                    let mut stream = begin(server, path, &json!({ "inputs": inputs }));
                    if round % 3 == 0 {
                        let answer = Answer::read(&mut stream).unwrap();
                        assert_eq!(answer.status, 200);
                        assert_eq!(answer.json().as_array().unwrap().len(), 10);
                    }
                }
            });
        }
    });
    server.wait_for("esm_embed_requests_in_progress", |active| active == 1.0);
    server.wait_for("esm_embed_connections", |open| open == 1.0);
    assert_eq!(server.metric("esm_embed_queue_tokens"), 0.0);
    assert_eq!(server.metric("esm_embed_queue_sequences"), 0.0);
    assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
}
