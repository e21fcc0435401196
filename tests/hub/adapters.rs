//! LoRA adapters of the Hub: their files, their bases, and repositories that hold a model too.

use std::fs;
use std::path::Path;

use crate::run::{REPO as BASE, ended, fixtures, hub};
use crate::server::bench::{Bench, CONFIG, VOCABULARY, WEIGHTS, contains, model, names, weights};
use crate::server::{COMMIT, Fault, HubServer, sha256};
use esm_embed::hub::HubError;
use serde_json::{Value, json};

const ADAPTER: &str = "tiny-lab/adapter";
const LORA: &[u8] = br#"{"peft_type": "LORA", "base_model_name_or_path": "tiny-lab/base"}"#;
const OF_LORA: &str = "adapter_model.safetensors";

/// Configuration and weights of a fixture's adapter, of this base.
fn adapter(base: &str) -> (String, Vec<u8>) {
    let folder = fixtures("adapters/one_layer");
    let config = fs::read_to_string(folder.join("adapter_config.json")).unwrap();
    assert!(config.contains("\"fixtures/esm2_hd16\""));
    (
        config.replace("fixtures/esm2_hd16", base),
        fs::read(folder.join(OF_LORA)).unwrap(),
    )
}

/// A hub with a base and an adapter that names it.
fn hub_of_both() -> HubServer {
    let (config, weights) = adapter(BASE);
    let server = hub();
    let files = [
        ("adapter_config.json", config.as_bytes()),
        (OF_LORA, &weights),
    ];
    server.also(ADAPTER, &files);
    server
}

fn run(home: &Path, vars: &[(&str, &str)], words: &[&str], out: &str) -> String {
    let demo = fixtures("demo.fasta");
    let mut all = vec![
        "run",
        demo.to_str().unwrap(),
        "--layer",
        "1,2",
        "--out",
        out,
    ];
    all.extend_from_slice(words);
    let (code, _, err) = ended(home, vars, &all);
    assert_eq!(code, 0, "{err}");
    err
}

fn arrays(home: &Path, out: &str) -> Vec<Vec<u8>> {
    ["mean.layer1.npy", "mean.layer2.npy", "residues.layer2.npy"]
        .map(|name| fs::read(home.join(out).join(name)).unwrap())
        .to_vec()
}

fn record(home: &Path, out: &str) -> Value {
    serde_json::from_slice(&fs::read(home.join(out).join("run.json")).unwrap()).unwrap()
}

#[test]
fn as_model_and_as_adapter_it_gives_the_bytes_of_its_folder() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let server = hub_of_both();
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    let base = fixtures("esm2_hd16");
    let base = base.to_str().unwrap();
    let folder = fixtures("adapters/one_layer");
    let folder = folder.to_str().unwrap();
    run(home, &[], &["--model", base, "--adapter", folder], "local");
    run(home, &[], &["--model", base], "base");

    run(home, &online, &["--model", ADAPTER], "fresh");
    server.take_requests();
    run(home, &online, &["--adapter", ADAPTER], "named");
    run(
        home,
        &online,
        &["--adapter", ADAPTER, "--model", BASE],
        "given",
    );
    assert_eq!(server.take_requests().len(), 0);
    let offline = [("HF_HUB_OFFLINE", "1")];
    run(home, &offline, &["--model", ADAPTER], "offline");
    for out in ["fresh", "named", "given", "offline"] {
        assert!(arrays(home, out) == arrays(home, "local"), "{out}");
    }
    assert!(arrays(home, "local") != arrays(home, "base"));

    let fresh = record(home, "fresh");
    assert_eq!(record(home, "offline"), fresh);
    assert_eq!(fresh["asked"]["model"], ADAPTER);
    assert_eq!(fresh["asked"]["adapter"], ADAPTER);
    assert_eq!(record(home, "named")["asked"]["model"], BASE);
    let recorded = &fresh["resolved"]["model"];
    assert_eq!(recorded["repo"], BASE);
    assert_eq!(
        recorded["adapter"],
        json!({"base": BASE, "method": "LoRA", "repo": ADAPTER, "revision": COMMIT, "weights": 7})
    );
    let (config, weights) = adapter(BASE);
    let files = recorded["files"].as_array().unwrap();
    let digests: Vec<&str> = files[2..]
        .iter()
        .map(|f| f["sha256"].as_str().unwrap())
        .collect();
    assert_eq!(digests, [sha256(config.as_bytes()), sha256(&weights)]);
    let (code, shown, err) = ended(home, &[], &["inspect", "fresh"]);
    assert_eq!(code, 0, "{err}");
    contains(
        &shown,
        &[&format!(
            "adapter's repository: {ADAPTER}, revision {COMMIT}"
        )],
    );
    // Resuming with the same adapter from a folder is the same run: its files are.
    let given = ["--model", base, "--adapter", folder];
    run(home, &[], &given, "again");
    assert!(arrays(home, "again") == arrays(home, "fresh"));
}

