//! What cannot be answered gets a status, a sentence that names the input, and nothing else.

use crate::bench::Bench;
use crate::support::{Server, protein, request};
use serde_json::json;
use std::io::{Read, Write};

#[test]
fn sequences_that_cannot_be_embedded_are_named() {
    let server = Server::start("--unknown error --long error");
    for (inputs, status, kind, says) in [
        (json!([]), 400, "Empty", "`inputs` is empty"),
        (json!(""), 400, "Empty", "inputs[0]: the sequence is empty"),
        (
            json!(["MK", "*"]),
            400,
            "Empty",
            "inputs[1]: the sequence is empty",
        ),
        (
            json!(["MK", "A", "-.-"]),
            400,
            "Empty",
            "inputs[2]: the sequence holds only gaps",
        ),
        (
            json!(["MK", "MKJT"]),
            422,
            "Tokenizer",
            "inputs[1]: residue 3: `J` is not in the ESM alphabet (LAGVSERTIDPKQNFYMHWCXBUZO.-)",
        ),
        (
            json!("M<eos>"),
            422,
            "Tokenizer",
            "inputs[0]: residue 2: `<eos>` is not a residue: the model would read it as the start, \
             end or padding of a sequence",
        ),
        (
            json!("M\u{1b}[31mK"),
            422,
            "Tokenizer",
            "inputs[0]: residue 2: `\\u{1b}` is not in the ESM alphabet (LAGVSERTIDPKQNFYMHWCXBUZO.-)",
        ),
        (
            json!([" >sp|P1|A\nMKT"]),
            422,
            "Tokenizer",
            "inputs[0]: the sequence begins with `>`: send it without the header line of FASTA",
        ),
        (
            json!(["MK", protein(1023, 1)]),
            413,
            "Validation",
            "inputs[1]: the sequence has 1,023 residues, more than the limit of 1,022; with \
             `truncate`, its first 1,022 residues are embedded",
        ),
    ] {
        for path in ["/embed", "/embed_all", "/"] {
            let answer = server.post(path, &json!({ "inputs": inputs }));
            assert_eq!(answer.error(status), says, "{path}");
            assert_eq!(answer.json()["error_type"], kind);
        }
    }
    assert_eq!(server.metric("esm_embed_tokens_total"), 0.0);
}

#[test]
fn a_model_with_learned_positions_refuses_in_the_words_of_run() {
    let long = protein(1100, 3);
    let server = Server::start("--model $esm1b");
    let answer = server.post("/embed", &json!({"inputs": ["MK", long]}));
    let reason = "the sequence has 1,100 residues, and this model's learned positions end at 1,022";
    assert_eq!(
        answer.error(413),
        format!("inputs[1]: {reason}; with `truncate`, its first 1,022 residues are embedded")
    );
    // Clients of these protocols cannot ask for truncation.
    let input = json!({"name": "sequences", "datatype": "BYTES", "shape": [1], "data": [long]});
    for (path, body) in [
        ("/v1/biology/meta/esm1b", json!({"sequences": [long]})),
        ("/v2/models/hiddens/infer", json!({"inputs": [input]})),
    ] {
        let answer = server.post(path, &body);
        assert_eq!(
            answer.error(413),
            format!("sequences[0]: {reason}"),
            "{path}"
        );
    }
    let bench = Bench::new();
    bench.write("a.fasta", format!(">a\n{long}\n"));
    let ended = bench.run("a.fasta --out emb --model $esm1b");
    assert!(ended.err.contains(reason), "{}", ended.err);
    let cut = server.post("/embed", &json!({"inputs": long, "truncate": true}));
    assert_eq!(cut.status, 200);
    assert_eq!(server.get("/info").json()["max_input_length"], 1022);
}

#[test]
fn what_the_body_asks_for_has_to_exist() {
    let server = Server::start("");
    for (path, body, status, says) in [
        (
            "/embed",
            json!({"inputs": "MK", "layer": 1}),
            422,
            "layer 1 is not served; this server has only layer 2",
        ),
        (
            "/embed",
            json!({"inputs": "MK", "layer": "last"}),
            422,
            "the body cannot be used: invalid type: string \"last\", expected a whole number at line 1 column 29",
        ),
        (
            "/embed",
            json!({"inputs": "MK", "layer": i64::MIN}),
            422,
            "layer -9223372036854775808 is not served; this server has only layer 2",
        ),
        (
            "/embed",
            json!({"inputs": "MK", "dimensions": 16}),
            422,
            "`dimensions` has to be 32, the width of this model: embeddings of ESM cannot be shortened",
        ),
        (
            "/embed",
            json!({"inputs": "MK", "prompt_name": "query"}),
            422,
            "`prompt_name` cannot be used: ESM models take no prompts",
        ),
        (
            "/logits",
            json!({"inputs": "MK"}),
            501,
            "this server was started without logits",
        ),
        (
            "/contacts",
            json!({"inputs": "MK"}),
            501,
            "this server was started without contacts",
        ),
        (
            "/contacts",
            json!({"inputs": "MK", "layer": 2}),
            422,
            "`layer` cannot be used for contacts, which do not belong to a layer",
        ),
        (
            "/v1/embeddings",
            json!({"input": "MK", "model": "m", "dimensions": 64}),
            422,
            "`dimensions` has to be 32, the width of this model: embeddings of ESM cannot be shortened",
        ),
        (
            "/v1/embeddings",
            json!({"input": [[5, 6], [7]], "model": "m"}),
            422,
            "the body cannot be used: invalid type: list, expected a sequence at line 1 column 11",
        ),
        (
            "/embed",
            json!({"inputs": [5, 6]}),
            422,
            "the body cannot be used: token ids are not accepted: send sequences as text at line 1 column 12",
        ),
        (
            "/embed",
            json!({"inputs": "MK", "pool": "sum"}),
            422,
            "the body cannot be used: unknown variant `sum`, expected one of `mean`, `bos`, `cls`, `max` at line 1 column 27",
        ),
    ] {
        assert_eq!(
            server.post(path, &body).error(status),
            says,
            "{path} {body}"
        );
    }
    for (body, starts) in [
        (
            json!({"inputs": "MK", "normalise": true}),
            "the body cannot be used: unknown field `normalise`, expected one of `inputs`, ",
        ),
        (json!({}), "the body cannot be used: missing field `inputs`"),
        (
            json!([]),
            "the body has to be a JSON object, as {\"inputs\": …}: see /docs",
        ),
        (
            json!({"inputs": "MK", "truncate": "yes"}),
            "the body cannot be used: invalid type: string \"yes\", expected a boolean",
        ),
    ] {
        let error = server.post("/embed", &body).error(422);
        assert!(error.starts_with(starts), "{error}");
    }
}

