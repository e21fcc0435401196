//! `verify` against a stand-in reference: fair-esm's values for a fixture.

mod common;

use assert_cmd::Command;
use common::{Reference, fixture};
use serde_json::{Value, json};
use std::path::Path;

const SOURCE: &str = "fair-esm 2.0.0, fixtures/make.py";

/// Comparisons of every kind for a sequence of which every layer is known.
fn comparisons(checkpoint: &str) -> Vec<Value> {
    let records = common::records("reference/sequences.fasta");
    let reference = Reference::open("esm2_hd16");
    let k = reference
        .numbers()
        .find(|&k| records[k].0 == "len17")
        .unwrap();
    let sequence = String::from_utf8(records[k].1.clone()).unwrap();
    let last = 2;
    let (_, hidden) = reference.rows(k, last, sequence.len() + 2);
    let mean = reference.mean(k, last);
    let dim = mean.len();
    let row = |i: usize| hidden[i * dim..i * dim + 3].to_vec();
    let sum: f64 = mean.iter().copied().map(f64::from).sum();
    let comparison = |name: &str, layer: i64, what: &str, expected: Value| {
        json!({
            "name": name, "checkpoint": checkpoint, "sequence": sequence, "layer": layer,
            "what": what, "expected": expected, "atol": 2e-5, "rtol": 0.0, "source": SOURCE,
        })
    };
    let first = reference.mean(k, 1);
    vec![
        comparison("hidden", -1, "hidden_rows", json!([row(0), row(1), row(2)])),
        comparison("residues", 2, "residue_rows", json!([row(1), row(2)])),
        comparison("mean", -1, "mean", json!(mean)),
        comparison("mean below", 1, "mean", json!(first)),
        comparison("bos", -1, "bos", json!(row(0))),
        comparison("number", -1, "mean_of_mean", json!(sum / dim as f64)),
    ]
}

/// Exit code, standard output and standard error.
fn verify(model: &Path, reference: Option<&Value>) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("esm-embed").unwrap();
    command
        .env_clear()
        .env("CUDA_VISIBLE_DEVICES", "")
        .env("HF_HOME", home.path())
        .env("HF_HUB_OFFLINE", "1")
        .arg("verify")
        .arg(model);
    if let Some(reference) = reference {
        let file = home.path().join("reference.json");
        std::fs::write(&file, reference.to_string()).unwrap();
        command.arg("--reference").arg(file);
    }
    let output = command.output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn every_comparison_passes_against_fair_esm() {
    for (model, checkpoint) in [
        ("esm2_hd16", "esm2_hd16"),
        ("fair_esm/esm2_hd16.pt", "somebody/esm2_hd16"),
    ] {
        let reference = json!({ "comparisons": comparisons(checkpoint) });
        let (code, out, err) = verify(&fixture(model), Some(&reference));
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        assert_eq!(out.matches("pass  ").count(), 6, "{out}");
        assert_eq!(out.matches(SOURCE).count(), 6, "{out}");
        assert!(
            out.contains("tolerance 2.00e-5 there (2e-5 + 0e0 of the expected value)"),
            "{out}"
        );
        assert!(out.ends_with("all 6 comparisons passed\n"), "{out}");
    }
}

#[test]
fn one_changed_number_fails() {
    for i in 0..6 {
        let mut comparisons = comparisons("esm2_hd16");
        let mut place = &mut comparisons[i]["expected"];
        while place.is_array() {
            place = place.as_array_mut().unwrap().last_mut().unwrap();
        }
        let changed = place.as_f64().unwrap() + 1e-4;
        *place = json!(changed);
        let name = comparisons[i]["name"].as_str().unwrap().to_owned();
        let reference = json!({ "comparisons": comparisons });
        let (code, out, err) = verify(&fixture("esm2_hd16"), Some(&reference));
        assert_eq!((code, err.as_str()), (1, ""), "{out}");
        assert!(out.contains(&format!("FAIL  {name}\n")), "{out}");
        assert_eq!(out.matches("pass  ").count(), 5, "{out}");
        assert!(out.ends_with("1 of 6 comparisons failed\n"), "{out}");
    }
}

#[test]
fn values_of_another_model_are_not_compared() {
    let (code, out, err) = verify(&fixture("esm2_hd16"), None);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("those at hand are for facebook/esm2_t6_8M_UR50D"),
        "{err}"
    );
    let reference = json!({ "comparisons": comparisons("esm2_hd32") });
    let (code, out, err) = verify(&fixture("esm2_hd16"), Some(&reference));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("those at hand are for esm2_hd32"), "{err}");
}

#[test]
fn what_does_not_fit_the_model_is_named() {
    let fail = |change: &dyn Fn(&mut Value)| {
        let mut comparisons = comparisons("esm2_hd16");
        comparisons.truncate(3);
        change(&mut comparisons[2]);
        let reference = json!({ "comparisons": comparisons });
        let (code, _, err) = verify(&fixture("esm2_hd16"), Some(&reference));
        assert_eq!(code, 1);
        assert_eq!(err.lines().count(), 1, "{err}");
        err
    };
    let err = fail(&|c| c["layer"] = json!(3));
    assert!(
        err.contains("comparison `mean` asks for layer 3, but the model has layers 0 to 2"),
        "{err}"
    );
    let err = fail(&|c| c["layer"] = json!(i64::MIN));
    assert!(err.contains("asks for layer -9223372036854775808"), "{err}");
    let err = fail(&|c| c["sequence"] = json!(""));
    assert!(
        err.contains("comparison `mean` has an empty sequence"),
        "{err}"
    );
    let err = fail(&|c| c["sequence"] = json!("MJ"));
    assert!(
        err.contains("comparison `mean`: residue 2: `J` is outside"),
        "{err}"
    );
    let err = fail(&|c| c["expected"] = json!(vec![0.0; 4096]));
    assert!(
        err.contains("comparison `mean` expects more rows or columns than there are"),
        "{err}"
    );
    let err = fail(&|c| c["atol"] = json!("much"));
    assert!(
        err.contains("reference.json. `esm-embed verify --help` shows"),
        "{err}"
    );
}
