//! Identifiers: `ids.npy`, and records that share an identifier.

use crate::bench::*;
use std::fs;

/// The texts in `ids.npy`, as NumPy reads them.
fn ids(bench: &Bench, folder: &str) -> Vec<String> {
    let bytes = fs::read(bench.path(&format!("{folder}/ids.npy"))).unwrap();
    let header = str::from_utf8(&bytes[10..128]).unwrap();
    let width: usize = header
        .strip_prefix("{'descr': '<U")
        .and_then(|rest| rest.split_once('\''))
        .map(|(width, _)| width.parse().unwrap())
        .unwrap();
    bytes[128..]
        .chunks(4 * width)
        .map(|row| {
            let codes = row
                .chunks(4)
                .map(|c| u32::from_le_bytes(c.try_into().unwrap()));
            let text: String = codes.map(|code| char::from_u32(code).unwrap()).collect();
            text.trim_end_matches('\0').to_owned()
        })
        .collect()
}

#[test]
fn the_list_of_ids_has_one_for_each_row() {
    let bench = Bench::new();
    let long = "x".repeat(1024);
    let text = format!(">a b\nMKT\n>\nMKA\n>caf\u{e9}|1\nMKT\n>bad\n\n>{long} d\nMKG\n");
    bench.write("in.fasta", text);
    for residues in ["packed", "files", "none"] {
        let line = format!("in.fasta --model $MODEL --residues {residues} --on-invalid skip -q");
        assert_eq!(bench.run(&format!("{line} --out {residues}")).code, 3);
        assert_eq!(ids(&bench, residues), ["a", "", "café|1", &long]);
        let report = ended(bench.command().args(["inspect", residues, "--check"]));
        assert_eq!(report.code, 0, "{}", report.out);
    }
}

#[test]
fn ids_that_are_too_long_are_not_listed() {
    let bench = Bench::new();
    bench.write("in.fasta", format!(">a\nMKT\n>{}\nMKA\n", "x".repeat(1025)));
    let ended = bench.run("in.fasta --model $MODEL --out emb -q");
    assert_eq!(
        (ended.code, &*ended.err),
        (
            0,
            "warning: ids.npy is not written: the longest id has 1,025 characters, and at \
             most 1,024 are written there; index.tsv has every id\n"
        )
    );
    // `merge` reports the same.
    bench.run("in.fasta --model $MODEL --out s1 --shard 1/1 -q");
    let merged = crate::bench::ended(
        bench
            .command()
            .args(["merge", "s1", "--out", "merged", "-q"]),
    );
    assert_eq!((merged.code, merged.err), (0, ended.err));
    assert_eq!(
        bench.names("emb"),
        [
            "index.tsv",
            "mean.layer2.npy",
            "residues.layer2.npy",
            "run.json"
        ]
    );
    let report = crate::bench::ended(bench.command().args(["inspect", "emb", "--check"]));
    assert_eq!(report.code, 0, "{}", report.out);
}

#[test]
fn a_damaged_list_is_found() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKT\n>b\nMKA\n");
    let path = bench.path("emb/ids.npy");
    for (damage, says) in [
        (127, "its first 128 bytes are not the header of an array"),
        (128, "its SHA-256 is "),
    ] {
        bench.run("in.fasta --model $MODEL --out emb -q --force");
        let mut bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 128 + 8);
        bytes[damage] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let report = ended(bench.command().args(["inspect", "emb", "--check"]));
        assert_eq!(report.code, 1);
        assert!(
            report.out.contains(&format!("ids.npy: {says}")),
            "{}",
            report.out
        );
    }
    fs::write(&path, "short").unwrap();
    let report = ended(bench.command().args(["inspect", "emb"]));
    assert!(
        report
            .out
            .contains("ids.npy: has 5 bytes; run.json says 136 bytes"),
        "{}",
        report.out
    );
}

