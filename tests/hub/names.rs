//! Published names, cached commits, adapters and alphabets: what Hub and cache deliver, and how it is
//! checked.

use std::fs;
use std::path::Path;

use crate::server::bench::{Bench, CONFIG, Heard, REPO, WEIGHTS, contains, model, names, weights};
use crate::server::{COMMIT, HubServer};
use esm_embed::hub::{Hub, HubError, HubSettings, ModelRef};
use tempfile::TempDir;

const LORA: &[u8] =
    br#"{"peft_type": "LORA", "base_model_name_or_path": "facebook/esm2_t6_8M_UR50D"}"#;
const IA3: &[u8] =
    br#"{"peft_type": "IA3", "base_model_name_or_path": "facebook/esm2_t6_8M_UR50D"}"#;

/// A hub that cannot be reached.
fn without_network(bench: &Bench) -> Hub {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut settings = bench.settings.clone();
    settings.endpoint = format!("http://127.0.0.1:{port}");
    Hub::new(settings).unwrap()
}

#[test]
fn a_published_name_with_another_shape_is_refused() {
    let config = br#"{"model_type": "esm", "num_hidden_layers": 2, "hidden_size": 32,
        "num_attention_heads": 2}"#;
    let repo = "facebook/esm2_t6_8M_UR50D";
    let server = HubServer::start(repo, &[("config.json", config), (WEIGHTS, &weights())]);
    let cache = TempDir::new().unwrap();
    let mut settings = HubSettings::new(cache.path());
    settings.endpoint.clone_from(&server.endpoint);
    let hub = Hub::new(settings.clone()).unwrap();
    settings.offline = true;
    let offline = Hub::new(settings).unwrap();
    let says = [
        "holds a model of 2 layers of 32 with 2 heads, but esm2_t6_8M_UR50D has 6 layers of 320 with \
         20 heads",
        "esm-embed fetch esm2_t6_8M_UR50D",
    ];
    let path = cache
        .path()
        .join("models--facebook--esm2_t6_8M_UR50D/snapshots")
        .join(COMMIT);
    for text in ["8M", "8m", "esm2_t6_8M_UR50D", repo] {
        let model = ModelRef::parse(text).unwrap();
        for result in [
            hub.resolve(&model, None, &()),
            offline.resolve(&model, None, &()),
            hub.fetch(&model, None, &()),
            offline.fetch(&model, None, &()),
        ] {
            let error = result.unwrap_err().to_string();
            contains(&error, &says);
            contains(
                &error,
                &[&format!("use `model={}` to use it", path.display())],
            );
        }
    }
    // Given as a path, it is used as it is.
    let local = offline.resolve(&ModelRef::Path(path.clone()), None, &());
    assert_eq!(local.unwrap().path, path);
}

#[test]
fn a_cache_without_refs_lists_its_commits_and_accepts_a_prefix() {
    let mut bench = Bench::new();
    let local = bench.resolve().unwrap();
    fs::remove_dir_all(bench.repo().join("refs")).unwrap();
    bench.settings.offline = true;
    contains(
        &bench.error(),
        &[
            "revision `main` was never downloaded",
            &format!("the cache holds commit {COMMIT}, which `revision` can name"),
        ],
    );
    for revision in [COMMIT, &COMMIT[..7], &COMMIT[..12]] {
        let found = bench.hub().resolve(&model(), Some(revision), &());
        assert_eq!(found.unwrap(), local, "{revision}");
    }
    let report = bench.hub().report();
    let listed = report.iter().find(|held| held.repo == REPO).unwrap();
    assert_eq!(listed.complete, None);
    contains(listed.problem.as_ref().unwrap(), &[COMMIT]);
    // The folder of the repository, given as a path.
    let folder = ModelRef::Path(bench.repo());
    let error = bench.hub().resolve(&folder, None, &()).unwrap_err();
    contains(
        &error.to_string(),
        &[
            "models--tiny-lab--tiny_esm: revision `main`",
            COMMIT,
            "below snapshots/",
        ],
    );
    let found = bench.hub().resolve(&folder, Some(&COMMIT[..7]), &());
    assert_eq!(found.unwrap().path, local.path);
}

