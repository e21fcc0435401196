//! What a run reports about its model: warnings, the alphabet in `run.json`, published names.

use crate::common::fixture;
use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Exit status and standard error of a run in a folder that holds `a.fasta`.
fn run(folder: &Path, words: &str) -> (i32, String) {
    fs::write(folder.join("a.fasta"), ">a\nMKT\n").unwrap();
    let output = Command::cargo_bin("esm-embed")
        .unwrap()
        .current_dir(folder)
        .env_clear()
        .env("HF_HOME", folder.join("hf"))
        .env("HF_HUB_OFFLINE", "1")
        .args(["run", "a.fasta", "--quiet", "--device", "cpu"])
        .args(words.split(' '))
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), err)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::write(to.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
    }
}

#[test]
fn warnings_of_a_checkpoint_are_reported_by_runs_and_forecasts() {
    let home = tempfile::tempdir().unwrap();
    copy(&fixture("esm2_hd16"), &home.path().join("m"));
    let (code, err) = run(home.path(), "--model ./m --out quiet");
    assert_eq!((code, err.as_str()), (0, ""));
    let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "lab/base"}"#;
    fs::write(home.path().join("m/adapter_config.json"), config).unwrap();
    for words in ["--model ./m --out emb", "--model ./m --out none --dry-run"] {
        let (code, err) = run(home.path(), words);
        assert_eq!(code, 0, "{err}");
        assert!(
            err.contains("warning: ./m/adapter_config.json: a PEFT adapter (LoRA) is beside"),
            "{err}"
        );
    }
    for folder in ["quiet", "emb"] {
        let json = fs::read(home.path().join(folder).join("run.json")).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let model = &json["resolved"]["model"];
        assert_eq!(model["alphabet_size"], 33);
        assert_eq!(model["alphabet_proof"], "vocab.txt");
        assert_eq!(model["embedding_rows"], 33);
    }
}

#[test]
fn a_folder_with_a_published_name_must_hold_that_model() {
    let home = tempfile::tempdir().unwrap();
    for name in ["8M", "esm2_t6_8M_UR50D", "facebook/esm2_t6_8M_UR50D"] {
        copy(&fixture("esm2_hd16"), &home.path().join(name));
        let (code, err) = run(home.path(), &format!("--model {name} --out emb"));
        assert_eq!(code, 1, "{err}");
        assert!(
            err.contains(&format!(
                "{name} holds a model of 2 layers of 32 with 2 heads, but esm2_t6_8M_UR50D has 6 \
                 layers of 320 with 20 heads"
            )),
            "{err}"
        );
        assert!(err.contains(&format!("--model ./{name}")), "{err}");
    }
    let (code, err) = run(home.path(), "--model ./8M --out emb");
    assert_eq!(code, 0, "{err}");
}
