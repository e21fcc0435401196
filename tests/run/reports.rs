//! Reports for programs (`--json`) and for people: literal values, one document, the same exit status.

use crate::bench::Bench;
use crate::common::fixture;
use esm_embed::ops::CpuPath;
use serde_json::{Value, json};

/// The document that a command prints; it must end with this status and without messages.
fn json(bench: &Bench, line: &str, code: i32) -> Value {
    let ended = bench.call(line);
    assert_eq!((ended.code, ended.err.as_str()), (code, ""), "{line}");
    document(&ended.out)
}

/// Embeds three records of which the second repeats the first.
fn embed(bench: &Bench, more: &str) {
    bench.write("x.fasta", ">a one\nMKTAYIAK\n>b\nMKTAYIAK\n>c\nMKXXJT*\n");
    let line = format!("x.fasta --model $MODEL --cpu-path portable -q {more}");
    let ended = bench.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.err);
}

/// Parses standard output, which must be one JSON document and a line feed.
fn document(out: &str) -> Value {
    assert!(out.ends_with("}\n"), "{out}");
    serde_json::from_str(out).unwrap()
}

/// The names of an object's members, sorted.
fn fields(value: &Value) -> Vec<&str> {
    let names = value.as_object().unwrap().keys();
    names.map(String::as_str).collect()
}

#[test]
fn models() {
    let bench = Bench::new();
    let report = json(&bench, "models --json", 0);
    assert_eq!(fields(&report), ["cache", "cache_error", "models"]);
    assert_eq!(report["cache"], bench.path("hf/hub").to_str().unwrap());
    assert_eq!(report["cache_error"], Value::Null);
    assert_eq!(report["models"].as_array().unwrap().len(), 20);
    assert_eq!(
        report["models"][3],
        json!({
            "name": "esm2_t33_650M_UR50D", "short": "650M",
            "repo": "facebook/esm2_t33_650M_UR50D", "family": "ESM-2", "licence": "MIT",
            "use_for": "embeddings of any protein, contacts and variant scores; 650M is the usual \
                        choice, 8M and 35M are for many sequences or slow machines",
            "parameters": 651_042_593, "download_bytes": 2_604_170_372u64, "layers": 33,
            "dim": 1280, "heads": 20, "cached": null,
        })
    );
    assert_eq!(report["models"][11]["short"], Value::Null);

    let commit = "0123456789abcdef0123456789abcdef01234567";
    let add = |repo: &str| {
        let repo = bench.path("hf/hub").join(repo);
        let snapshot = repo.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), commit).unwrap();
        (repo, snapshot)
    };
    let (begun, _) = add("models--facebook--esm2_t12_35M_UR50D");
    std::fs::create_dir(begun.join("blobs")).unwrap();
    std::fs::write(begun.join("blobs/ab.incomplete"), [0; 1_500]).unwrap();
    let (_, snapshot) = add("models--some-lab--my_esm");
    let mut bytes = 0;
    for file in ["config.json", "model.safetensors"] {
        let from = fixture("esm2_hd16").join(file);
        bytes += std::fs::copy(from, snapshot.join(file)).unwrap();
    }
    let report = json(&bench, "models --json", 0);
    assert_eq!(report["models"].as_array().unwrap().len(), 21);
    assert_eq!(
        report["models"][1]["cached"],
        json!({
            "complete": false, "path": begun.to_str().unwrap(), "revision": null, "bytes": 1_500,
            "unfinished_bytes": 1_500, "problem": "config.json is missing",
        })
    );
    assert_eq!(
        report["models"][20],
        json!({
            "name": "some-lab/my_esm", "short": null, "repo": "some-lab/my_esm",
            "family": null, "licence": null, "use_for": null, "parameters": null,
            "download_bytes": null, "layers": null, "dim": null, "heads": null,
            "cached": {
                "complete": true, "path": snapshot.to_str().unwrap(), "revision": commit,
                "bytes": bytes, "unfinished_bytes": 0, "problem": null,
            },
        })
    );
    let text = bench.call("models").out;
    assert_eq!(
        text.lines().nth(2).unwrap(),
        format!(
            "esm2_t12_35M_UR50D       35M       33.5 M     12   480 134.0 MB  MIT         unusable, 1.5 kB: {} \
             (config.json is missing)",
            begun.display()
        )
    );

    let wrong = bench.call_with("models --json", &[("HF_ENDPOINT", "ftp://x")]);
    assert_eq!((wrong.code, wrong.err.as_str()), (0, ""));
    let report = document(&wrong.out);
    assert_eq!(report["cache"], Value::Null);
    let error = report["cache_error"].as_str().unwrap();
    assert!(error.starts_with("HF_ENDPOINT is `ftp://x`"), "{error}");
    assert_eq!(report["models"].as_array().unwrap().len(), 20);
}

