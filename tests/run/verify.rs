//! `verify` with a fixture against fair-esm's values, and with random weights of the shape of 8M
//! against the published values and against their own.

use crate::common::{self, Reference, fixture};
use assert_cmd::Command;
use esm_embed::embedder::Sequence;
use esm_embed::ops::CpuPath;
use esm_embed::pooling;
use esm_embed::tokenizer::{UnknownPolicy, tokenize};
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

/// `verify` with this cache and these words: exit status, standard output and standard error.
fn verify_in(home: &Path, words: &[&str], reference: Option<&Value>) -> (i32, String, String) {
    let mut command = Command::cargo_bin("esm-embed").unwrap();
    command
        .env_clear()
        .env("CUDA_VISIBLE_DEVICES", "")
        .env("HF_HOME", home)
        .env("HF_HUB_OFFLINE", "1")
        .arg("verify")
        .args(words);
    if let Some(reference) = reference {
        let file = home.join("reference.json");
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

fn verify(model: &Path, reference: Option<&Value>) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    verify_in(home.path(), &[model.to_str().unwrap()], reference)
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
        assert!(out.contains("there; at most 2.00e-5 passes"), "{out}");
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
        assert!(
            out.contains("\n1 of 6 comparisons failed\nEither the values belong to other weights"),
            "{out}"
        );
    }
}

#[test]
fn values_of_another_model_are_not_compared() {
    let (code, out, err) = verify(&fixture("esm2_hd16"), None);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("error: no values are published under the name "),
        "{err}"
    );
    assert!(
        err.contains("only for facebook/esm2_t6_8M_UR50D, facebook/esm1b_t33_650M_UR50S, facebook/esm2_t12_35M_UR50D"),
        "{err}"
    );
    let reference = json!({ "comparisons": comparisons("esm2_hd32") });
    let (code, out, err) = verify(&fixture("esm2_hd16"), Some(&reference));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("reference.json has no values for ")
            && err.contains(", only for esm2_hd32\n  hint: remove checkpoint from a comparison"),
        "{err}"
    );
}

#[test]
fn values_that_do_not_fit_the_model_are_named() {
    let fail = |change: &dyn Fn(&mut Value)| {
        let mut comparisons = comparisons("esm2_hd16");
        comparisons.truncate(3);
        change(&mut comparisons[2]);
        let reference = json!({ "comparisons": comparisons });
        let (code, _, err) = verify(&fixture("esm2_hd16"), Some(&reference));
        assert_eq!(code, 1);
        let more: Vec<&str> = err.lines().skip(1).collect();
        assert!(
            more.iter().all(|line| line.starts_with("  hint: ")),
            "{err}"
        );
        err
    };
    let err = fail(&|c| c["layer"] = json!(3));
    assert!(
        err.contains("comparison 'mean' is for layer 3, but the model has layers 0 to 2"),
        "{err}"
    );
    let err = fail(&|c| c["layer"] = json!(i64::MIN));
    assert!(err.contains("is for layer -9223372036854775808"), "{err}");
    let err = fail(&|c| c["sequence"] = json!(""));
    assert!(
        err.contains("comparison 'mean': its sequence is empty"),
        "{err}"
    );
    let err = fail(&|c| c["sequence"] = json!("MJ"));
    assert!(
        err.contains("comparison 'mean': residue 2: `J` is not in the ESM alphabet")
            && !err.contains("--unknown"),
        "{err}"
    );
    let err = fail(&|c| c["expected"] = json!(vec![0.0; 4096]));
    assert!(
        err.contains("comparison 'mean' expects more rows or columns than there are"),
        "{err}"
    );
    let err = fail(&|c| c["atol"] = json!("much"));
    assert!(
        err.contains("\n  hint: esm-embed verify --help shows the format of a reference file\n"),
        "{err}"
    );
}

/// The last lines of a failure other than that of a file.
const MEANING: &str = "Either the values belong to other weights, or this build does not compute \
                       correctly on this machine. If the files are intact (`esm-embed fetch` \
                       verifies them), please report this with the output of `esm-embed doctor`.\n";