#[test]
fn fetch_without_network_checks_a_complete_copy_and_prints_it() {
    let bench = Bench::new();
    let local = bench.resolve().unwrap();
    let heard = Heard::default();
    let hub = without_network(&bench);
    assert_eq!(hub.fetch(&model(), None, &heard).unwrap(), local);
    assert!(heard.heard("checking the complete copy in the cache instead"));
    // A damaged or incomplete copy is still an error.
    let weights_file = local.path.join(WEIGHTS).canonicalize().unwrap();
    let mut damaged = weights();
    damaged[100_000] ^= 1;
    fs::write(&weights_file, damaged).unwrap();
    let error = hub.fetch(&model(), None, &()).unwrap_err();
    assert!(matches!(error, HubError::Digest { .. }), "{error}");
    fs::remove_file(local.path.join(WEIGHTS)).unwrap();
    let error = hub.fetch(&model(), None, &()).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
}

#[test]
fn an_adapter_of_another_kind_is_refused_by_its_name() {
    for files in [
        vec![
            ("adapter_config.json", IA3),
            ("adapter_model.safetensors", b"x"),
        ],
        vec![("adapter_config.json", IA3), ("config.json", CONFIG)],
    ] {
        let mut bench = Bench::with_files(&files);
        let says = [
            "tiny-lab/tiny_esm is a PEFT adapter (IA3) of facebook/esm2_t6_8M_UR50D",
            "merge it into its base model in Python",
            "\"tiny-lab/tiny_esm\")",
        ];
        contains(&bench.error(), &says);
        let asked = bench.hub().resolve_adapter(&model(), None, &());
        contains(&asked.unwrap_err().to_string(), &says);
        // From a cache that another tool filled, too.
        let snapshot = bench.repo().join("snapshots").join(COMMIT);
        fs::create_dir_all(bench.repo().join("refs")).unwrap();
        fs::write(bench.repo().join("refs/main"), COMMIT).unwrap();
        assert!(snapshot.join("adapter_config.json").exists());
        bench.settings.offline = true;
        contains(&bench.error(), &says);
    }
}

#[test]
fn weights_of_another_framework_are_named() {
    let bench = Bench::with_files(&[("config.json", CONFIG), ("flax_model.msgpack", b"x")]);
    contains(
        &bench.error(),
        &[
            "holds Flax weights (`flax_model.msgpack`)",
            "from_flax=True",
        ],
    );
    let bench = Bench::with_files(&[("config.json", CONFIG)]);
    contains(
        &bench.error(),
        &["holds none of", "choose another revision"],
    );
}

