//! How a server begins and ends.

use crate::bench::Bench;
use crate::support::{Answer, Server, json_request, protein};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;

/// Work for a while.
fn some() -> Value {
    let all: Vec<String> = (0..300).map(|i| protein(200, i)).collect();
    json!({ "inputs": all })
}

#[test]
fn the_first_signal_finishes_what_is_running_and_refuses_the_rest() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start("--threads 1 --max-tokens 202 --grace 200");
        let mut running = server.connect();
        running.write_all(&json_request("/embed", &some())).unwrap();
        server.wait_for("esm_embed_queue_tokens", |tokens| tokens > 0.0);
        // A connection that is open already, and one that has never said anything.
        let mut open = server.connect();
        let _silent = server.connect();
        let health = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
        open.write_all(health).unwrap();
        assert_eq!(Answer::read(&mut open).unwrap().status, 200);
        server.signal(signal);
        let answer = Answer::read(&mut running).unwrap();
        assert_eq!(answer.json().as_array().unwrap().len(), 300);
        assert!(TcpStream::connect(server.address).is_err());
        let (code, messages) = server.wait();
        assert_eq!(code, Some(0), "{messages}");
        assert!(messages.contains("finishing 1 request"), "{messages}");
        assert!(!messages.contains("panicked"), "{messages}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let server = Server::start("--threads 1 --max-tokens 202 --grace 200");
    let much: Vec<String> = (0..20_000).map(|i| protein(200, i)).collect();
    let mut running = server.connect();
    running
        .write_all(&json_request("/embed", &json!({ "inputs": much })))
        .unwrap();
    server.wait_for("esm_embed_queue_tokens", |tokens| tokens > 0.0);
    server.signal(Signal::TERM);
    while !server.messages().contains("finishing 1 request") {
        std::thread::yield_now();
    }
    server.signal(Signal::TERM);
    let (code, messages) = server.wait();
    assert_eq!(code, Some(143), "{messages}");
}

#[test]
fn what_is_not_finished_in_time_is_given_up() {
    let server = Server::start("--threads 1 --max-tokens 202 --grace 0.3");
    let much: Vec<String> = (0..20_000).map(|i| protein(200, i)).collect();
    let mut running = server.connect();
    running
        .write_all(&json_request("/embed", &json!({ "inputs": much })))
        .unwrap();
    server.wait_for("esm_embed_queue_tokens", |tokens| tokens > 0.0);
    server.signal(Signal::TERM);
    let answer = Answer::read(&mut running).unwrap();
    assert!(
        answer.error(503).ends_with(": the server is shutting down"),
        "{answer:?}"
    );
    let (code, messages) = server.wait();
    assert_eq!(code, Some(0), "{messages}");
    assert!(
        messages.contains("warning: 1 request was not finished in time"),
        "{messages}"
    );
}

#[test]
fn an_idle_server_ends_at_once() {
    let server = Server::start("");
    let _open: Vec<TcpStream> = (0..5).map(|_| server.connect()).collect();
    server.signal(Signal::TERM);
    let (code, messages) = server.wait();
    assert_eq!(code, Some(0), "{messages}");
    assert!(!messages.contains("panicked"), "{messages}");
}

#[test]
fn a_request_waits_for_the_model_and_health_does_not() {
    // The request is there before the model is, or after: both are answered.
    let server = Server::listening("", &[]);
    let health = server.get("/health").status;
    assert!(matches!(health, 200 | 503), "{health}");
    assert_eq!(server.post("/embed", &json!({"inputs": "MKT"})).status, 200);
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/ping").status, 200);
}

#[test]
fn what_cannot_be_served_is_said_before_anybody_can_connect() {
    let bench = Bench::new();
    bench.write("key.txt", "\n");
    bench.write("cert.pem", "nothing");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--listen {}", taken.local_addr().unwrap());
    for (line, says) in [
        (
            "--layer 3",
            "error: --layer 3: this model has layers 0 to 2 (or -3 to -1, counted from the end)",
        ),
        ("--model $esm1v --include contacts", "hint:"),
        ("--listen nowhere:1", "error: --listen nowhere:1: "),
        (
            "--listen 127.0.0.1",
            "hint: give an address as 127.0.0.1:8080, localhost:8080 or [::1]:8080; port 0 picks a free one",
        ),
        (
            &taken,
            ": another process listens there already\n  hint: choose another port; port 0 picks a free one",
        ),
        (
            "--listen 192.0.2.1:8080",
            "error: --listen 192.0.2.1:8080: this machine does not have this address\n  hint: use 127.0.0.1 ",
        ),
        ("--api-key-file key.txt", "error: key.txt: the key is empty"),
        ("--api-key-file none.txt", "error: none.txt: No such file"),
        (
            "--tls-cert cert.pem --tls-key cert.pem",
            "error: cert.pem: it holds no certificate",
        ),
        ("--model nowhere/", "error: "),
        (
            "--long window --include contacts",
            "--long window:1022:256 cannot be combined with",
        ),
    ] {
        let line = format!("serve {line}");
        let line = match line.contains("--model") {
            true => line,
            false => format!("{line} --model $MODEL"),
        };
        let words: Vec<String> = line.split(' ').map(crate::bench::expand).collect();
        let ended = bench.call(&words.join(" "));
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (1, ""),
            "{line}: {}",
            ended.err
        );
        assert!(ended.err.contains(says), "{line}: {}", ended.err);
    }
}

#[test]
fn an_address_that_others_reach_is_warned_about() {
    let server = Server::start("--listen 0.0.0.0:0");
    assert!(
        server.messages().contains(
            "can be reached by others, and requests need no key\n  hint: give a key with --api-key-file\n"
        ),
        "{}",
        server.messages()
    );
}