#[test]
fn random_weights_of_the_right_shape_fail() {
    let home = tempfile::tempdir().unwrap();
    let snapshot =
        crate::stand_in_8m::in_cache(home.path(), "0123456789abcdef0123456789abcdef01234567");
    let (code, out, err) = verify_in(home.path(), &["8M"], None);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    for kind in ["rows", "norms", "mean"] {
        for sequence in 1..=3 {
            let line = format!("\nFAIL  FastPLMs esm2_8m, sequence {sequence}, {kind}\n");
            assert!(out.contains(&line), "{line}{out}");
        }
    }
    assert!(
        out.ends_with(&format!("16 of 16 comparisons failed\n{MEANING}")),
        "{out}"
    );
    assert!(!out.contains("pass  "), "{out}");

    // The folder that `fetch` prints is the same model.
    let folder = snapshot.to_str().unwrap();
    let (code, out, err) = verify_in(home.path(), &[folder, "--json"], None);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["model"], folder);
    assert_eq!(report["repo"], Value::Null);
    assert_eq!(report["passed"], false);
    assert_eq!(
        (&report["compared"], &report["failed"]),
        (&json!(16), &json!(16))
    );
    assert_eq!(report["files"], json!([]));
    let rows = report["comparisons"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "FastPLMs esm2_8m, sequence 3, rows")
        .unwrap();
    for (field, expected) in [
        ("checkpoint", json!("facebook/esm2_t6_8M_UR50D")),
        ("sequence", json!("MCADPSKCIYMYV")),
        ("layer", json!(-1)),
        ("what", json!("residue_rows")),
        ("values", json!(13 * 64)),
        ("passed", json!(false)),
        ("measure", json!("relative_l2")),
        ("limit", json!(0.03)),
        (
            "source",
            json!(
                "Synthyra/FastPLMs@1f782820f05a1b4a14bb78a310a8bc7838df3ba2 \
                 tests/goldens/esm2_8m.safetensors"
            ),
        ),
        ("licence", json!("Apache-2.0")),
    ] {
        assert_eq!(rows[field], expected, "{field}");
    }
    assert!(rows["error"].as_f64().unwrap() > 0.3, "{rows}");
}

#[test]
fn a_file_other_than_the_published_one_fails_by_its_digest() {
    let home = tempfile::tempdir().unwrap();
    let commit = "c731040fcd8d73dceaa04b0a8e6329b345b0f5df";
    crate::stand_in_8m::in_cache(home.path(), commit);
    let (code, out, err) = verify_in(home.path(), &["8M"], None);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    assert!(
        out.contains(
            "\nFAIL  SHA-256 of model.safetensors\n      expected  \
             24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189\n"
        ),
        "{out}"
    );
    assert!(
        out.ends_with(
            "17 of 17 comparisons failed\nA file of 8M differs from the published one: download \
             it again, or, if the model was changed on purpose, rename it.\n"
        ),
        "{out}"
    );
    let (code, out, _) = verify_in(home.path(), &["8M", "--json"], None);
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["repo"], "facebook/esm2_t6_8M_UR50D");
    assert_eq!(report["revision"], commit);
    assert_eq!(report["files"][0]["name"], "model.safetensors");
    assert_eq!(report["files"][0]["passed"], false);
}

/// Comparisons in the form of the published ones, with the stand-in's own values.
fn own_values(folder: &Path) -> Vec<Value> {
    let embedder = common::load(folder, CpuPath::detect());
    let dim = embedder.config().dim;
    let mut all = Vec::new();
    for sequence in ["MCADPSKCIYMYV", "MYPNQTSFAHGFWVHQIWLGFNGNVIFYM"] {
        let tokens = tokenize(sequence.as_bytes(), UnknownPolicy::Error).unwrap();
        let batch = [Sequence {
            tokens: &tokens.ids,
            windows: &[],
        }];
        let (_, residues) = common::embed(&embedder, &batch).remove(0).pop().unwrap();
        let norm = |row: &[f32]| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let rows: Vec<Vec<f32>> = residues
            .chunks(dim)
            .map(|row| row.iter().copied().step_by(5).collect())
            .collect();
        let norms: Vec<f64> = residues.chunks(dim).map(|row| norm(row).sqrt()).collect();
        let scale = (norm(&residues) / residues.len() as f64).sqrt();
        for (what, expected, more) in [
            (
                "residue_rows",
                json!(rows),
                json!({"stride": 5, "scale": scale}),
            ),
            ("residue_norms", json!(norms), json!({})),
            (
                "mean",
                json!(pooling::mean(&residues, dim)),
                json!({"scale": scale}),
            ),
        ] {
            let mut comparison = json!({
                "name": format!("{what} of {sequence}"), "checkpoint": "facebook/esm2_t6_8M_UR50D",
                "sequence": sequence, "what": what, "expected": expected, "relative_l2": 0.03,
                "source": "its own outputs",
            });
            for (key, value) in more.as_object().unwrap() {
                comparison[key] = value.clone();
            }
            all.push(comparison);
        }
    }
    all
}

#[test]
fn right_values_pass_and_wrong_ones_fail() {
    let home = tempfile::tempdir().unwrap();
    let folder =
        crate::stand_in_8m::in_cache(home.path(), "0123456789abcdef0123456789abcdef01234567");
    let right = own_values(&folder);
    let (code, out, err) = verify_in(home.path(), &["8M"], Some(&json!({ "comparisons": right })));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("all 6 comparisons passed\n"), "{out}");
    assert!(
        out.contains(
            "\npass  residue_rows of MCADPSKCIYMYV\n      sequence  MCADPSKCIYMYV\n      compared  \
             residue rows of the last layer, one column in 5: 832 values\n"
        ),
        "{out}"
    );
    assert!(
        out.contains(" (relative L2, column by column); at most 3.00e-2 passes\n"),
        "{out}"
    );

    for i in 0..right.len() {
        let mut wrong = right.clone();
        // One row of thirteen or more, or one value of hundreds, is wrong.
        let expected = wrong[i]["expected"].as_array_mut().unwrap();
        expected[1] = match expected[1].clone() {
            Value::Array(row) => json!(vec![0.0; row.len()]),
            value => json!(-3.0 * value.as_f64().unwrap() - 3.0),
        };
        let name = wrong[i]["name"].as_str().unwrap().to_owned();
        let (code, out, err) = verify_in(
            home.path(),
            &["8M", "--json"],
            Some(&json!({ "comparisons": wrong })),
        );
        assert_eq!((code, err.as_str()), (1, ""), "{out}");
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["failed"], 1, "{out}");
        let failed: Vec<&Value> = report["comparisons"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["passed"] == false)
            .map(|c| &c["name"])
            .collect();
        assert_eq!(failed, [&json!(name)]);
    }
}

