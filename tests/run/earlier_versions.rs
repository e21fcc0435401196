//! Folders that esm-embed 0.1.0 wrote: they are inspected, merged and left complete as those of
//! this version are. Only an interrupted run cannot be resumed.

use crate::bench::*;
use crate::common::fixture;
use std::fs;

/// `run.json` of 0.1.0 for a shard of [`LINE`]: what that version wrote, without its line breaks.
const OLD: &str = r#"{"format_version": 1, "esm_embed": "0.1.0",
    "shard": {"number": $NUMBER, "of": 2, "input_records": 3},
    "asked": {"dtype": null, "inputs": ["in.fasta"], "layer": [], "long": null, "model": "model",
        "on_invalid": "fail", "out_dtype": "f32", "pool": ["mean"], "residues": "none",
        "unknown": "unk"},
    "resolved": {"arch": "$ARCH", "cpu_path": "portable", "device": "cpu", "dtype": "f32",
        "inputs": [{"bytes": 32, "path": "in.fasta", "records": 3,
            "sha256": "2270f1d13f9b267ad9c86048f8e6a62dd99972f6dbe844f5fcd1c046470734fe"}],
        "layers": [2], "long": "full",
        "model": {"dim": 32, "files": [
            {"bytes": 719, "name": "config.json",
             "sha256": "97bc9ae5110e4c1c5ed40e8163cb9fb96c86d0b6d81e1086a67e10441b7d454d"},
            {"bytes": 115336, "name": "model.safetensors",
             "sha256": "5865c261c401fa1905ed09eda511d26e8868e08173e5d79a1cee8b1733ad692e"}],
            "heads": 2, "inv_freq": "checkpoint", "layers": 2, "layout": "huggingface",
            "positions": "rotary", "repo": null, "revision": null, "stored_dtype": "f32",
            "token_dropout": true}},
    "layout": {"layers": [2], "pools": ["mean"], "residues": "none", "dtype": "f32", "dim": 32},
    "counts": {"records": $RECORDS, "residues": $RESIDUES, "unique_sequences": $RECORDS,
        "duplicates": 0, "unknown": 0, "lower": 0, "masks": 0, "stops": 0, "truncated": 0,
        "windowed": 0, "skipped": 0},
    "files": [$FILES]}"#;

/// What differs in the `run.json` of the two shards.
const SHARDS: [[(&str, &str); 4]; 2] = [
    [
        ("$NUMBER", "1"),
        ("$RECORDS", "1"),
        ("$RESIDUES", "6"),
        (
            "$FILES",
            r#"{"name": "index.tsv", "bytes": 62,
                "sha256": "46e6b11adda69ec4c367c3ad21452666dee124ccf6664298bd0e5c29c8c51239"},
            {"name": "shard.tsv", "bytes": 59,
                "sha256": "569490516488a9f24697607507ce116762dd63534ca55ab9085df1ca7a3771cc"},
            {"name": "mean.layer2.npy", "bytes": 256,
                "sha256": "5cb2919383378931b6d6424507f602d19551d6e84588bb0ed4c97e8f0ae32c87",
                "shape": [1, 32], "dtype": "f32"}"#,
        ),
    ],
    [
        ("$NUMBER", "2"),
        ("$RECORDS", "2"),
        ("$RESIDUES", "8"),
        (
            "$FILES",
            r#"{"name": "index.tsv", "bytes": 67,
                "sha256": "4b2b9d2d90a2f6aa3d1647db5ee3f9c92eabf49b4424a29b06a9e660989a71d8"},
            {"name": "shard.tsv", "bytes": 96,
                "sha256": "b04ada16dfa80d167aafc8347da60be521d366ede389b720b39f047f4fadf696"},
            {"name": "mean.layer2.npy", "bytes": 384,
                "sha256": "6728f329b5afa1ff8bcdb6b75a16969fd9025c71ade4f2ef7f3539717002304c",
                "shape": [2, 32], "dtype": "f32"}"#,
        ),
    ],
];

const LINE: &str = "in.fasta --model model --residues none --cpu-path portable";

/// A bench with the whole output in `whole`, shards of this version in `new1` and `new2`, and those
/// of 0.1.0 in `old1` and `old2`.
fn bench() -> Bench {
    let bench = Bench::new();
    fs::create_dir(bench.path("model")).unwrap();
    for name in ["config.json", "model.safetensors", "vocab.txt"] {
        let to = bench.path("model").join(name);
        fs::copy(fixture("esm2_hd16").join(name), to).unwrap();
    }
    bench.write("in.fasta", ">a first\nMKTAYI\n>b\nMKT\n>c\nMKTAY\n");
    bench.embed(&format!("{LINE} --out whole"));
    for (number, values) in (1..).zip(SHARDS) {
        for age in ["new", "old"] {
            bench.embed(&format!("{LINE} --shard {number}/2 --out {age}{number}"));
        }
        let mut json = OLD.replace("$ARCH", std::env::consts::ARCH);
        for (place, value) in values {
            json = json.replace(place, value);
        }
        bench.write(&format!("old{number}/run.json"), json);
        fs::remove_file(bench.path(&format!("old{number}/ids.npy"))).unwrap();
    }
    bench
}