#[test]
fn fetch_brings_the_base_too_and_checks_both_without_a_network() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let server = hub_of_both();
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    let (code, out, err) = ended(home, &online, &["fetch", ADAPTER, "--json"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let repo = |name: &str| {
        home.join("hf/hub")
            .join(format!("models--tiny-lab--{name}"))
    };
    let snapshot = |name: &str| repo(name).join("snapshots").join(COMMIT);
    assert_eq!(report["path"], snapshot("adapter").to_str().unwrap());
    assert_eq!(report["repo"], ADAPTER);
    let (config, weights) = adapter(BASE);
    assert_eq!(report["bytes"], config.len() + weights.len());
    assert_eq!(
        report["base"]["path"],
        snapshot("esm2_hd16").to_str().unwrap()
    );
    assert_eq!(report["base"]["revision"], COMMIT);
    assert_eq!(report["base"]["base"], Value::Null);
    assert_eq!(
        snapshot("adapter").join(OF_LORA).read_link().unwrap(),
        Path::new("../../blobs").join(sha256(&weights))
    );

    let offline = [("HF_HUB_OFFLINE", "1")];
    let (code, out, err) = ended(home, &offline, &["fetch", ADAPTER]);
    assert_eq!(code, 0, "{err}");
    // The folder that was printed is a model too.
    run(home, &offline, &["--model", out.trim_end()], "emb");
    let (code, listed, _) = ended(home, &offline, &["models"]);
    assert_eq!(code, 0);
    contains(&listed, &[BASE]);
    for name in ["adapter", "esm2_hd16"] {
        let file = match name {
            "adapter" => OF_LORA,
            _ => WEIGHTS,
        };
        let blob = snapshot(name).join(file).canonicalize().unwrap();
        let whole = fs::read(&blob).unwrap();
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(&blob, damaged).unwrap();
        let (code, _, err) = ended(home, &offline, &["fetch", ADAPTER]);
        assert_eq!(code, 1, "{err}");
        contains(&err, &[file, "is not the published file"]);
        fs::write(&blob, whole).unwrap();
    }
}

#[test]
fn revisions_belong_to_the_repository_that_is_named() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let server = hub_of_both();
    server.tag("v1");
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    run(
        home,
        &online,
        &["--model", ADAPTER, "--revision", "v1"],
        "tagged",
    );
    let refs = |name: &str| {
        let refs = home.join(format!("hf/hub/models--tiny-lab--{name}/refs"));
        names(&refs)
    };
    assert_eq!(
        (refs("adapter"), refs("esm2_hd16")),
        (vec!["v1".into()], vec!["main".into()])
    );
    run(
        home,
        &online,
        &["--adapter", ADAPTER, "--revision", "v1"],
        "based",
    );
    assert_eq!(refs("adapter"), ["main", "v1"]);
    assert_eq!(refs("esm2_hd16"), ["main", "v1"]);
}

#[test]
fn a_base_that_cannot_be_obtained_is_named_with_the_adapter() {
    let home = tempfile::tempdir().unwrap();
    let (config, weights) = adapter("lab/nowhere");
    let files = [
        ("adapter_config.json", config.as_bytes()),
        (OF_LORA, &weights),
    ];
    let server = HubServer::start(ADAPTER, &files);
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    for words in [
        &["run", "x.fasta", "--out", "emb", "--model", ADAPTER][..],
        &["run", "x.fasta", "--out", "emb", "--adapter", ADAPTER],
        &["fetch", ADAPTER],
    ] {
        fs::write(home.path().join("x.fasta"), ">x\nMK\n").unwrap();
        let (code, _, err) = ended(home.path(), &online, words);
        assert_eq!(code, 1);
        contains(
            &err,
            &[
                "error: tiny-lab/adapter: the adapter names lab/nowhere as its base model: the hub has \
                 no repository lab/nowhere, and no such path exists",
                "hint: give that model, or a copy of it on this machine, with --model, and the adapter \
                 with --adapter",
            ],
        );
        assert!(!home.path().join("emb").exists());
    }
}

/// A repository of an adapter only.
fn lone(config: &[u8], weights: &[(&str, &[u8])]) -> Bench {
    Bench::with_files(&[&[("adapter_config.json", config)], weights].concat())
}

#[test]
fn its_weights_are_resumed_checked_and_never_half_there() {
    let content = weights();
    let bench = lone(LORA, &[(OF_LORA, &content)]);
    bench.server.fail_content(OF_LORA, &[Fault::Cut(90_000)]);
    let local = bench.resolve().unwrap();
    assert_eq!(names(&local.path), ["adapter_config.json", OF_LORA]);
    assert_eq!(local.bytes, (LORA.len() + content.len()) as u64);
    let requests = bench.server.take_requests();
    let ranges = requests
        .iter()
        .filter_map(|request| request.range.as_deref());
    assert_eq!(ranges.collect::<Vec<_>>(), ["bytes=90000-"]);
    assert_eq!(bench.resolve().unwrap(), local);
    assert_eq!(
        bench.hub().resolve_adapter(&model(), None, &()).unwrap(),
        local
    );
    assert_eq!(bench.hub().cached(&model(), None), Some(local));
    assert_eq!(bench.server.take_requests().len(), 0);

    let bench = lone(LORA, &[(OF_LORA, &content)]);
    let flips = [Fault::Flip(800_000), Fault::Flip(800_000)];
    bench.server.fail_content(OF_LORA, &flips);
    let error = bench.resolve().unwrap_err();
    assert!(matches!(error, HubError::Digest { .. }), "{error}");
    assert_eq!(bench.hub().cached(&model(), None), None);
    assert!(!bench.repo().join("refs/main").exists());
}