#[test]
fn bodies_that_are_not_json_are_refused() {
    let server = Server::start("");
    let json = [("content-type", "application/json")];
    for body in [
        &b""[..],
        b"{",
        b"{\"inputs\": \"MK\"",
        b"{\"inputs\": \"MK\"} x",
        b"{\"inputs\": \"M\xff\"}",
        b"\xff\xfe\x00",
        b"{'inputs': 'MK'}",
        b"{\"inputs\": \"\\ud800\"}",
        b"MKTAYIAKQR",
        b"{\"inputs\": NaN}",
    ] {
        let error = server.send("POST", "/embed", &json, body).error(400);
        assert!(error.starts_with("the body is not JSON: "), "{error}");
    }
    let deep = "[".repeat(100_000);
    server
        .send("POST", "/embed", &json, deep.as_bytes())
        .error(422);
    for (headers, says) in [
        (
            &[][..],
            "the header content-type has to be application/json",
        ),
        (
            &[("content-type", "text/plain")],
            "the header content-type has to be application/json",
        ),
        (
            &[("content-type", "é")],
            "the header content-type has to be application/json",
        ),
        (
            &[
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ],
            "compressed bodies are not read: leave the header content-encoding out",
        ),
    ] {
        let answer = server.send("POST", "/embed", headers, b"{\"inputs\": \"MK\"}");
        assert_eq!(answer.error(415), says);
    }
    let typed = [("content-type", "Application/JSON; charset=utf-8")];
    let answer = server.send("POST", "/embed", &typed, b"{\"inputs\": \"MK\"}");
    assert_eq!(answer.status, 200);
}

#[test]
fn paths_methods_and_heads_that_do_not_fit_are_refused() {
    let server = Server::start("-v");
    let nothing = "there is nothing at this path: /docs lists what there is";
    for path in [
        "/nix",
        "/embed/",
        "//",
        "/..",
        "/%00",
        "/%ff%0a",
        "/embed%0d%0aX",
    ] {
        assert_eq!(server.get(path).error(404), nothing, "{path}");
    }
    for (method, path) in [
        ("GET", "/embed"),
        ("POST", "/health"),
        ("DELETE", "/metrics"),
        ("X", "/info"),
    ] {
        let answer = server.send(method, path, &[], b"");
        assert_eq!(
            answer.error(405),
            "this path does not take this method: the header allow names those that it takes"
        );
    }
    for (value, status) in [
        ("nan", 400),
        ("-1", 400),
        ("0", 400),
        ("1e400", 400),
        ("soon", 400),
        ("5", 200),
    ] {
        let body = json!({"inputs": "MK"});
        let answer = server.post_for("/embed", &body, &[("x-request-timeout", value)]);
        assert_eq!(answer.status, status, "{value}");
    }
    // What is not HTTP gets at most a refusal, and others are answered.
    for bytes in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense that is no frame at all",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is an answer too.
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{bytes:?}");
    }
    let many = "x-a: b\r\n".repeat(200_000);
    let mut stream = server.connect();
    let _ = stream.write_all(format!("GET /health HTTP/1.1\r\n{many}\r\n").as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn nothing_that_a_client_sends_reaches_messages_unescaped() {
    let server = Server::start("-v");
    let path = "/\u{1b}[2J\u{9b}31m/\u{202e}x";
    let mut stream = server.connect();
    let headers = [
        ("user-agent", "\u{1b}[31magent"),
        ("x-request-timeout", "\u{1b}[5m"),
    ];
    stream
        .write_all(&request("GET", path, &headers, b""))
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    server.get("/%1b%5b2J%0aforged%20line");
    server.post("/embed", &json!({"inputs": "M\u{1b}[31mK"}));
    let server = std::mem::ManuallyDrop::new(server);
    server.signal(rustix::process::Signal::TERM);
    let (code, messages) = std::mem::ManuallyDrop::into_inner(server).wait();
    assert_eq!(code, Some(0), "{messages}");
    let is_unsafe = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202e}' | '\u{9b}');
    assert!(!messages.contains(is_unsafe), "{messages:?}");
    assert!(
        messages.contains("GET /%1b%5b2J%0aforged%20line 404 "),
        "{messages}"
    );
    assert!(!messages.contains("agent"), "{messages}");
}