/// Turns an output into one of a version without `ids.npy`.
fn forget_ids(bench: &Bench, folder: &str) {
    fs::remove_file(bench.path(&format!("{folder}/ids.npy"))).unwrap();
    let path = bench.path(&format!("{folder}/run.json"));
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let files = json["files"].as_array_mut().unwrap();
    files.retain(|file| file["name"] != "ids.npy");
    json["asked"].as_object_mut().unwrap().remove("gaps");
    json["resolved"].as_object_mut().unwrap().remove("gaps");
    let counts = json["counts"].as_object_mut().unwrap();
    for count in ["gaps", "invisible", "nucleotides", "reused_ids"] {
        counts.remove(count).unwrap();
    }
    fs::write(path, serde_json::to_vec_pretty(&json).unwrap()).unwrap();
}

#[test]
fn outputs_without_a_list_are_still_good() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKT\n>b\nMKA\n>c\nMK<mask>AG\n");
    let line = "in.fasta --model $MODEL -q";
    bench.run(&format!("{line} --out whole"));
    for i in 1..=2 {
        let out = format!("s{i}");
        bench.run(&format!("{line} --out {out} --shard {i}/2"));
        forget_ids(&bench, &out);
        let report = ended(bench.command().args(["inspect", &out, "--check"]));
        assert_eq!(report.code, 0, "{}", report.out);
        let resumed = bench.run(&format!("{line} --out {out} --shard {i}/2 --resume"));
        assert_eq!((resumed.code, &*resumed.err), (0, ""));
    }
    let merged = ended(
        bench
            .command()
            .args(["merge", "s1", "s2", "--out", "merged", "-q"]),
    );
    assert_eq!(merged.code, 0, "{}", merged.err);
    let (mut whole, mut merged) = (bench.tree("whole"), bench.tree("merged"));
    // The request of these shards does not mention gaps.
    whole.remove("run.json");
    merged.remove("run.json");
    assert!(whole == merged);
    // Together with a current shard.
    bench.run(&format!("{line} --out s2 --shard 2/2 --force"));
    let mixed = ended(
        bench
            .command()
            .args(["merge", "s1", "s2", "--out", "mixed", "-q"]),
    );
    assert_eq!(mixed.code, 0, "{}", mixed.err);
    let mut mixed = bench.tree("mixed");
    mixed.remove("run.json");
    assert!(whole == mixed);
    // And a new run replaces an output without the list.
    forget_ids(&bench, "whole");
    bench.run(&format!("{line} --out whole --force"));
    assert_eq!(ids(&bench, "whole"), ["a", "b", "c"]);
}

const REUSED: &str = ">x\nMKT\n>y\nMKA\n>x\nMKT\n>x\nMKG\n>y\nMKV\n";

/// NumPy cannot tell them apart.
#[test]
fn ids_with_the_same_text_are_one_id() {
    let bench = Bench::new();
    bench.write("in.fasta", b">a\\xff\nMKT\n>a\xff\nMKA\n");
    let ended = bench.run("in.fasta --model $MODEL --out emb -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ids(&bench, "emb"), ["a\\xff", "a\\xff"]);
    assert!(
        ended
            .err
            .contains("1 record has the id of an earlier record"),
        "{}",
        ended.err
    );
    let ended = bench.run("in.fasta --model $MODEL --out fail -q --on-duplicate-id fail");
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("an earlier record has the same id"),
        "{}",
        ended.err
    );
}

#[test]
fn an_id_with_different_sequences_is_warned_about() {
    let bench = Bench::new();
    bench.write("in.fasta", REUSED);
    let warning = "warning: 2 records have the id of an earlier record and another \
                   sequence; the first is `x` in row 3. A dictionary by id keeps only one record \
                   of each id\n\
                   \x20 hint: use the row numbers of index.tsv, or make the ids unique \
                   (--on-duplicate-id fail checks this before the work)\n";
    let ended = bench.run("in.fasta --model $MODEL --out emb -q");
    assert_eq!((ended.code, &*ended.err), (0, warning));
    assert_eq!(bench.recorded("emb", "/counts/reused_ids"), 2);
    assert_eq!(
        bench.recorded("emb", "/notes"),
        serde_json::json!([
            {"about": "reused_ids", "records": 2, "first_row": 3, "first_id": "x"}
        ])
    );
    // Across files and from a stream.
    bench.write("a.fasta", ">x\nMKT\n");
    bench.write("b.fasta", ">x\nMKG\n");
    for (name, ended) in [
        (
            "two",
            bench.run("a.fasta b.fasta --model $MODEL --out two -q"),
        ),
        (
            "stream",
            bench.pipe("a.fasta - --model $MODEL --out stream -q", b">x\nMKG\n"),
        ),
    ] {
        assert!(
            ended.err.starts_with(
                "warning: 1 record has the id of an earlier record and another sequence; \
                 the first is `x` in row 1. "
            ),
            "{name}: {}",
            ended.err
        );
    }
    // One sequence under one id may occur any number of times.
    bench.write("same.fasta", ">x\nMKT\n>x\nmkt*\n>y\nMKT\n>X\nMKA\n");
    let ended = bench.run("same.fasta --model $MODEL --out same -q --on-duplicate-id fail");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(bench.recorded("same", "/counts/reused_ids"), 0);
}

