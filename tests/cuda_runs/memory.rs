//! Cards with little memory.

use crate::card::*;
use crate::support::{Bench, sequence};

const OPTIONS: &str = "in.fasta --model $esm2_hd64 --device cuda --layer 2 --pool mean --threads 2";

/// Bytes of the run apart from what differs by the batches: nothing.
fn files(bench: &Bench, variables: &[Variable<'_>], out: &str) -> Vec<u8> {
    embed(
        bench,
        variables,
        &format!("{OPTIONS} --max-tokens 60000 --out {out}"),
    );
    let mut all = Vec::new();
    for (name, bytes) in bench.tree(out) {
        all.extend(name.into_bytes());
        all.extend(bytes);
    }
    all
}

/// A batch that does not fit is split, and later ones too, until they do.
#[test]
#[ignore = "needs a card of little memory"]
fn batches_are_split_until_they_fit() {
    let bench = Bench::new();
    let text: String = (0..120)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 400 + i as usize % 7)))
        .collect();
    bench.write("in.fasta", text);
    let plenty = files(&bench, &[], "plenty");
    for memory in ["64", "72", "96", "128"] {
        let little = files(&bench, &[("STAND_IN_MEMORY_MIB", memory)], memory);
        assert!(little == plenty, "{memory} MiB");
    }
    let little = files(&bench, &[("STAND_IN_PINNED_MIB", "40")], "pinned");
    assert!(little == plenty, "pinned");
    // Without stream-ordered memory.
    let variables = [("STAND_IN_POOLS", "0"), ("STAND_IN_MEMORY_MIB", "72")];
    assert!(
        files(&bench, &variables, "pools") == plenty,
        "without pools"
    );
}

#[test]
#[ignore = "needs a card of little memory"]
fn a_giant_that_fits_alone_is_embedded() {
    let bench = Bench::new();
    let giant = sequence(9, 20_000);
    let text = format!(">a\nMKTAY\n>giant\n{giant}\n>b\nMKVVL\n");
    bench.write("in.fasta", text);
    let plenty = files(&bench, &[], "plenty");
    let little = files(&bench, &[("STAND_IN_MEMORY_MIB", "104")], "little");
    assert!(little == plenty);
}

#[test]
#[ignore = "needs a card of little memory"]
fn a_giant_that_does_not_fit_is_named() {
    let bench = Bench::new();
    let giant = sequence(9, 50_000);
    bench.write(
        "in.fasta",
        format!(">a\nMKTAY\n>giant\n{giant}\n>b\nMKVVL\n"),
    );
    let ended = run(
        &bench,
        &[("STAND_IN_MEMORY_MIB", "104")],
        &format!("run {OPTIONS} --out emb -q"),
    );
    assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
    assert!(ended.err.contains("giant"), "{}", ended.err);
    assert!(
        ended.err.contains("the card has no memory left for"),
        "{}",
        ended.err
    );
}

#[test]
#[ignore = "needs a card of little memory"]
fn a_model_that_does_not_fit_is_refused() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKTAY\n");
    for memory in ["0", "1", "2", "20"] {
        let variables = [("STAND_IN_MEMORY_MIB", memory)];
        let ended = run(&bench, &variables, &format!("run {OPTIONS} --out emb -q"));
        assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
        assert!(
            ended.err.contains("the card has no memory left for"),
            "{memory} MiB: {}",
            ended.err
        );
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    }
}
