//! GPUs with little memory.

use crate::bench::{Bench, messages, sequence};
use crate::command::*;

const OPTIONS: &str = "in.fasta --model $MODEL --device cuda --layer 2 --pool mean --threads 2";

/// FASTA of `records` short records.
fn short(records: u64) -> String {
    (0..records)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 20 + i as usize % 23)))
        .collect()
}

/// Slabs of 4,224 rows, which take little time.
const SLABS: Variable<'static> = ("STAND_IN_MULTIPROCESSORS", "33");

/// A GPU with this much memory, in MiB.
fn gpu(memory: &str) -> [Variable<'_>; 2] {
    [SLABS, ("STAND_IN_MEMORY_MIB", memory)]
}

/// More memory than any of these runs needs.
const PLENTY: [Variable<'static>; 2] = [SLABS, ("STAND_IN_MEMORY_MIB", "4096")];

/// The error of a GPU without enough memory.
const NONE_LEFT: &str = "the GPU has no memory left for ";

/// With any amount of memory, a run gives the same bytes, or reports that memory ran out.
#[test]
fn the_bytes_are_the_same_with_any_amount_of_memory() {
    let bench = Bench::new();
    bench.write("in.fasta", short(40));
    let line = format!("{OPTIONS} --max-tokens 200");
    embed(&bench, &PLENTY, &format!("{line} --out plenty"));
    let plenty = bench.tree("plenty");
    let mut done = 0;
    for memory in ["0", "1", "2", "5", "6", "7", "8", "9", "12", "24"] {
        let line = format!("run {line} --out m{memory} -q");
        let ended = run(&bench, &gpu(memory), &line);
        if ended.code == 0 {
            assert!(bench.tree(&format!("m{memory}")) == plenty, "{memory} MiB");
            done += 1;
        } else {
            assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
            assert!(ended.err.contains(NONE_LEFT), "{memory} MiB: {}", ended.err);
            assert_eq!(messages(&ended.err), 1, "{}", ended.err);
            assert_eq!(done, 0, "{memory} MiB fail where less was enough");
        }
    }
    assert!(done >= 4, "{done}");
    // Without stream-ordered memory, and with little pinned memory.
    for (number, variables) in [
        [
            SLABS,
            ("STAND_IN_POOLS", "0"),
            ("STAND_IN_MEMORY_MIB", "12"),
        ],
        [
            SLABS,
            ("STAND_IN_PINNED_MIB", "20"),
            ("STAND_IN_WORK", "now"),
        ],
    ]
    .iter()
    .enumerate()
    {
        embed(&bench, variables, &format!("{line} --out o{number}"));
        assert!(bench.tree(&format!("o{number}")) == plenty, "{variables:?}");
    }
}

/// A batch of two slabs that does not fit is split.
#[test]
fn a_batch_that_does_not_fit_is_split() {
    let bench = Bench::new();
    bench.write("in.fasta", short(150));
    let line = format!("{OPTIONS} --max-tokens 8000");
    embed(&bench, &PLENTY, &format!("{line} --out plenty"));
    embed(&bench, &gpu("9"), &format!("{line} --out little"));
    assert!(bench.tree("little") == bench.tree("plenty"));
}

/// If the inner feed-forward layer of a slab fits the cache, it is computed slab by slab.
#[test]
fn the_bytes_are_the_same_with_any_cache() {
    let bench = Bench::new();
    bench.write("in.fasta", short(60));
    // One batch of seven slabs of 256 rows and a smaller piece.
    for cache in ["0", "50"] {
        let variables = [
            ("STAND_IN_MULTIPROCESSORS", "2"),
            ("STAND_IN_CACHE_MIB", cache),
        ];
        let line = format!("{OPTIONS} --max-tokens 3000 --out c{cache}");
        embed(&bench, &variables, &line);
    }
    assert!(bench.tree("c0") == bench.tree("c50"));
}

/// By default, the batch size follows the GPU's memory, and no bit depends on it.
#[test]
fn batches_grow_with_the_memory() {
    let bench = Bench::new();
    bench.write("in.fasta", short(150));
    embed(
        &bench,
        &PLENTY,
        &format!("{OPTIONS} --max-tokens 500 --out small"),
    );
    // Up to four slabs, each of 128 rows per multiprocessor.
    for (residues, memory, tokens) in [
        ("none", "8192", "16,896"),
        ("packed", "8192", "16,896"),
        ("none", "12", "4,224"),
        ("none", "24", "8,448"),
        ("none", "4096", "16,896"),
    ] {
        let out = format!("{residues}{memory}");
        let line = format!("run {OPTIONS} --residues {residues} --out {out}");
        let ended = run(&bench, &gpu(memory), &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let said = format!(", {tokens} tokens per batch");
        assert!(ended.err.contains(&said), "{memory} MiB: {}", ended.err);
        let mean =
            |out: &str| std::fs::read(bench.path(&format!("{out}/mean.layer2.npy"))).unwrap();
        assert!(mean(&out) == mean("small"), "{out}");
    }
}

#[test]
fn host_memory_is_not_called_gpu_memory() {
    let bench = Bench::new();
    bench.write("in.fasta", short(3));
    let of = |pinned, out: &str| {
        let variables = [SLABS, ("STAND_IN_PINNED_MIB", pinned)];
        run(&bench, &variables, &format!("run {OPTIONS} --out {out} -q"))
    };
    // Less than a step of it is enough for three short records.
    let little = of("2", "little");
    assert_eq!(little.code, 0, "{}", little.err);
    let none = of("0", "none");
    assert_eq!((none.code, &*none.out), (1, ""), "{}", none.err);
    let why = "the machine has no pinned memory left for ";
    assert!(none.err.contains(why), "{}", none.err);
    assert!(none.err.contains(" of results"), "{}", none.err);
}

#[test]
fn a_record_too_large_for_the_gpu_is_named() {
    let bench = Bench::new();
    let giant = sequence(9, 50_000);
    let text = format!(">a\nMKTAY\n>giant\n{giant}\n>b\nMKVVL\n");
    bench.write("in.fasta", text);
    let ended = run(&bench, &gpu("10"), &format!("run {OPTIONS} --out emb -q"));
    assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
    assert!(ended.err.contains("giant"), "{}", ended.err);
    assert!(ended.err.contains(NONE_LEFT), "{}", ended.err);
}
