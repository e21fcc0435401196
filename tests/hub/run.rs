//! `run` and `fetch` by a Hub name, from a Hub on loopback that serves a fixture.

use crate::server::{COMMIT, HubServer};
use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};

pub const REPO: &str = "tiny-lab/esm2_hd16";

pub fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

pub fn hub() -> HubServer {
    let read = |name: &str| fs::read(fixtures("esm2_hd16").join(name)).unwrap();
    HubServer::start(
        REPO,
        &[
            ("config.json", &read("config.json")),
            ("vocab.txt", &read("vocab.txt")),
            ("model.safetensors", &read("model.safetensors")),
        ],
    )
}

/// Exit code, standard output and standard error of a command that sees only this environment.
pub fn ended(home: &Path, vars: &[(&str, &str)], words: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("esm-embed")
        .unwrap()
        .current_dir(home)
        .env_clear()
        .env("CUDA_VISIBLE_DEVICES", "")
        .env("HF_HOME", home.join("hf"))
        .envs(vars.iter().copied())
        .args(words)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn run(home: &Path, vars: &[(&str, &str)], model: &str, out: &str) -> (i32, String, String) {
    let demo = fixtures("demo.fasta");
    let demo = demo.to_str().unwrap();
    ended(
        home,
        vars,
        &[
            "run", demo, "--model", model, "--layer", "1,2", "--out", out,
        ],
    )
}

#[test]
fn a_fresh_download_a_cached_run_and_an_offline_run_give_the_bytes_of_the_folder() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let server = hub();
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    let local = fixtures("esm2_hd16");
    assert_eq!(run(home, &[], local.to_str().unwrap(), "local").0, 0);

    let (code, _, err) = run(home, &online, REPO, "fresh");
    assert_eq!(code, 0, "{err}");
    assert!(!server.take_requests().is_empty());
    let (code, _, err) = run(home, &online, REPO, "cached");
    assert_eq!(code, 0, "{err}");
    assert_eq!(server.take_requests().len(), 0);
    let (code, _, err) = run(home, &[("HF_HUB_OFFLINE", "1")], REPO, "offline");
    assert_eq!(code, 0, "{err}");

    for name in [
        "index.tsv",
        "mean.layer1.npy",
        "mean.layer2.npy",
        "residues.layer2.npy",
    ] {
        let want = fs::read(home.join("local").join(name)).unwrap();
        for out in ["fresh", "cached", "offline"] {
            assert!(
                fs::read(home.join(out).join(name)).unwrap() == want,
                "{out}/{name}"
            );
        }
    }
    let fresh = fs::read_to_string(home.join("fresh/run.json")).unwrap();
    assert_eq!(
        fs::read_to_string(home.join("offline/run.json")).unwrap(),
        fresh
    );
    assert!(
        fresh.contains(&format!("\"revision\": \"{COMMIT}\"")),
        "{fresh}"
    );
    assert!(fresh.contains(&format!("\"repo\": \"{REPO}\"")), "{fresh}");
}

#[test]
fn fetch_prints_the_folder_that_run_then_takes() {
    let home = tempfile::tempdir().unwrap();
    let server = hub();
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    let (code, out, err) = ended(home.path(), &online, &["fetch", REPO]);
    assert_eq!(code, 0, "{err}");
    let folder = out.trim_end();
    assert!(folder.ends_with(&format!("snapshots/{COMMIT}")), "{out}");
    assert_eq!(run(home.path(), &[], folder, "emb").0, 0);
}

#[test]
fn fetch_of_a_complete_model_needs_no_network() {
    let home = tempfile::tempdir().unwrap();
    let server = hub();
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    let (code, folder, err) = ended(home.path(), &online, &["fetch", REPO]);
    assert_eq!(code, 0, "{err}");
    // Nothing listens on this port: it was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for vars in [
        [("HF_ENDPOINT", nobody.as_str())],
        [("HF_HUB_OFFLINE", "1")],
    ] {
        let ended = ended(home.path(), &vars, &["fetch", REPO]);
        assert_eq!((ended.0, &ended.1), (0, &folder), "{}", ended.2);
    }
}

#[test]
fn without_network_or_cache_the_error_says_what_to_run_where() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, err) = run(home.path(), &[("HF_HUB_OFFLINE", "1")], REPO, "emb");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(&format!("esm-embed fetch {REPO}")), "{err}");
    assert!(err.contains("--model"), "{err}");
    assert!(!home.path().join("emb").exists());
}

#[test]
fn a_missing_repository_leaves_no_output() {
    let home = tempfile::tempdir().unwrap();
    let server = hub();
    let online = [("HF_ENDPOINT", server.endpoint.as_str())];
    let (code, _, err) = run(home.path(), &online, "tiny-lab/nothing", "emb");
    assert_eq!(code, 1);
    assert!(err.contains("tiny-lab/nothing"), "{err}");
    assert!(!home.path().join("emb").exists());
}