/// The whole report: it is the same on every CPU, so that two machines can be compared.
#[test]
fn doctor_prints_the_bits_of_this_version() {
    let digests = [
        (
            "f32",
            "2a0d4472b1e1a4ae4f3e86eb4c3444fcd269e1215aa7cb1a84eb1a6f7dc95f4a",
        ),
        (
            "f16",
            "250fdeaa6b7750b00a25509c7796aa9bfc7db43b5ef65c317e18ec1fb2ffc3f4",
        ),
        (
            "bf16",
            "48b6096481feae7bd8d07fb9e1fe0b242538d4003458c75a7dd591df8cb20174",
        ),
    ];
    let version = env!("CARGO_PKG_VERSION");
    let bench = Bench::new();
    let ended = bench.call("doctor --bits");
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let mut expected = format!("esm-embed {version}\n\nBits\n");
    for (dtype, digest) in digests {
        expected += &format!("  {dtype:<22} {digest}\n");
    }
    assert_eq!(ended.out, expected + "  as on every CPU        yes\n");
    let ended = bench.call("doctor --bits --json");
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let sha256: serde_json::Map<_, _> = digests
        .map(|(dtype, digest)| (dtype.to_owned(), json!(digest)))
        .into_iter()
        .collect();
    assert_eq!(
        document(&ended.out),
        json!({"esm_embed": version, "bits": {"sha256": sha256, "expected": true}})
    );
    let nowhere = bench.call_with("doctor --bits", &[("TMPDIR", "/nowhere")]);
    assert_eq!(nowhere.code, 1);
    assert!(
        nowhere.err.starts_with("error: /nowhere/esm-embed-"),
        "{}",
        nowhere.err
    );
}

#[test]
fn doctor() {
    let bench = Bench::new();
    let variables = [("HF_TOKEN", "hf_verysecret"), ("SLURM_CPUS_PER_TASK", "1")];
    let ended = bench.call_with("doctor --json", &variables);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(!ended.out.contains("verysecret"));
    let report = document(&ended.out);
    assert_eq!(
        fields(&report),
        [
            "cache",
            "computation",
            "environment",
            "esm_embed",
            "network"
        ]
    );
    assert_eq!(report["esm_embed"], env!("CARGO_PKG_VERSION"));
    let computation = &report["computation"];
    assert_eq!(
        fields(computation),
        [
            "arch",
            "cpu_path",
            "cpu_paths",
            "cpus_by_affinity",
            "cpus_by_cgroup",
            "cublaslt",
            "gpus",
            "instructions",
            "memory_available_bytes",
            "memory_by_cgroup_bytes",
            "memory_bytes",
            "processor",
            "threads",
            "why_no_cublaslt",
            "why_no_gpus",
        ]
    );
    let paths: Vec<String> = CpuPath::ALL
        .into_iter()
        .filter(|path| path.is_available())
        .map(|path| path.to_string())
        .collect();
    assert_eq!(computation["cpu_paths"], json!(paths));
    assert_eq!(
        computation["cpu_path"],
        json!(CpuPath::detect().to_string())
    );
    assert_eq!(computation["arch"], std::env::consts::ARCH);
    assert_eq!(computation["threads"], 1);
    assert!(computation["memory_bytes"].as_u64().unwrap() > 1 << 28);
    let cache = bench.path("hf/hub");
    assert_eq!(
        fields(&report["cache"]),
        [
            "access_token",
            "error",
            "exists",
            "folder",
            "free_bytes",
            "state",
            "writable"
        ]
    );
    for (field, expected) in [
        ("folder", json!(cache.to_str().unwrap())),
        ("error", Value::Null),
        (
            "state",
            json!("does not exist yet; the first download creates it"),
        ),
        ("exists", json!(false)),
        ("writable", json!(true)),
        ("access_token", json!(true)),
    ] {
        assert_eq!(report["cache"][field], expected, "{field}");
    }
    assert_eq!(
        report["network"],
        json!({
            "hub": "https://huggingface.co", "asked": false, "reachable": null,
            "answer": "not tested: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set",
        })
    );
    assert_eq!(
        report["environment"],
        json!({
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HOME": bench.path("hf").to_str().unwrap(), "HF_HUB_OFFLINE": "1",
            "SLURM_CPUS_PER_TASK": "1",
        })
    );

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://u:secret@{}", listener.local_addr().unwrap());
    let online = [("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", endpoint.as_str())];
    let ended = bench.call_with("doctor --json", &online);
    assert!(!ended.out.contains("secret"), "{}", ended.out);
    let report = document(&ended.out);
    assert_eq!(
        report["network"],
        json!({
            "hub": format!("http://{}", listener.local_addr().unwrap()), "asked": true,
            "reachable": true, "answer": "yes",
        })
    );
    assert_eq!(report["cache"]["access_token"], false);

    let wrong = bench.call_with("doctor --json", &[("HF_ENDPOINT", "ftp://x")]);
    assert_eq!(wrong.code, 0);
    let report = document(&wrong.out);
    assert_eq!(report["cache"]["folder"], Value::Null);
    assert!(
        report["cache"]["error"]
            .as_str()
            .unwrap()
            .starts_with("HF_ENDPOINT is `ftp://x`")
    );
    assert_eq!(
        report["network"],
        json!({
            "hub": null, "asked": false, "reachable": null,
            "answer": "not tested: the settings are wrong, see the model cache",
        })
    );
}

