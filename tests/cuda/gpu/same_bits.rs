//! A record's rows have the same bits in any batch, order and budget.

use crate::bench::{Bench, rows};
use crate::command::*;
use std::collections::BTreeMap;

/// The bits of every row that a run wrote for each record.
pub fn bits(bench: &Bench, folder: &str) -> BTreeMap<String, Vec<Vec<u32>>> {
    let index = bench.text(&format!("{folder}/index.tsv"));
    let header: Vec<&str> = index.lines().next().unwrap().split('\t').collect();
    let column = |name: &str| header.iter().position(|found| *found == name).unwrap();
    let names = bench.names(folder);
    let mut all: BTreeMap<String, Vec<Vec<u32>>> = BTreeMap::new();
    for name in names.iter().filter(|name| is_matrix(name)) {
        let matrix = bench.matrix(&format!("{folder}/{name}"));
        for record in rows(&index) {
            let number = |name: &str| record[column(name)].parse::<usize>().unwrap();
            let range = match name.starts_with("residues") || name == "logits.npy" {
                true => {
                    let start = number("residue_offset");
                    start..start + number("length")
                }
                false => number("row")..number("row") + 1,
            };
            let found = crate::bench::bits(&matrix, range);
            all.entry(record[column("id")].to_owned())
                .or_default()
                .push(found);
        }
    }
    all
}

const OPTIONS: &str = "--model $esm2_hd24 --layer 1,3 --pool mean,bos,max --device cuda";

fn assert_every_way(dtype: &str) {
    let bench = tested_bench();
    let mut all = records();
    bench.write("usual.fasta", text(&all));
    all.reverse();
    bench.write("reversed.fasta", text(&all));
    all.rotate_left(7);
    all.swap(1, 13);
    bench.write("mixed.fasta", text(&all));
    let run = |number: usize, input: &str, more: &str| {
        let line = format!("{input} {OPTIONS} --dtype {dtype} --out o{number} {more}");
        embed(&bench, &[], &line);
        bits(&bench, &format!("o{number}"))
    };
    let usual = run(0, "usual.fasta", "");
    assert_eq!(usual.len(), all.len());
    let ways = [
        ("reversed.fasta", ""),
        ("mixed.fasta", "--max-tokens 100"),
        ("usual.fasta", "--max-tokens 700 --threads 3"),
        ("reversed.fasta", "--deterministic"),
    ];
    for (number, (input, more)) in (1..).zip(ways) {
        let found = run(number, input, more);
        for (id, rows) in &usual {
            assert!(found[id] == *rows, "{dtype}, {input} {more}: {id}");
        }
    }
}

#[test]
fn half_precision() {
    assert_every_way("f16");
}

#[test]
fn bfloat16() {
    assert_every_way("bf16");
}

#[test]
fn single_precision() {
    assert_every_way("f32");
}
