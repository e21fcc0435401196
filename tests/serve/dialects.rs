//! The forms of requests and answers.

use crate::support::{Server, bits, npy, npz};
use serde_json::{Value, json};

#[test]
fn arrays_have_the_shapes_of_their_inputs() {
    let server = Server::start("--include contacts,logits");
    let ask = |path: &str, inputs: Value, accept: &str| {
        server.post_for(path, &json!({ "inputs": inputs }), &[("accept", accept)])
    };
    let shape = |path: &str, inputs: Value| npy(&ask(path, inputs, "application/x-npy").body).0;
    assert_eq!(shape("/embed", json!("MKTAY")), [32]);
    assert_eq!(shape("/embed", json!(["MKTAY"])), [1, 32]);
    assert_eq!(shape("/embed", json!(["MKTAY", "MK"])), [2, 32]);
    assert_eq!(shape("/embed_all", json!("MKTAY")), [5, 32]);
    assert_eq!(shape("/embed_all", json!(["MKTAY"])), [5, 32]);
    assert_eq!(shape("/logits", json!("MKTAY")), [5, 33]);
    assert_eq!(shape("/contacts", json!("MKTAY")), [5, 5]);
    for path in ["/embed_all", "/logits", "/contacts"] {
        let answer = ask(path, json!(["MKTAY", "MK"]), "application/x-npy");
        assert_eq!(
            answer.error(406),
            "the answers have different lengths and are not one array: accept application/zip, an npz \
             with one array for each input"
        );
        let answer = ask(path, json!(["MKTAY", "MK"]), "application/zip");
        let found = npz(&answer.body);
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["0.npy", "1.npy"]);
        assert_eq!(found[0].1[0], 5);
        assert_eq!(found[1].1[0], 2);
        let lists = ask(path, json!(["MKTAY", "MK"]), "application/json").json();
        assert!(
            found
                .iter()
                .flat_map(|(.., numbers)| numbers)
                .eq(&bits(&lists))
        );
    }
    let answer = ask("/embed", json!("MK"), "text/html");
    assert!(
        answer
            .error(406)
            .starts_with("the header accept names no format")
    );
    // A string is a list of one in JSON, as in text-embeddings-inference.
    assert_eq!(
        ask("/embed", json!("MK"), "*/*")
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn rows_are_normalized_only_on_request() {
    let server = Server::start("");
    let ask = |normalize: bool| {
        let body = json!({"inputs": "MKTAY", "normalize": normalize});
        let answer = server.post("/embed", &body).json();
        let row = answer[0].as_array().unwrap().iter();
        row.map(|x| x.as_f64().unwrap() as f32)
            .collect::<Vec<f32>>()
    };
    let (plain, normalized) = (ask(false), ask(true));
    let length = plain
        .iter()
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt();
    let expected: Vec<f32> = plain
        .iter()
        .map(|x| (f64::from(*x) / length) as f32)
        .collect();
    assert_eq!(normalized, expected);
    let default = server.post("/embed", &json!({"inputs": "MKTAY"})).json();
    assert_eq!(
        bits(&default),
        plain.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    );
    let body = json!({"input": "MKTAY", "model": "m", "normalize": true});
    let answer = server.post("/v1/embeddings", &body).json();
    let expected: Vec<u32> = expected.iter().map(|x| x.to_bits()).collect();
    assert_eq!(bits(&answer["data"][0]["embedding"]), expected);
}

#[test]
fn notes_say_what_was_done_to_a_sequence() {
    let server = Server::start("--include contacts,logits");
    let inputs = json!([
        "MKT",
        "mkJ-*",
        "ACGTACGTACGTACGTACGTACGT",
        "M<mask>\u{200b}K"
    ]);
    let notes = json!([
        {"index": 1, "unknown": 1, "lower": 2, "gaps": 1, "stop_dropped": true},
        {"index": 2, "nucleotides": true},
        {"index": 3, "masks": 1, "invisible": 1},
    ]);
    for (path, key) in [
        ("/embed", "embeddings"),
        ("/embed_all", "embeddings"),
        ("/logits", "logits"),
        ("/contacts", "contacts"),
    ] {
        let answer = server.post(path, &json!({ "inputs": inputs }));
        let header: Value =
            serde_json::from_str(answer.header("x-sequence-notes").unwrap()).unwrap();
        assert_eq!(header, notes, "{path}");
        assert_eq!(answer.header("x-compute-tokens"), Some("42"));
        let object = server
            .post(path, &json!({"inputs": inputs, "notes": true}))
            .json();
        assert_eq!(object["notes"], notes, "{path}");
        assert_eq!(object[key], answer.json(), "{path}");
    }
    let answer = server
        .post("/v1/embeddings", &json!({"input": inputs, "model": "m"}))
        .json();
    assert_eq!(answer["data"][0].get("notes"), None);
    assert_eq!(answer["data"][2]["notes"], json!({"nucleotides": true}));
    // A header holds about 4 kB; the rest is counted.
    let many = json!({"inputs": vec!["mkt"; 500], "notes": true});
    let answer = server.post("/embed", &many);
    let header = answer.header("x-sequence-notes").unwrap();
    let shown: Vec<Value> = serde_json::from_str(header).unwrap();
    let omitted: usize = answer
        .header("x-sequence-notes-omitted")
        .unwrap()
        .parse()
        .unwrap();
    assert!(header.len() <= 4000);
    assert_eq!(shown.len() + omitted, 500);
    assert_eq!(answer.json()["notes"].as_array().unwrap().len(), 500);
}

#[test]
fn the_dialect_of_openai_names_the_model_and_counts_tokens() {
    let server = Server::start("");
    let body = json!({"input": ["MKT", "MK"], "model": "text-embedding-3-small", "user": "u"});
    let answer = server.post("/v1/embeddings", &body).json();
    assert_eq!(answer["object"], "list");
    assert_eq!(answer["model"], "esm2_hd16");
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 9, "total_tokens": 9})
    );
    assert_eq!(answer["data"][1]["index"], 1);
    assert_eq!(answer["data"][1]["object"], "embedding");
    assert_eq!(answer["data"][1]["embedding"].as_array().unwrap().len(), 32);
    let body = json!({"input": "", "model": "m"});
    assert_eq!(
        server.post("/v1/embeddings", &body).error(400),
        "input[0]: the sequence is empty"
    );
}