#[test]
fn inspect() {
    let bench = Bench::new();
    embed(&bench, "--out emb");
    let report = json(&bench, "inspect emb --json --check", 0);
    let manifest: Value = serde_json::from_str(&bench.text("emb/run.json")).unwrap();
    assert_eq!(
        report,
        json!({
            "dir": "emb", "complete": true, "sound": true, "unfinished": false, "checked": true,
            "problem_count": 0, "problems": [], "run": manifest,
        })
    );

    bench.write("emb/max.layer2.npy", "x");
    let report = json(&bench, "inspect emb --json", 1);
    assert_eq!(report["complete"], true);
    assert_eq!(report["sound"], false);
    assert_eq!(report["checked"], false);
    assert_eq!(report["problem_count"], 1);
    assert_eq!(
        report["problems"],
        json!([{
            "file": "max.layer2.npy", "what": "is not listed in run.json: it belongs to another run",
        }])
    );

    std::fs::create_dir_all(bench.path("begun/.partial")).unwrap();
    let report = json(&bench, "inspect begun --json", 1);
    assert_eq!(
        report,
        json!({
            "dir": "begun", "complete": false, "sound": false, "unfinished": true,
            "checked": false, "problem_count": 1,
            "problems": [{
                "file": "run.json",
                "what": "is missing but .partial exists: the run is still going or did not \
                         finish",
            }],
            "run": null,
        })
    );
    let missing = bench.call("inspect nowhere --json");
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    assert!(
        missing
            .err
            .starts_with("error: nowhere does not exist\n  hint: give"),
        "{}",
        missing.err
    );
}

#[test]
fn inspect_for_people_holds_no_json() {
    let bench = Bench::new();
    embed(&bench, "--out emb --layer 0,-1 --pool mean,max");
    let manifest: Value = serde_json::from_str(&bench.text("emb/run.json")).unwrap();
    let sha256 = |pointer: &str| manifest.pointer(pointer).unwrap().as_str().unwrap();
    let ended = bench.call("inspect emb");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let expected = format!(
        "emb: complete
written by esm-embed {}
model:
  layout: huggingface
  stored as: f32
  layers: 2
  columns: 32
  heads: 2
  positions: rotary
  token dropout: yes
  rotary frequencies: checkpoint
  files:
    config.json: 719 bytes, SHA-256 {}
    model.safetensors: 115.3 kB, SHA-256 {}
layers: 0, 2
device: cpu
computed in: f32
long records: full
inputs:
  x.fasta: 3 records, 39 bytes, SHA-256 {}
records: 3 (22 residues)
  1 record with the sequence of an earlier one
  1 character outside the alphabet, embedded as <unk>
  1 record whose trailing * was dropped
files:
  mean.layer0.npy: [3, 32] f32, 512 bytes
  residues.layer2.npy: [22, 32] f32, 2.9 kB
checksums: not recomputed (use --check)
problems: none
",
        env!("CARGO_PKG_VERSION"),
        sha256("/resolved/model/files/0/sha256"),
        sha256("/resolved/model/files/1/sha256"),
        sha256("/resolved/inputs/0/sha256"),
    );
    // In this order; other lines may come between.
    let mut lines = ended.out.lines();
    for line in expected.lines() {
        assert!(lines.any(|found| found == line), "{line}: {}", ended.out);
    }
    assert!(!ended.out.contains(['{', '}', '"']), "{}", ended.out);
}

