//! Adapters and SaProt's pairs behind the server: the bits of `run`, and its refusals.

use crate::bench::Bench;
use crate::common::fixture;
use crate::support::{Server, bits};
use serde_json::json;
use std::fs;

fn all_bits(bench: &Bench, file: &str) -> Vec<u32> {
    let matrix = bench.matrix(file);
    matrix.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn an_adapter_has_the_bits_of_run() {
    let sequence = "MKTAYIAKQRQISFVKSHFSRQ";
    let bench = Bench::new();
    bench.write("a.fasta", format!(">a\n{sequence}\n"));
    let adapted = "--model $MODEL --adapter $adapters/one_layer";
    for (words, out) in [(adapted, "adapted"), ("--model $MODEL", "base")] {
        let more = "--layer 1,2 --include logits --residues packed";
        bench.embed(&format!("a.fasta {words} {more} --out {out}"));
    }
    let server = Server::start(&format!("{adapted} --layer 1,2 --include logits"));
    let body = json!({ "inputs": sequence });
    for (path, file) in [
        ("/embed", "mean.layer2.npy"),
        ("/embed_all", "residues.layer2.npy"),
        ("/logits", "logits.npy"),
    ] {
        let found = bits(&server.post(path, &body).json());
        assert!(
            found == all_bits(&bench, &format!("adapted/{file}")),
            "{path}"
        );
        assert!(found != all_bits(&bench, &format!("base/{file}")), "{path}");
    }
    let info = server.get("/info").json();
    assert_eq!(
        (&info["model_id"], &info["adapter"]),
        (&json!("esm2_hd16"), &json!("one_layer"))
    );
    // The adapter changes the second block only.
    let first = server.post("/embed", &json!({"inputs": sequence, "layer": 1}));
    assert!(bits(&first.json()) == all_bits(&bench, "adapted/mean.layer1.npy"));
}

/// Without a model, the adapter is what is served, on the base that it names.
#[test]
fn an_adapter_gives_the_server_its_name() {
    let bench = Bench::new();
    let from = fixture("adapters/one_layer");
    let adapter = bench.path("my_adapter");
    fs::create_dir(&adapter).unwrap();
    fs::copy(
        from.join("adapter_model.safetensors"),
        adapter.join("adapter_model.safetensors"),
    )
    .unwrap();
    let config = fs::read_to_string(from.join("adapter_config.json")).unwrap();
    let base = fixture("esm2_hd16");
    let config = config.replace("fixtures/esm2_hd16", base.to_str().unwrap());
    fs::write(adapter.join("adapter_config.json"), config).unwrap();
    for setting in ["--adapter", "--model"] {
        let server = Server::start(&format!("{setting} {}", adapter.display()));
        let info = server.get("/info").json();
        assert_eq!(info["model_id"], "my_adapter", "{setting}");
        assert_eq!(info["adapter"], "my_adapter", "{setting}");
        assert_eq!(info["layers"], 2, "{setting}");
    }
    assert_eq!(
        Server::start("").get("/info").json()["adapter"],
        json!(null)
    );
}

#[test]
fn pairs_of_saprot_have_the_bits_of_run() {
    let sequence = "M#EvVpQpL#";
    let bench = Bench::new();
    bench.write("a.fasta", format!(">a\n{sequence}\n"));
    let run = "--model $saprot_hd16 --include logits --residues packed --out emb";
    bench.embed(&format!("a.fasta {run}"));
    let server = Server::start("--model $saprot_hd16 --include logits");
    let body = json!({ "inputs": sequence });
    for (path, file, rows, columns) in [
        ("/embed", "mean.layer2.npy", 1, 32),
        ("/embed_all", "residues.layer2.npy", 5, 32),
        ("/logits", "logits.npy", 5, 446),
    ] {
        let answer = server.post(path, &body);
        let found = bits(&answer.json());
        assert_eq!(found.len(), rows * columns, "{path}");
        assert!(found == all_bits(&bench, &format!("emb/{file}")), "{path}");
        // A lower-case structure letter is not a lower-case residue.
        assert_eq!(answer.header("x-sequence-notes"), None, "{path}");
    }
    let answer = server.post("/contacts", &body);
    assert_eq!(answer.status, 501, "{}", answer.text());
}

#[test]
fn sequences_without_structure_letters_are_refused_with_the_remedy() {
    let server = Server::start("--model $saprot_hd16 --include logits");
    for (sequence, parts) in [
        (
            "MKTVRQ",
            [
                "it has amino acids only, but this model reads a structure letter behind each",
                "write # behind each amino acid",
            ],
        ),
        (
            "MdKvT",
            [
                "residue 3: `T` has no structure letter: the sequence ends",
                "write each residue as",
            ],
        ),
    ] {
        for path in ["/embed", "/embed_all", "/logits"] {
            let body = json!({"inputs": ["M#Ev", sequence]});
            let error = server.post(path, &body).error(422);
            assert!(error.starts_with("inputs[1]: "), "{error}");
            for part in parts {
                assert!(error.contains(part), "{path}: {error}");
            }
        }
    }
    // Nothing of a refused request is computed.
    assert_eq!(server.metric("esm_embed_tokens_total"), 0.0);
}