#[test]
fn the_weights_may_be_a_pickle_and_must_be_there() {
    let bench = lone(LORA, &[("adapter_model.bin", b"x")]);
    let local = bench.resolve().unwrap();
    assert_eq!(
        names(&local.path),
        ["adapter_config.json", "adapter_model.bin"]
    );
    for listed in [false, true] {
        let mut bench = lone(LORA, &[("README.md", b"x")]);
        if listed {
            bench.server.list();
        }
        contains(
            &bench.error(),
            &[
                "tiny-lab/tiny_esm at revision main holds adapter_config.json, but neither \
                 adapter_model.safetensors nor adapter_model.bin",
                "save the adapter again with PEFT",
            ],
        );
        bench.settings.offline = true;
        contains(&bench.error(), &["is not complete in the cache"]);
    }
}

#[test]
fn a_repository_without_an_adapter_is_not_downloaded_as_one() {
    let bench = Bench::new();
    let error = bench
        .hub()
        .resolve_adapter(&model(), None, &())
        .unwrap_err();
    contains(
        &error.to_string(),
        &["the hub has no adapter_config.json in tiny-lab/tiny_esm at revision `main`"],
    );
    let asked = bench.server.take_requests();
    assert!(asked.iter().all(|request| !request.path.ends_with(WEIGHTS)));
    let damaged = lone(b"{", &[(OF_LORA, b"x")]);
    assert!(damaged.resolve().is_err());
}

/// A repository with a complete model and an adapter.
fn with_both() -> Bench {
    Bench::with_files(&[
        ("config.json", CONFIG),
        ("vocab.txt", VOCABULARY),
        (WEIGHTS, &weights()),
        ("adapter_config.json", LORA),
        (OF_LORA, &weights()),
    ])
}

#[test]
fn a_repository_with_both_is_its_model_and_its_adapter_if_that_is_asked_for() {
    for adapter_first in [false, true] {
        let mut bench = with_both();
        let resolve = |bench: &Bench, adapter: bool| {
            let local = match adapter {
                true => bench.hub().resolve_adapter(&model(), None, &()),
                false => bench.resolve(),
            };
            local.unwrap()
        };
        let model_bytes = (CONFIG.len() + VOCABULARY.len() + weights().len()) as u64;
        let adapter_bytes = (LORA.len() + weights().len()) as u64;
        let first = resolve(&bench, adapter_first);
        assert_eq!(names(&first.path).len(), 5);
        bench.server.take_requests();
        for offline in [false, true] {
            bench.settings.offline = offline;
            assert_eq!(resolve(&bench, true).bytes, adapter_bytes);
            assert_eq!(resolve(&bench, false).bytes, model_bytes);
        }
        assert_eq!(bench.server.take_requests().len(), 0);
    }
}

#[test]
fn the_model_of_both_is_not_taken_for_an_adapter_while_it_is_downloaded() {
    let mut bench = with_both();
    let path = bench.resolve().unwrap().path;
    // As an interrupted download by another tool leaves it.
    fs::remove_file(path.join(WEIGHTS)).unwrap();
    fs::write(bench.repo().join("blobs/x.incomplete"), b"x").unwrap();
    bench.settings.offline = true;
    contains(&bench.error(), &["(the weights are missing)"]);
    assert!(bench.hub().resolve_adapter(&model(), None, &()).is_ok());
    bench.settings.offline = false;
    assert_eq!(names(&bench.resolve().unwrap().path).len(), 5);
}

#[test]
fn complete_weights_beside_an_adapter_are_used_without_it_and_a_warning_says_so() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (config, weights) = adapter(BASE);
    let read = |name: &str| fs::read(fixtures("esm2_hd16").join(name)).unwrap();
    let server = HubServer::start(
        BASE,
        &[
            ("config.json", &read("config.json")),
            ("vocab.txt", &read("vocab.txt")),
            ("model.safetensors", &read("model.safetensors")),
            ("adapter_config.json", config.as_bytes()),
            (OF_LORA, &weights),
        ],
    );
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    let base = fixtures("esm2_hd16");
    let base = base.to_str().unwrap();
    let folder = fixtures("adapters/one_layer");
    run(home, &[], &["--model", base], "base");
    run(
        home,
        &[],
        &["--model", base, "--adapter", folder.to_str().unwrap()],
        "both",
    );
    let said = run(home, &online, &["--model", BASE], "model");
    contains(&said, &["is beside complete weights and is not applied"]);
    let said = run(home, &online, &["--adapter", BASE], "adapter");
    assert!(!said.contains("not applied"), "{said}");
    assert!(arrays(home, "model") == arrays(home, "base"));
    assert!(arrays(home, "adapter") == arrays(home, "both"));
}