#[test]
fn alphabet_files_are_downloaded_beside_a_vocabulary_too() {
    let held = |files: &[(&str, &[u8])]| {
        let bench = Bench::with_files(files);
        let local = bench.resolve().unwrap();
        names(Path::new(&local.path))
    };
    let weights = weights();
    let all: [(&str, &[u8]); 6] = [
        ("config.json", br#"{"model_type": "esm", "vocab_size": 33}"#),
        (WEIGHTS, &weights),
        ("tokenizer.json", b"{}"),
        ("added_tokens.json", b"{}"),
        ("tokenizer_config.json", b"{}"),
        ("adapter_config.json", LORA),
    ];
    assert_eq!(
        held(&all),
        [
            "adapter_config.json",
            "added_tokens.json",
            "config.json",
            WEIGHTS,
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let with_vocabulary = [&all[..], &[("vocab.txt", b"<cls>\n")]].concat();
    assert_eq!(
        held(&with_vocabulary),
        [
            "adapter_config.json",
            "added_tokens.json",
            "config.json",
            WEIGHTS,
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt"
        ]
    );
    assert_eq!(REPO, model().to_string());
}

/// `EvolutionaryScale/esmc-300m-2024-12` and its like.
#[test]
fn a_repository_of_the_sdk_of_esm_c_is_its_weights() {
    let sdk = "data/weights/esmc_300m_2024_12_v0.pth";
    for with_config in [false, true] {
        let mut files = vec![(sdk, &b"PK but not whole"[..]), ("README.md", b"x")];
        if with_config {
            files.push(("config.json", b"{}"));
        }
        let bench = Bench::with_files(&files);
        bench.server.list();
        let local = bench.resolve().unwrap();
        let held = local.path.join(sdk);
        assert_eq!(std::fs::read(&held).unwrap(), b"PK but not whole");
        let link = std::fs::read_link(&held).unwrap();
        assert!(link.starts_with("../../../../blobs"), "{}", link.display());
        assert_eq!(local.bytes, if with_config { 18 } else { 16 });
        // Then the network is not needed.
        bench.server.take_requests();
        assert_eq!(bench.resolve().unwrap(), local);
        assert!(bench.server.take_requests().is_empty());
        let report = bench.hub().report();
        let of_repo = report.iter().find(|model| model.repo == REPO).unwrap();
        assert_eq!(of_repo.complete.as_ref(), Some(&local));
    }
}

#[test]
fn an_existing_repository_is_described_not_called_misspelt() {
    for (files, says) in [
        (
            &[("m.gguf", &b"GGUF"[..])][..],
            "holds GGUF weights (`m.gguf`)",
        ),
        (
            &[("tf_model.h5", b"x")],
            "holds TensorFlow weights (`tf_model.h5`)",
        ),
        (
            &[("config.json", CONFIG), ("flax_model.msgpack", b"x")],
            "holds Flax weights",
        ),
        (&[("my.pt", b"x")], "holds `my.pt`, but not config.json"),
        (
            &[("adapter_model.bin", b"x")],
            "is a PEFT adapter of a model that it does not name",
        ),
        (
            &[("README.md", b"x")],
            "holds no weights; it holds `README.md`",
        ),
    ] {
        let bench = Bench::with_files(files);
        bench.server.list();
        let error = bench.error();
        contains(&error, &["tiny-lab/tiny_esm", says]);
        assert!(!error.contains("Check the spelling"), "{error}");
    }
}

#[test]
fn alphabet_and_adapter_files_are_downloaded_beside_a_vocabulary() {
    let weights = weights();
    let bench = Bench::with_files(&[
        ("config.json", CONFIG),
        ("vocab.txt", b"<cls>\n"),
        ("model.safetensors", &weights),
        ("tokenizer.json", b"{}"),
        ("tokenizer_config.json", b"{}"),
        ("special_tokens_map.json", b"{}"),
        ("adapter_model.bin", b"x"),
        ("README.md", b"x"),
    ]);
    bench.server.list();
    let mut held = crate::server::bench::names(&bench.resolve().unwrap().path);
    held.sort_unstable();
    assert_eq!(
        held,
        [
            "adapter_model.bin",
            "config.json",
            "model.safetensors",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt",
        ]
    );
}

#[test]
fn a_cached_copy_in_another_format_is_not_fetched_again() {
    let mut bench = Bench::with_files(&[]);
    let snapshot = bench.repo().join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(bench.repo().join("refs")).unwrap();
    fs::write(bench.repo().join("refs/main"), COMMIT).unwrap();
    fs::write(snapshot.join("config.json"), CONFIG).unwrap();
    fs::write(snapshot.join("flax_model.msgpack"), "x").unwrap();
    bench.settings.offline = true;
    let error = bench.error();
    contains(
        &error,
        &["holds Flax weights", "in the cache", "from_flax=True"],
    );
    assert!(!error.contains("esm-embed fetch"), "{error}");
}