#[test]
fn damaged_values_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let folder =
        crate::stand_in_8m::in_cache(home.path(), "0123456789abcdef0123456789abcdef01234567");
    let file = home.path().join("values.json");
    let path = file.to_str().unwrap();
    let whole = json!({ "comparisons": own_values(&folder) }).to_string();
    let nan = r#"{"comparisons":[{"name":"n","sequence":"M","source":"s","what":"mean",
                  "expected":[NaN],"relative_l2":0.03}]}"#;
    let too_many = whole.replacen("MCADPSKCIYMYV\",\"source", "MCADPSKCIYMY\",\"source", 1);
    assert_ne!(too_many, whole);
    for (text, says) in [
        (
            &whole[..whole.len() / 2],
            "is not a list of comparisons: EOF",
        ),
        (nan, "is not a list of comparisons: expected value"),
        (
            &nan.replace("NaN", "null"),
            "is not a list of comparisons: invalid type: null",
        ),
        (
            &nan.replace("NaN", "1e999"),
            "is not a list of comparisons: number out of range",
        ),
        (
            &nan.replace("NaN", ""),
            "comparison 'n': expected holds no values",
        ),
        (
            &too_many,
            "expects more rows or columns than there are: 12 residues, 320 columns",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, out, err) = verify_in(home.path(), &["8M", "--json", "--reference", path], None);
        assert_eq!((code, out.as_str()), (1, ""), "{says}");
        assert!(err.starts_with("error: "), "{err}");
        assert!(err.contains(says), "{says}: {err}");
    }
}

#[test]
fn the_default_model_is_that_of_run() {
    let home = tempfile::tempdir().unwrap();
    for words in [&[][..], &["650M"], &["--json"]] {
        let (code, out, err) = verify_in(home.path(), words, None);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(
            err.starts_with("error: esm2_t33_650M_UR50D is not complete in the cache "),
            "{err}"
        );
    }
}

#[test]
fn verify_says_where_no_embeddings_are_published() {
    let home = tempfile::tempdir().unwrap();
    for (words, name) in [
        (&["15B"][..], "esm2_t48_15B_UR50D"),
        (&["facebook/esm2_t48_15B_UR50D"], "esm2_t48_15B_UR50D"),
        (
            &["esm1v_t33_650M_UR90S_1", "--json"],
            "esm1v_t33_650M_UR90S_1",
        ),
        (&["esm1v_t33_650M_UR90S"], "esm1v_t33_650M_UR90S_1"),
        (&["./esm1v_t33_650M_UR90S_5.pt"], "esm1v_t33_650M_UR90S_5"),
    ] {
        let (code, out, err) = verify_in(home.path(), words, None);
        assert_eq!((code, out.as_str()), (1, ""));
        assert_eq!(
            err,
            format!(
                "error: no embeddings of {name} are published to compare with, only of \
                 facebook/esm2_t6_8M_UR50D, facebook/esm1b_t33_650M_UR50S, facebook/esm2_t12_35M_UR50D, \
                 facebook/esm2_t30_150M_UR50D, facebook/esm2_t33_650M_UR50D, \
                 facebook/esm2_t36_3B_UR50D, biohub/ESMC-300M, biohub/ESMC-600M, biohub/ESMC-6B, \
                 airkingbd/dplm_150m, airkingbd/dplm_650m, airkingbd/dplm_3b\n  hint: to verify its files, run: esm-embed fetch \
                 {name}\n  hint: to compare with your own values, use --reference FILE\n"
            )
        );
    }
}

#[test]
fn the_example_in_the_help_is_a_reference() {
    let home = tempfile::tempdir().unwrap();
    let (code, help, _) = verify_in(home.path(), &["--help"], None);
    assert_eq!(code, 0);
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let example = &words[words.find("{\"comparisons\"").unwrap()..];
    let example = &example[..example.find("]}").unwrap() + 2];
    let example: Value = serde_json::from_str(example).unwrap();
    let (code, out, err) = verify(&fixture("esm2_hd16"), Some(&example));
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    assert!(out.contains("\nFAIL  first columns\n"), "{out}");
    assert!(
        out.ends_with(&format!("1 of 1 comparison failed\n{MEANING}")),
        "{out}"
    );
}
