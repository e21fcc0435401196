//! `export` and `report`, killed at each system call that changes something.

use crate::bench::*;
use crate::tools;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

fn bench() -> Bench {
    let bench = Bench::in_memory();
    bench.write("in.fasta", ">p\nMKTAYIAKQRGS\n>q\nGSHMLE\n");
    bench.embed("in.fasta --model $MODEL --out emb");
    bench
}

fn call(bench: &Bench, wrapper: &[&str], line: &str) -> Output {
    let words = wrapper.iter().chain(&[env!("CARGO_BIN_EXE_esm-embed")]);
    let words: Vec<&str> = words.copied().chain(line.split_whitespace()).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(bench.path("."));
    command.output().unwrap()
}

/// Wherever it is killed, the output has the bytes of an undisturbed one or is not there, and the next
/// call ends as if nothing had happened.
fn killed_at_each(line: &str, out: &str, calls: &[(&str, u32)]) {
    let bench = bench();
    assert!(call(&bench, &[], line).status.success());
    let whole = bench.tree(".");
    assert!(whole.keys().any(|name| name.starts_with(out)));
    let is_out = |name: &str| name == out || name.starts_with(&format!("{out}/"));
    for (name, least) in calls {
        let mut number = 0;
        loop {
            number += 1;
            let path = bench.path(out);
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
            let ended = tools::with_fault(name, "signal=SIGKILL", number, |strace| {
                call(&bench, strace, line)
            });
            if ended.status.signal() != Some(9) {
                assert!(ended.status.success(), "{name} {number}: {ended:?}");
                break;
            }
            for (file, bytes) in bench.tree(".") {
                if is_out(&file) {
                    assert!(Some(&bytes) == whole.get(&file), "{name} {number}: {file}");
                }
            }
            if path.exists() {
                let found = bench.tree(".").keys().filter(|file| is_out(file)).count();
                let all = whole.keys().filter(|file| is_out(file)).count();
                assert_eq!(found, all, "{name} {number}");
            }
            let again = call(&bench, &[], &format!("{line} --force"));
            assert!(again.status.success(), "{name} {number}: {again:?}");
            let mut tree = bench.tree(".");
            // A file without a name, killed before it lost the one that it was made with.
            tree.retain(|name, _| !name.starts_with(".esm-embed-"));
            assert!(tree == whole, "{name} {number}: {:?}", tree.keys());
        }
        assert!(number > *least, "{name}: {number}");
    }
}

const CALLS: [(&str, u32); 3] = [("write", 1), ("rename", 1), ("fsync", 1)];

#[test]
fn h5_killed_at_each_call() {
    if tools::has_strace() {
        killed_at_each("export emb --to h5 --out x.h5 -q", "x.h5", &CALLS);
    }
}

#[test]
fn pt_killed_at_each_call() {
    if tools::has_strace() {
        let calls = [("write", 1), ("rename", 1), ("mkdir", 1), ("fsync", 1)];
        killed_at_each("export emb --to pt --out x -q", "x", &calls);
    }
}

#[test]
fn a_disk_without_space_is_reported_once_and_leaves_nothing() {
    let bench = bench();
    let long = format!(">long\n{}\n", "MKTAYIAKQR".repeat(40));
    bench.write("in.fasta", &long);
    bench.embed("in.fasta --model $MODEL --out long");
    let before = bench.names(".");
    for (format, options, blocks) in [
        ("h5", "", 0),
        ("safetensors", "", 0),
        ("parquet", "", 0),
        ("pt", "", 0),
        ("csv", "", 0),
        ("npz", "", 0),
        ("skbio", "", 0),
        // In the middle of the numbers.
        ("h5", "--residues", 40),
        ("pt", "--residues", 40),
        ("npz", "--residues", 40),
    ] {
        let limited = format!("ulimit -f {blocks}; exec \"$@\"");
        let line = format!("export long --to {format} --out x -q {options}");
        let ended = call(&bench, &["sh", "-c", &limited, "sh"], &line);
        let file = if format == "pt" { "x.new/long.pt" } else { "x" };
        let expected = format!("error: writing {file}: File too large (os error 27)\n");
        let said = String::from_utf8_lossy(&ended.stderr);
        let found = (ended.status.code(), &*said);
        assert_eq!(found, (Some(1), &*expected), "{line}");
        assert_eq!(bench.names("."), before, "{line}");
    }
}

#[test]
fn a_signal_ends_an_export_and_leaves_nothing() {
    if !tools::has_strace() {
        return;
    }
    let bench = bench();
    let before = bench.names(".");
    let mut stopped = 0;
    for number in 1..60 {
        let ended = tools::with_fault("read", "signal=SIGTERM", number, |strace| {
            call(&bench, strace, "export emb --to csv --out x.csv -q")
        });
        match (ended.status.code(), ended.status.signal()) {
            // Not listened for yet.
            (None, Some(15)) => {}
            (Some(0), None) => std::fs::remove_file(bench.path("x.csv")).unwrap(),
            (Some(143), None) => {
                let said = String::from_utf8_lossy(&ended.stderr);
                assert_eq!(said, "warning: stopped: x.csv is not written\n");
                stopped += 1;
            }
            other => panic!("{number}: {other:?}"),
        }
        assert_eq!(bench.names("."), before, "{number}");
    }
    assert!(stopped > 0);
}
