//! The same input and options give the same bytes, whatever the threads, the budget, the batches and
//! the order of the records.

use crate::bench::*;
use std::collections::BTreeMap;

/// Records of many lengths, some repeated, some with letters that are not residues.
fn records() -> Vec<(String, String)> {
    let lengths = [
        1, 2, 3, 5, 14, 15, 16, 17, 30, 31, 33, 62, 64, 65, 66, 100, 127, 254, 300, 511, 700, 1100,
    ];
    let mut records = Vec::new();
    for (k, &length) in (0..).zip(&lengths) {
        records.push((format!("s{length}"), sequence(k, length)));
        records.push((format!("t{length}"), sequence(1000 + k, length)));
    }
    records.push(("again".to_owned(), sequence(20, 700)));
    records.push(("mask".to_owned(), format!("MK<mask>{}", sequence(7, 40))));
    records.push(("odd".to_owned(), "MXBZUOJ.-*k*".to_owned()));
    records.push(("long".to_owned(), sequence(8, 1500)));
    records
}

fn text(records: &[(String, String)]) -> String {
    fasta(records.iter().map(|(id, s)| (id.as_str(), s.as_str())))
}

const OPTIONS: &str = "--model $MODEL --layer 0,1,2 --pool mean,bos,max -q";

fn embed(bench: &Bench, line: &str) {
    let ended = bench.run(&format!("{line} {OPTIONS}"));
    assert_eq!(ended.code, 0, "{line}: {}", ended.err);
}

const WAYS: [&str; 13] = [
    "--threads 1",
    "--threads 2",
    "--threads 3",
    "--threads 1 --max-tokens 1",
    "--threads 3 --max-tokens 1",
    "--threads 1 --max-tokens 64",
    "--threads 2 --max-tokens 64",
    "--threads 1 --max-tokens 4096",
    "--threads 3 --max-tokens 4096",
    "--threads 2 --max-tokens 1000000",
    "--threads 1 --deterministic",
    "--threads 3 --deterministic",
    "--threads 2 --deterministic --max-tokens 64",
];

fn assert_every_way(more: &str) {
    let bench = Bench::new();
    bench.write("in.fasta", text(&records()));
    embed(&bench, &format!("in.fasta --out usual {more}"));
    let usual = bench.tree("usual");
    assert!(usual.contains_key("run.json"));
    for (i, way) in WAYS.iter().enumerate() {
        embed(&bench, &format!("in.fasta --out way{i} {more} {way}"));
        let files = bench.tree(&format!("way{i}"));
        assert!(files.keys().eq(usual.keys()), "{way} {more}");
        for (name, bytes) in &files {
            assert!(*bytes == usual[name], "{way} {more}: {name}");
        }
    }
}

#[test]
fn every_file_is_the_same_with_packed_residues() {
    assert_every_way("");
}

#[test]
fn every_file_is_the_same_with_residue_files() {
    assert_every_way("--residues files");
}

#[test]
fn every_file_is_the_same_with_windows_and_half_precision() {
    assert_every_way("--residues files --long window:64:16 --out-dtype f16");
}

#[test]
fn every_file_is_the_same_with_weights_in_half_precision() {
    assert_every_way("--dtype bf16");
}

/// Everything written about each record, by its identifier.
fn by_id(bench: &Bench, folder: &str) -> BTreeMap<String, Vec<Vec<u32>>> {
    let index = bench.text(&format!("{folder}/index.tsv"));
    let mut all: BTreeMap<String, Vec<Vec<u32>>> = BTreeMap::new();
    for layer in 0..3 {
        let residues = bench.matrix(&format!("{folder}/residues.layer{layer}.npy"));
        let mut offset = 0;
        for fields in rows(&index) {
            let length: usize = fields[2].parse().unwrap();
            assert_eq!(fields[3].parse(), Ok(offset));
            let own = all.entry(fields[1].to_owned()).or_default();
            own.push(bits(&residues, offset..offset + length));
            offset += length;
        }
        assert_eq!(residues.nrows(), offset);
        for pool in ["mean", "bos", "max"] {
            let matrix = bench.matrix(&format!("{folder}/{pool}.layer{layer}.npy"));
            for (row, fields) in rows(&index).iter().enumerate() {
                let own = all.get_mut(fields[1]).unwrap();
                own.push(bits(&matrix, row..row + 1));
            }
        }
    }
    all
}

#[test]
fn the_order_of_the_records_changes_no_bit() {
    let bench = Bench::new();
    let mut records = records();
    bench.write("in.fasta", text(&records));
    embed(&bench, "in.fasta --out usual");
    let usual = by_id(&bench, "usual");
    assert_eq!(usual.len(), records.len());

    records.reverse();
    bench.write("reversed.fasta", text(&records));
    embed(&bench, "reversed.fasta --out reversed --max-tokens 300");
    assert!(by_id(&bench, "reversed") == usual);

    // Every seventh record first, then the others: neighbours change everywhere.
    let step = |k: usize| records.iter().skip(k).step_by(7).cloned();
    let mixed: Vec<_> = (0..7).rev().flat_map(step).collect();
    bench.write("mixed.fasta", text(&mixed));
    embed(&bench, "mixed.fasta --out mixed --threads 3");
    assert!(by_id(&bench, "mixed") == usual);

    // Only half of them.
    let half: Vec<_> = records.iter().step_by(2).cloned().collect();
    bench.write("half.fasta", text(&half));
    embed(&bench, "half.fasta --out half");
    for (id, rows) in by_id(&bench, "half") {
        assert!(rows == usual[&id], "{id}");
    }
}

#[test]
fn files_and_a_stream_give_the_same_table_and_matrices() {
    let bench = Bench::new();
    let records = records();
    bench.write("in.fasta", text(&records));
    embed(&bench, "in.fasta --out whole");
    let (first, rest) = records.split_at(17);
    bench.write("first.fasta", text(first));
    bench.write("rest.fasta", text(rest));
    embed(&bench, "first.fasta rest.fasta --out parts");
    let stream = bench.pipe(
        &format!("- --out stream {OPTIONS}"),
        text(&records).as_bytes(),
    );
    assert_eq!(stream.code, 0, "{}", stream.err);
    let mut whole = bench.tree("whole");
    whole.remove("run.json");
    assert_eq!(whole.len(), 14);
    for folder in ["parts", "stream"] {
        let mut files = bench.tree(folder);
        files.remove("run.json");
        assert!(files == whole, "{folder}");
    }
}

/// In other tools, `[short]`, `[short, short]` and `[short, long]` give different numbers for `short`.
#[test]
fn a_short_sequence_by_itself_twice_and_beside_a_long_one() {
    let bench = Bench::new();
    let (short, long) = (sequence(3, 145), sequence(4, 607));
    bench.write("single.fasta", fasta([("short", &*short)]));
    bench.write("twice.fasta", fasta([("short", &*short), ("copy", &short)]));
    bench.write("both.fasta", fasta([("long", &*long), ("short", &short)]));
    for name in ["single", "twice", "both"] {
        embed(&bench, &format!("{name}.fasta --out {name} --threads 1"));
    }
    let (single, twice, both) = (
        by_id(&bench, "single"),
        by_id(&bench, "twice"),
        by_id(&bench, "both"),
    );
    assert!(twice["short"] == single["short"]);
    assert!(twice["copy"] == single["short"]);
    assert!(both["short"] == single["short"]);
}
