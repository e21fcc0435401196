//! Folders that esm-embed 0.1.0 wrote. They are inspected as those of this version are, and merged
//! with each other by the rules of that version. They are never mixed with those of this version,
//! whose numbers have other bits, nor resumed.

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

/// The values of `mean.layer2.npy` in the two shards, which that version computed.
const VALUES: [&str; 2] = [
    "5d1e1c3fd9e141bfee8e4b3f68bf80bf93bd4c3e1ef64fbd55debebf37873d3e778ae13eece421bf1e55\
     c1bf725a4b3f50bf79beaca7bf3e624a2c3f7c94f23e3252ad3dc080f6be8c699f3fad4a31be4efe653f\
     d2d9b53f028123bfdebcb6bdf5f8cf3e22cbd6bec50923bfe636333eed9c91be97fb11bf7c3baa3e68cb\
     3fbf",
    "6cae6e3e448163bff78bb13edb5238bf36b2803e29ec303deb2b21c0076ce43da793453e8fc5edbe8310\
     edbe87eb713fa984d83d686209bf2e87a93ffd25893f4cdbf0be9b15d33c0f4aa63fc6cef3be8bc44e3f\
     e536b43fa2f42dbf76608f3ea5e83c3f39f088be05c2a6bf0194e93dac2c643d39357fbf1881133e5188\
     36bf86191e3f98903cbf37932c3f36322dbf70c8093e17dcdebce97daebfdad2413e1b07883e812231bf\
     e670a2bf77bd3f3f1a67acbeb3ccd83e071a293f4e9bf13e5230eb3d034cc0be3ecf993fc4c20dbefc9d\
     8b3ff71c903f17c501bf4364603e8a6a623d71ef2cbf05972abfd17164bd94eb90be723d00bfa22adf3e\
     84832dbf",
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
        let array = format!("old{number}/mean.layer2.npy");
        let mut bytes = fs::read(bench.path(&array)).unwrap();
        let values = bytes_of(VALUES[number - 1]);
        bytes.truncate(bytes.len() - values.len());
        bench.write(&array, [bytes, values].concat());
        fs::remove_file(bench.path(&format!("old{number}/ids.npy"))).unwrap();
    }
    bench
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u32> = hexadecimal
        .chars()
        .map(|c| c.to_digit(16).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| (16 * pair[0] + pair[1]) as u8)
        .collect()
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
fn they_are_merged_with_each_other_and_keep_their_version() {
    let bench = bench();
    let merged = command(&bench, "merge old1 old2 --out merged -q");
    assert_eq!((merged.code, &*merged.err), (0, ""));
    let recorded = |pointer: &str| bench.recorded("merged", pointer);
    assert_eq!(recorded("/esm_embed"), "0.1.0");
    assert_eq!(recorded("/resolved/cpu_path"), "portable");
    assert_eq!(recorded("/resolved/arch"), std::env::consts::ARCH);
    let means = fs::read(bench.path("merged/mean.layer2.npy")).unwrap();
    assert!(means[128..] == bytes_of(&VALUES.concat()));
    let (whole, merged) = (bench.tree("whole"), bench.tree("merged"));
    assert!(whole.keys().eq(merged.keys()));
    for name in ["index.tsv", "ids.npy"] {
        assert!(whole[name] == merged[name], "{name}");
    }
    // The rules of that version: one path, one architecture.
    let text = bench.text("old1/run.json");
    for (was, is, difference) in [
        (
            r#""cpu_path": "portable""#,
            r#""cpu_path": "avx2""#,
            "--cpu-path (avx2 and portable)",
        ),
        (
            std::env::consts::ARCH,
            "sparc64",
            &format!("the processor (sparc64 and {})", std::env::consts::ARCH),
        ),
        (
            r#""long": "full""#,
            r#""long": "error""#,
            "--long (error and full)",
        ),
    ] {
        let changed = text.replace(was, is);
        assert_ne!(changed, text);
        bench.write("old1/run.json", changed);
        let refused = command(&bench, "merge old1 old2 --out refused -q");
        assert_eq!(refused.code, 1);
        let expected = format!("old1 and old2 are not shards of one run: {difference}\n");
        assert!(refused.err.contains(&expected), "{}", refused.err);
    }
}

#[test]
fn they_are_not_mixed_with_those_of_this_version() {
    let bench = bench();
    let now = env!("CARGO_PKG_VERSION");
    for (shards, versions) in [
        ("old1 new2", format!("0.1.0 and {now}")),
        ("new1 old2", format!("{now} and 0.1.0")),
    ] {
        let refused = command(&bench, &format!("merge {shards} --out merged -q"));
        assert_eq!(refused.code, 1);
        let (first, second) = shards.split_once(' ').unwrap();
        assert_eq!(
            refused.err,
            format!(
                "error: {first} and {second} are not shards of one run: the version of esm-embed \
                 ({versions})\n  \
                 hint: run one of them again, with the input, model and options of the other, into \
                 another folder with --out\n"
            )
        );
        assert!(!exists(&bench.path("merged")));
    }
    let merged = command(&bench, "merge new1 new2 --out merged -q");
    assert_eq!((merged.code, &*merged.err), (0, ""));
    assert!(bench.tree("merged") == bench.tree("whole"));
    let old = bench.text("old1/run.json");
    bench.write("old1/run.json", old.replace(r#""0.1.0""#, r#""0.0.9""#));
    let refused = command(&bench, "merge old1 new2 --out merged --force -q");
    assert_eq!(refused.code, 1);
    let version = "old1 was written by esm-embed 0.0.9";
    assert!(refused.err.contains(version), "{}", refused.err);
}

#[test]
fn a_finished_run_is_left_to_its_version() {
    let bench = bench();
    let before = bench.tree("old2");
    let ended = bench.run(&format!("{LINE} --shard 2/2 --out old2 --resume"));
    assert_eq!(
        (ended.code, ended.err),
        (
            1,
            format!(
                "error: old2 holds the output of another run, which this run cannot resume: the \
                 version of esm-embed was 0.1.0 and is {}\n  \
                 hint: resume it with esm-embed 0.1.0\n  \
                 hint: choose another folder with --out, or rename or remove this one\n",
                env!("CARGO_PKG_VERSION")
            )
        )
    );
    assert!(bench.tree("old2") == before);
}

#[test]
fn keys_of_a_newer_version_are_kept() {
    let bench = bench();
    for number in [1, 2] {
        let path = format!("new{number}/run.json");
        let json = bench.text(&path);
        let newer = json.replacen(
            r#""device": "#,
            "\"adapter\": \"lora\",\n    \"device\": ",
            1,
        );
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
    bench.embed(&format!("{LINE} --shard 2/2 --out new2 --force"));
    let merged = command(&bench, "merge new1 new2 --out other -q");
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