#[test]
fn fetch() {
    let bench = Bench::new();
    let model = fixture("esm2_hd16").display().to_string();
    let report = json(&bench, &format!("fetch {model} --json"), 0);
    assert_eq!(
        report,
        json!({"path": model, "repo": null, "revision": null, "bytes": null, "base": null})
    );
    let missing = bench.call("fetch 8M --json");
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    assert!(
        missing
            .err
            .starts_with("error: esm2_t6_8M_UR50D is not complete in the cache "),
        "{}",
        missing.err
    );
}

#[test]
fn merge() {
    let bench = Bench::new();
    embed(&bench, "--out s1 --shard 1/2");
    embed(&bench, "--out s2 --shard 2/2");
    let ended = bench.call("merge s1 s2 --out emb --json");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(
        ended.err,
        "emb: 3 records (2 distinct sequences), 22 residues, from 2 shards\n"
    );
    let report = document(&ended.out);
    assert_eq!(fields(&report), ["out", "run", "shards"]);
    assert_eq!(
        (&report["out"], &report["shards"]),
        (&json!("emb"), &json!(2))
    );
    assert_eq!(report["run"]["counts"]["records"], 3);
    let written = bench.text("emb/run.json");
    assert_eq!(
        report["run"],
        serde_json::from_str::<Value>(&written).unwrap()
    );
    let again = bench.call("merge s1 s2 --out emb --json");
    assert_eq!((again.code, again.out.as_str()), (1, ""));
}

#[test]
fn template() {
    let bench = Bench::new();
    for scheduler in ["slurm", "snakemake", "nextflow", "kubernetes"] {
        let script = bench.call(&format!("template {scheduler}")).out;
        let report = json(&bench, &format!("template {scheduler} --json"), 0);
        assert_eq!(report, json!({"scheduler": scheduler, "script": script}));
    }
}

#[test]
fn singular_and_plural_are_right() {
    let bench = Bench::new();
    bench.write("one.fasta", ">a\nM\n");
    let model = fixture("esm2_hd16").display().to_string();
    for shard in ["", "--shard 1/1"] {
        let line = format!("run one.fasta --model {model} --residues files --out one {shard} -q");
        assert_eq!(bench.call(&line).code, 0);
        let text = bench.call("inspect one").out;
        for words in [
            "\n  one.fasta: 1 record, 5 bytes, SHA-256 ",
            "\nrecords: 1 (1 residue)\n",
            "\n  residues.layer2/: 1 file, 256 bytes\n",
        ] {
            assert!(text.contains(words), "{words}{text}");
        }
        if !shard.is_empty() {
            assert!(
                text.contains("\nshard 1 of 1 of an input of 1 record (merge joins them)\n"),
                "{text}"
            );
            let ended = bench.call("merge one --out whole");
            assert_eq!(
                ended.err,
                "whole: 1 record (1 distinct sequence), 1 residue, from 1 shard\n"
            );
        }
        std::fs::remove_dir_all(bench.path("one")).unwrap();
    }
}

#[test]
fn help_names_the_fields() {
    let bench = Bench::new();
    for (command, words) in [
        ("models", "Fields: cache (the folder, or null)"),
        ("doctor", "Fields: esm_embed, computation (gpus,"),
        ("inspect", "Fields: dir, complete, sound,"),
        ("verify", "Fields: esm_embed, model, path,"),
        ("fetch", "Fields: path, "),
        ("merge", "Fields: out, shards"),
        (
            "template",
            "Fields: scheduler (the name as typed) and script.",
        ),
    ] {
        let help = bench.call(&format!("{command} --help")).out;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("--json"), "{command}");
        assert!(help.contains(words), "{command}: {help}");
    }
}
