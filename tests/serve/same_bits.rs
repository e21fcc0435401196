//! Every answer has the bits of `run`, whatever else is asked at the same time.

use crate::bench::Bench;
use crate::support::{Server, bits, npy, npz, protein};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What `run` computes for a sequence.
#[derive(Default)]
pub struct Expected {
    pub mean: Vec<u32>,
    pub rows: Vec<u32>,
    pub logits: Vec<u32>,
    pub contacts: Vec<u32>,
}

/// Mixed lengths, one residue and more than a batch among them.
pub fn sequences() -> Vec<String> {
    let lengths = [1, 2, 3, 7, 19, 40, 64, 65, 100, 151, 200, 320, 513];
    let all = lengths
        .iter()
        .zip(0..)
        .map(|(&length, seed)| protein(length, seed));
    let odd = ["mkt-a.yJz*", "MKT<mask>AYI", "ACGTACGTACGTACGTACGT"];
    all.chain(odd.map(str::to_owned)).collect()
}

/// The files of `run` for these sequences.
pub fn run(sequences: &[String]) -> Vec<Expected> {
    let bench = Bench::new();
    let fasta: String = sequences
        .iter()
        .enumerate()
        .map(|(i, sequence)| format!(">s{i}\n{sequence}\n"))
        .collect();
    bench.write("a.fasta", fasta);
    let options = "--include logits,contacts --max-tokens 128 -q";
    let ended = bench.run(&format!("a.fasta --out emb --model $MODEL {options}"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    let mean = bench.matrix("emb/mean.layer2.npy");
    let rows = bench.matrix("emb/residues.layer2.npy");
    let logits = bench.matrix("emb/logits.npy");
    let contacts = bench.tree("emb/contacts");
    let contacts: BTreeMap<String, &Vec<u8>> = contacts
        .iter()
        .filter_map(|(name, bytes)| {
            let name = name.rsplit('/').next()?.strip_suffix(".npy")?;
            Some((name.to_owned(), bytes))
        })
        .collect();
    let mut offset = 0;
    let index = bench.text("emb/index.tsv");
    let mut lines = index.lines();
    let header: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let length = header.iter().position(|name| *name == "length").unwrap();
    let lengths = lines.map(|line| {
        line.split('\t')
            .nth(length)
            .unwrap()
            .parse::<usize>()
            .unwrap()
    });
    let of = |matrix: &ndarray::Array2<f32>, from: usize, to: usize| {
        let part = matrix.slice(ndarray::s![from..to, ..]);
        bits(&part.iter().copied().collect::<Vec<f32>>())
    };
    lengths
        .enumerate()
        .map(|(i, length)| {
            let from = offset;
            offset += length;
            Expected {
                mean: of(&mean, i, i + 1),
                rows: of(&rows, from, offset),
                logits: of(&logits, from, offset),
                contacts: npy(contacts[&format!("s{i}")]).1,
            }
        })
        .collect()
}

/// Asks for some of the sequences in one of the ways, and compares.
fn ask(server: &Server, way: usize, which: &[usize], sequences: &[String], run: &[Expected]) {
    let inputs: Vec<&String> = which.iter().map(|&i| &sequences[i]).collect();
    let inputs = json!(inputs);
    let each = |answer: &Value, of: fn(&Expected) -> &Vec<u32>| {
        let list = answer.as_array().unwrap();
        assert_eq!(list.len(), which.len());
        for (value, &i) in list.iter().zip(which) {
            assert!(bits(value) == *of(&run[i]), "way {way}, sequence {i}");
        }
    };
    let arrays = |path: &str, of: fn(&Expected) -> &Vec<u32>| {
        let accept = [("accept", "application/zip")];
        let answer = server.post_for(path, &json!({ "inputs": inputs }), &accept);
        let all = npz(&answer.body);
        assert_eq!(all.len(), which.len());
        for (at, ((name, _, numbers), &i)) in all.iter().zip(which).enumerate() {
            assert_eq!(*name, format!("{at}.npy"));
            assert!(numbers == of(&run[i]), "way {way}, sequence {i}");
        }
    };
    match way {
        0 => each(
            &server.post("/embed", &json!({ "inputs": inputs })).json(),
            |e| &e.mean,
        ),
        1 => each(
            &server
                .post("/embed_all", &json!({ "inputs": inputs }))
                .json(),
            |e| &e.rows,
        ),
        2 => each(
            &server.post("/logits", &json!({ "inputs": inputs })).json(),
            |e| &e.logits,
        ),
        3 => each(
            &server
                .post("/contacts", &json!({ "inputs": inputs }))
                .json(),
            |e| &e.contacts,
        ),
        4 => arrays("/embed_all", |e| &e.rows),
        5 => arrays("/contacts", |e| &e.contacts),
        6 => {
            let body = json!({"input": inputs, "model": "m"});
            let answer = server.post("/v1/embeddings", &body).json();
            let vectors = answer["data"].as_array().unwrap().iter();
            each(
                &vectors.map(|one| one["embedding"].clone()).collect(),
                |e| &e.mean,
            );
        }
        7 => {
            let body = json!({"input": inputs, "model": "m", "encoding_format": "base64"});
            let answer = server.post("/embeddings", &body).json();
            for (one, &i) in answer["data"].as_array().unwrap().iter().zip(which) {
                let bytes = BASE64_STANDARD
                    .decode(one["embedding"].as_str().unwrap())
                    .unwrap();
                let numbers = bytes.chunks_exact(4);
                let numbers = numbers.map(|b| u32::from_le_bytes(b.try_into().unwrap()));
                assert!(numbers.collect::<Vec<_>>() == run[i].mean, "sequence {i}");
            }
        }
        _ => {
            let body = json!({ "inputs": inputs });
            let answer = server.post_for("/", &body, &[("accept", "application/x-npy")]);
            let (shape, numbers) = npy(&answer.body);
            assert_eq!(shape, [which.len() as u64, 32]);
            let expected = which.iter().flat_map(|&i| run[i].mean.iter().copied());
            assert!(numbers == expected.collect::<Vec<_>>());
        }
    }
}

/// The ways of [`ask`].
const WAYS: usize = 9;

#[test]
fn sixteen_clients_get_the_bits_of_run_in_any_dialect_order_and_load() {
    let sequences = sequences();
    let run = run(&sequences);
    for options in [
        "--threads 1 --max-tokens 128",
        "--threads 3 --max-tokens 700 --cache-mb 1",
        "--threads 2 --deterministic",
    ] {
        let server = Server::start(&format!("--include logits,contacts {options}"));
        // Each way by itself, then all of them at the same time in lists of any length.
        for way in 0..WAYS {
            ask(
                &server,
                way,
                &(0..sequences.len()).collect::<Vec<_>>(),
                &sequences,
                &run,
            );
        }
        std::thread::scope(|scope| {
            for client in 0..16 {
                let (server, sequences, run) = (&server, &sequences, &run);
                scope.spawn(move || {
                    for round in 0..6 {
                        let count = [1, 1, 2, 5, 16, 3][(client + round) % 6];
                        let which: Vec<usize> = (0..count)
                            .map(|k| (client * 7 + round * 5 + k * 3) % sequences.len())
                            .collect();
                        ask(server, (client + 4 * round) % WAYS, &which, sequences, run);
                    }
                });
            }
        });
        let computed = server.metric("esm_embed_sequences_total");
        let spared = server.metric("esm_embed_shared_sequences_total")
            + server.metric("esm_embed_cached_sequences_total");
        // 16 clients · (1 + 1 + 2 + 5 + 16 + 3) sequences, and each way by itself.
        assert_eq!(computed + spared, (16 * 28 + WAYS * sequences.len()) as f64);
    }
}

#[test]
fn sequences_in_windows_and_truncated_ones_have_the_bits_of_run() {
    let long = protein(1500, 9);
    let bench = Bench::new();
    bench.write(
        "a.fasta",
        format!(">a\n{long}\n>b\n{}\n", &long[1500 - 1022..]),
    );
    for options in ["windows --long window:400:100", "first --long truncate"] {
        let ended = bench.run(&format!("a.fasta --model $MODEL --out {options}"));
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    let row = |name: &str, row| bench.row(&format!("{name}/mean.layer2.npy"), row);

    let server = Server::start("--long window:400:100");
    let ask = |body: Value| {
        let answer = server.post("/embed", &body);
        let notes = answer
            .header("x-sequence-notes")
            .unwrap_or_default()
            .to_owned();
        (bits(&answer.json()), notes)
    };
    let (numbers, notes) = ask(json!({"inputs": long}));
    assert!(numbers == row("windows", 0));
    assert_eq!(notes, r#"[{"index":0,"windows":5}]"#);
    let (numbers, notes) = ask(json!({"inputs": long, "truncate": true}));
    assert!(numbers == row("first", 0));
    assert_eq!(notes, r#"[{"index":0,"truncated_from":1500}]"#);
    let (numbers, notes) =
        ask(json!({"inputs": long, "truncate": true, "truncation_direction": "Left"}));
    assert!(numbers == row("first", 1));
    assert_eq!(notes, r#"[{"index":0,"truncated_from":1500}]"#);
    // Below the limit, nothing is cut.
    let (_, notes) = ask(json!({"inputs": "MKT", "truncate": true}));
    assert_eq!(notes, "");
}

#[test]
fn layers_and_pools_are_those_of_run() {
    let sequence = protein(50, 4);
    let bench = Bench::new();
    bench.write("a.fasta", format!(">a\n{sequence}\n"));
    bench.embed("a.fasta --model $MODEL --out emb --layer all --pool mean,bos,max");
    let server = Server::start("--layer 0-1,-1");
    for layer in 0..3 {
        for pool in ["mean", "bos", "max"] {
            let name = format!("emb/{pool}.layer{layer}.npy");
            let body = json!({"inputs": sequence, "layer": layer, "pool": pool});
            let answer = server.post("/embed", &body).json();
            assert!(bits(&answer) == bench.row(&name, 0), "{name}");
        }
        let body = json!({"inputs": sequence, "layer": layer - 3});
        let answer = server.post("/embed_all", &body).json();
        let rows = bench.matrix(&format!("emb/residues.layer{layer}.npy"));
        let rows: Vec<u32> = rows.iter().map(|x| x.to_bits()).collect();
        assert!(bits(&answer) == rows, "{layer}");
    }
}

#[test]
fn a_duplicate_that_is_waited_for_is_computed_once() {
    let server = Server::start("--threads 1");
    let sequence = protein(60, 1);
    let body = json!({"inputs": vec![sequence; 50]});
    let answer = server.post("/embed", &body).json();
    let all: Vec<Vec<u32>> = answer.as_array().unwrap().iter().map(bits).collect();
    assert!(all.iter().all(|one| *one == all[0]));
    assert_eq!(server.metric("esm_embed_tokens_total"), 62.0);
    assert_eq!(server.metric("esm_embed_sequences_total"), 1.0);
    assert_eq!(server.metric("esm_embed_shared_sequences_total"), 49.0);
    // Nothing is kept unless it was asked for.
    server.post("/embed", &json!({"inputs": protein(60, 1)}));
    assert_eq!(server.metric("esm_embed_tokens_total"), 124.0);
}

#[test]
fn the_cache_keeps_answers_by_sequence_and_product() {
    let server = Server::start("--cache-mb 1");
    let body = json!({"inputs": "MKTAYIAKQR"});
    let first = server.post("/embed", &body);
    for (path, tokens) in [("/embed", 12.0), ("/embed_all", 24.0), ("/embed_all", 24.0)] {
        let again = server.post(path, &body);
        assert_eq!(server.metric("esm_embed_tokens_total"), tokens);
        if path == "/embed" {
            assert_eq!(again.body, first.body);
        }
    }
    assert_eq!(server.metric("esm_embed_cached_sequences_total"), 2.0);
    // The same residues are the same sequence, and the notes are those of its text.
    let lower = server.post("/embed", &json!({"inputs": "mktayiakqr*"}));
    assert_eq!(lower.body, first.body);
    let notes = r#"[{"index":0,"lower":10,"stop_dropped":true}]"#;
    assert_eq!(lower.header("x-sequence-notes"), Some(notes));
    assert_eq!(server.metric("esm_embed_tokens_total"), 24.0);
}
