//! `score`, killed at each system call that changes something, and resumed.

use crate::bench::*;
use crate::tools;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

const LINE: &str = "p.fasta --variants v.csv --out s.csv --landscape all --model $MODEL --threads 1 \
                    --max-tokens 40 --on-invalid skip --resume -q";

fn bench() -> Bench {
    let bench = Bench::in_memory();
    bench.write("p.fasta", ">p\nMKTAYIAKQRGS\n>q\nGSHMLE\n");
    bench.write("v.csv", "mutant,id\nM1A,p\nG1A:S2K,q\nM1J,p\n");
    bench
}

fn score(bench: &Bench, wrapper: &[&str]) -> Output {
    let words = wrapper.iter().map(|word| word.to_string());
    let program = [env!("CARGO_BIN_EXE_esm-embed"), "score"].map(str::to_owned);
    let line = format!("{LINE} --sequence-col id");
    let line: Vec<String> = line.split_whitespace().map(expand).collect();
    let words: Vec<String> = words.chain(program).chain(line).collect();
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .current_dir(bench.path("."))
        .env_clear()
        .env("HF_HUB_OFFLINE", "1")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.output().unwrap()
}

fn remove_outputs(bench: &Bench) {
    for name in ["s.csv", "s.csv.partial", "s.skipped.tsv", "s.csv.new"] {
        let _ = std::fs::remove_file(bench.path(name));
    }
    let _ = std::fs::remove_dir_all(bench.path("all"));
}

/// Wherever it is killed, the table is there only if it is complete, and the resumed run ends with the
/// bytes of an undisturbed one.
#[test]
fn killed_at_each_call() {
    if !tools::has_strace() {
        return;
    }
    let bench = bench();
    assert_eq!(score(&bench, &[]).status.code(), Some(3));
    let whole = bench.tree(".");
    for name in ["s.csv", "s.skipped.tsv", "all/landscape.json"] {
        assert!(whole.contains_key(name), "{name}");
    }
    for (call, least) in [
        ("write", 5),
        ("openat", 20),
        ("rename", 5),
        ("unlink", 1),
        ("mkdir", 2),
    ] {
        for number in 1.. {
            remove_outputs(&bench);
            let what = format!("killed at {call} number {number}");
            let killed = tools::with_fault(call, "signal=SIGKILL", number, |strace| {
                score(&bench, strace)
            });
            if killed.status.code() == Some(3) {
                assert!(number > least, "{call}: only {number}");
                break;
            }
            assert_eq!(killed.status.signal(), Some(9), "{what}: {killed:?}");
            if exists(&bench.path("s.csv")) {
                assert!(bench.bytes("s.csv") == whole["s.csv"], "{what}");
            }
            // Only the removal of the journal comes after the table.
            if !exists(&bench.path("s.csv")) || exists(&bench.path("s.csv.partial")) {
                let ended = score(&bench, &[]);
                assert_eq!(ended.status.code(), Some(3), "{what}: {ended:?}");
            }
            assert!(bench.tree(".") == whole, "{what}");
        }
    }
}