#[test]
fn an_id_with_different_sequences_can_fail_the_run_before_it_begins() {
    let bench = Bench::new();
    bench.write("a.fasta", ">x\nMKT\n");
    bench.write("b.fasta", ">z\nMKT\n>x\nMKG\n");
    let error = "b.fasta, line 3, record 2 (x): an earlier record has the same id and another \
                 sequence, which --on-duplicate-id fail does not allow\n\
                 \x20 hint: make the ids unique, or leave out --on-duplicate-id: index.tsv tells \
                 the records apart by row";
    for more in ["", "--shard 1/2", "--shard 2/2", "--dry-run", "--resume"] {
        let line = format!("a.fasta b.fasta --model $MODEL --on-duplicate-id fail {more}");
        assert_fails(&bench, &line, error);
    }
    assert_eq!(bench.names("."), ["a.fasta", "b.fasta"]);
    // A stream fails at that record, and nothing looks finished.
    let line = "- --model $MODEL --out stream --on-duplicate-id fail -q";
    let ended = bench.pipe(line, REUSED.as_bytes());
    assert_eq!(ended.code, 1);
    assert!(
        ended
            .err
            .contains("<stdin>, line 7, record 4 (x): an earlier record has the same id"),
        "{}",
        ended.err
    );
    assert!(!exists(&bench.path("stream/run.json")));
}

#[test]
fn a_shard_compares_its_own_ids_and_merge_compares_all() {
    let bench = Bench::new();
    let gene = "ATGAAACGCATTAGCACCACCATTACCACCACCATCACCATTACCACAGGTAACGGTGCG";
    let text = fasta([
        ("x", "MKTAYIAKQR"),
        ("cds", gene),
        ("x", "MKTAYIAKQRQ"),
        ("gaps", "MK--T\u{200b}A."),
        ("x", "MKTAYIAKQRQISF"),
        ("masks", "MK<mask>T"),
    ]);
    bench.write("in.fasta", text);
    let options = "--model $MODEL -q";
    bench.run(&format!("in.fasta --out whole {options}"));
    let mut shards = Vec::new();
    for i in 1..=3 {
        let ended = bench.run(&format!("in.fasta --out s{i} --shard {i}/3 {options}"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let reused = bench.recorded(&format!("s{i}"), "/counts/reused_ids");
        let warned = "hint: only the records of this shard were compared; merging compares all";
        assert_eq!(ended.err.contains(warned), reused != 0, "{}", ended.err);
        shards.push(format!("s{i}"));
    }
    let mut command = bench.command();
    let merged = ended(
        command
            .arg("merge")
            .args(&shards)
            .args(["--out", "merged", "-q"]),
    );
    assert_eq!(merged.code, 0, "{}", merged.err);
    assert!(
        merged
            .err
            .starts_with("warning: 2 records have the id of an earlier record"),
        "{}",
        merged.err
    );
    let (whole, merged) = (bench.tree("whole"), bench.tree("merged"));
    for (name, bytes) in &whole {
        assert!(merged.get(name) == Some(bytes), "{name}");
    }
    assert_eq!(whole.len(), merged.len());
    assert_eq!(
        ids(&bench, "merged"),
        ["x", "cds", "x", "gaps", "x", "masks"]
    );
}