#[test]
fn clients_of_nim_get_an_npz() {
    let server = Server::start("");
    let body = json!({"sequences": ["MKTAY", "MK"], "format": "npz"});
    let answer = server.post("/v1/biology/meta/esm2-650m", &body);
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    let found = npz(&answer.body);
    let shapes: Vec<(&str, &[u64])> = found
        .iter()
        .map(|(name, shape, _)| (name.as_str(), shape.as_slice()))
        .collect();
    assert_eq!(
        shapes,
        [
            ("embeddings.npy", &[2, 32][..]),
            ("representations.npy", &[2, 5, 32])
        ]
    );
    let rows = bits(
        &server
            .post("/embed_all", &json!({"inputs": ["MKTAY", "MK"]}))
            .json(),
    );
    assert_eq!(found[1].2[..7 * 32], rows);
    assert_eq!(found[1].2[7 * 32..], [0; 3 * 32]);
    let body = json!({"sequences": ["MK"], "format": "h5"});
    let error = server.post("/v1/biology/meta/esm2-650m", &body).error(422);
    assert_eq!(error, "HDF5 is not written: leave `format` out, or use npz");
}

#[test]
fn clients_of_kserve_get_tensors_as_json_or_as_bytes() {
    let server = Server::start("");
    assert_eq!(server.get("/v2/health/live").status, 200);
    assert_eq!(server.get("/v2/health/ready").status, 200);
    assert_eq!(
        server.get("/v2").json()["extensions"],
        json!(["binary_tensor_data"])
    );
    for model in ["embeddings", "hiddens", "esm2_hd16"] {
        assert_eq!(server.get(&format!("/v2/models/{model}/ready")).status, 200);
    }
    let metadata = server.get("/v2/models/hiddens").json();
    assert_eq!(
        metadata["inputs"],
        json!([{"name": "sequences", "datatype": "BYTES", "shape": [-1, 1]}])
    );
    assert_eq!(
        metadata["outputs"],
        json!([
            {"name": "hiddens", "datatype": "FP32", "shape": [-1, -1, 32]},
            {"name": "mask", "datatype": "BOOL", "shape": [-1, -1]},
        ])
    );
    let input = json!({
        "name": "sequences", "datatype": "BYTES", "shape": [2, 1], "data": [["MKTAY"], ["MK"]],
    });
    let rows = bits(
        &server
            .post("/embed_all", &json!({"inputs": ["MKTAY", "MK"]}))
            .json(),
    );
    let means = bits(
        &server
            .post("/embed", &json!({"inputs": ["MKTAY", "MK"]}))
            .json(),
    );
    let padded = [&rows[..], &[0; 3 * 32]].concat();
    let mask = [
        true, true, true, true, true, true, true, false, false, false,
    ];

    let body = json!({"id": "7", "inputs": [input]});
    let answer = server.post("/v2/models/embeddings/infer", &body).json();
    assert_eq!(
        (&answer["id"], &answer["model_name"]),
        (&json!("7"), &json!("embeddings"))
    );
    assert_eq!(answer["outputs"][0]["shape"], json!([2, 32]));
    assert_eq!(bits(&answer["outputs"][0]["data"]), means);
    let answer = server
        .post("/v2/models/hiddens/infer", &json!({"inputs": [input]}))
        .json();
    assert_eq!(answer["outputs"][0]["shape"], json!([2, 5, 32]));
    assert_eq!(bits(&answer["outputs"][0]["data"]), padded);
    assert_eq!(answer["outputs"][1]["shape"], json!([2, 5]));
    assert_eq!(answer["outputs"][1]["data"], json!(mask));

    // The sequences and some of the outputs as bytes behind the JSON.
    let raw = b"\x05\0\0\0MKTAY\x02\0\0\0MK";
    let head = json!({
        "inputs": [{
            "name": "sequences", "datatype": "BYTES", "shape": [2],
            "parameters": {"binary_data_size": raw.len()},
        }],
        "outputs": [
            {"name": "mask", "parameters": {"binary_data": true}},
            {"name": "embeddings", "parameters": {"binary_data": false}},
            {"name": "hiddens", "parameters": {"binary_data": true}},
        ],
    });
    let head = head.to_string();
    let length = head.len().to_string();
    let headers = [("inference-header-content-length", length.as_str())];
    let body = [head.as_bytes(), raw].concat();
    let answer = server.send("POST", "/v2/models/esm2_hd16/infer", &headers, &body);
    let length: usize = answer
        .header("inference-header-content-length")
        .unwrap()
        .parse()
        .unwrap();
    let (text, binary) = answer.body.split_at(length);
    let text: Value = serde_json::from_slice(text).unwrap();
    assert_eq!(text["outputs"][0]["parameters"]["binary_data_size"], 10);
    assert_eq!(bits(&text["outputs"][1]["data"]), means);
    assert_eq!(
        text["outputs"][2]["parameters"]["binary_data_size"],
        2 * 5 * 32 * 4
    );
    assert_eq!(binary[..10], mask.map(u8::from));
    let numbers = binary[10..].chunks_exact(4);
    let numbers = numbers.map(|four| u32::from_le_bytes(four.try_into().unwrap()));
    assert_eq!(numbers.collect::<Vec<_>>(), padded);

    for (model, body, status, says) in [
        (
            "bert",
            json!({"inputs": [input]}),
            404,
            "there is no model `bert`: ",
        ),
        (
            "%ff",
            json!({"inputs": [input]}),
            400,
            "the path is not UTF-8",
        ),
        (
            "embeddings",
            json!({"inputs": []}),
            422,
            "the request has 0 inputs, ",
        ),
        (
            "embeddings",
            json!({"inputs": [input], "outputs": [{"name": "mask"}]}),
            422,
            "there is no output `mask`",
        ),
        (
            "embeddings",
            json!({"inputs": [{"name": "sequences", "datatype": "BYTES", "shape": [3, 1], "data": ["M"]}]}),
            422,
            "sequences has 1 element, and its shape says 3",
        ),
        (
            "embeddings",
            json!({"inputs": [{"name": "sequences", "datatype": "BYTES", "shape": [1], "data": [7]}]}),
            422,
            "the body cannot be used: invalid type: integer `7`, expected text or a list of text",
        ),
        (
            "embeddings",
            json!({"inputs": [{"name": "sequences", "datatype": "BYTES", "shape": [2], "data": ["M", ""]}]}),
            400,
            "sequences[1]: the sequence is empty",
        ),
        (
            "embeddings",
            json!({"inputs": [{"name": "sequences", "datatype": "BYTES", "shape": [1]}]}),
            422,
            "the input needs either `data` or `binary_data_size`",
        ),
        (
            "embeddings",
            json!({"inputs": [{"name": "sequences", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]}),
            422,
            "`binary_data_size` is not the number of bytes behind the JSON",
        ),
    ] {
        let error = server
            .post(&format!("/v2/models/{model}/infer"), &body)
            .error(status);
        assert!(error.starts_with(says), "{error}");
    }
    for length in ["9999999", "-1", "x"] {
        let headers = [("inference-header-content-length", length)];
        server
            .send("POST", "/v2/models/embeddings/infer", &headers, b"{}")
            .error(400);
    }
}