fn command(bench: &Bench, line: &str) -> Ended {
    ended(bench.command().args(line.split(' ')))
}

#[test]
fn they_are_sound() {
    let bench = bench();
    let report = command(&bench, "inspect old2 --check");
    assert_eq!((report.code, &*report.err), (0, ""), "{}", report.out);
    for line in [
        "written by esm-embed 0.1.0\nshard 2 of 2 of an input of 3 records",
        "\ngaps: keep\n",
        "\nproblems: none\n",
    ] {
        assert!(report.out.contains(line), "{line}: {}", report.out);
    }
    let report = command(&bench, "inspect old2 --json");
    let report: serde_json::Value = serde_json::from_str(&report.out).unwrap();
    assert_eq!(report["run"]["resolved"]["gaps"], "keep");
    assert_eq!(report["run"]["resolved"]["model"]["dim"], 32);
}

#[test]
fn they_are_merged_with_each_other_and_with_those_of_this_version() {
    let bench = bench();
    let mut whole = bench.tree("whole");
    for (shards, says_all) in [
        ("old1 old2", false),
        ("old1 new2", true),
        ("new1 old2", true),
        ("new1 new2", true),
    ] {
        let merged = command(&bench, &format!("merge {shards} --out merged --force -q"));
        assert_eq!((merged.code, &*merged.err), (0, ""), "{shards}");
        let mut merged = bench.tree("merged");
        if !says_all {
            // 0.1.0 did not record what proves the alphabet.
            merged.remove("run.json");
            whole.remove("run.json");
        }
        assert!(merged == whole, "{shards}");
        whole = bench.tree("whole");
    }
    let old = bench.text("old1/run.json");
    bench.write(
        "old1/run.json",
        old.replace(r#""long": "full""#, r#""long": "error""#),
    );
    let refused = command(&bench, "merge old1 new2 --out merged --force -q");
    assert_eq!(refused.code, 1);
    let difference = "old1 and new2 are not shards of one run: --long (error and full)";
    assert!(refused.err.contains(difference), "{}", refused.err);
    bench.write("old1/run.json", old.replace(r#""0.1.0""#, r#""0.0.9""#));
    let refused = command(&bench, "merge old1 new2 --out merged --force -q");
    assert_eq!(refused.code, 1);
    let version = "old1 was written by esm-embed 0.0.9";
    assert!(refused.err.contains(version), "{}", refused.err);
}

#[test]
fn a_finished_run_has_nothing_left_to_do() {
    let bench = bench();
    let ended = bench.run(&format!("{LINE} --shard 2/2 --out old2 --resume"));
    assert_eq!(
        (ended.code, &*ended.err),
        (0, "old2 is already complete: there is nothing to do\n")
    );
}

#[test]
fn keys_of_a_newer_version_are_kept() {
    let bench = bench();
    for number in [1, 2] {
        let path = format!("new{number}/run.json");
        let json = bench.text(&path);
        let newer = json.replacen(r#""arch": "#, "\"adapter\": \"lora\",\n    \"arch\": ", 1);
        assert_ne!(json, newer);
        bench.write(&path, newer);
    }
    let report = command(&bench, "inspect new1 --check");
    assert_eq!(report.code, 0, "{}", report.out);
    assert!(
        report.out.contains("\nadapter: \"lora\"\n"),
        "{}",
        report.out
    );
    let merged = command(&bench, "merge new1 new2 --out merged -q");
    assert_eq!((merged.code, &*merged.err), (0, ""));
    assert_eq!(bench.recorded("merged", "/resolved/adapter"), "lora");
    // One shard has the setting, the other has not.
    let merged = command(&bench, "merge new1 old2 --out other -q");
    assert_eq!(merged.code, 1);
    assert!(
        merged.err.contains("what another version recorded"),
        "{}",
        merged.err
    );
}

#[test]
fn an_interrupted_run_is_refused_by_name() {
    let bench = bench();
    fs::create_dir_all(bench.path("emb/.partial")).unwrap();
    let begun = r#"{"format": 1, "replaces": false, "facts": [
        {"what": "version of esm-embed", "value": "0.1.0"}, {"what": "--shard", "value": "none"}],
        "needed": [], "longest": null}"#;
    bench.write("emb/.partial/begun.json", begun);
    bench.write("emb/.partial/journal", "");
    let ended = bench.run(&format!("{LINE} --out emb --resume -q"));
    assert_eq!(ended.code, 1);
    let why = "emb/.partial/begun.json: was begun by esm-embed 0.1.0";
    assert!(ended.err.contains(why), "{}", ended.err);
    assert_eq!(bench.text("emb/.partial/begun.json"), begun);
    bench.embed(&format!("{LINE} --out emb --force"));
    assert!(bench.tree("emb") == bench.tree("whole"));
}
