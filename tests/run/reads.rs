//! How often the input is read.

use crate::bench::*;
use crate::tools;
use assert_cmd::Command;

/// Bytes of each input: records of 20 bytes and headers of 279 bytes, so that embedding takes no time.
const SIZE: u64 = 300 * 1000;

/// What opening an input reads to find out how it is compressed.
const FIRST_BYTES: u64 = 1 << 16;

/// How often a command opens the inputs, and the bytes that it reads of them.
fn reads(bench: &Bench, inputs: &[&str], line: &str) -> (usize, u64) {
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-o",
        "log",
        "-e",
        "trace=openat,read,pread64,readv,mmap",
    ]);
    for input in inputs {
        command.arg("-P").arg(bench.path(input));
        command.args(["-P", input]);
    }
    command.arg(env!("CARGO_BIN_EXE_esm-embed")).arg("run");
    command.args(inputs);
    let options = format!("--model $MODEL --pool mean --residues none -q {line}");
    command.args(options.split_whitespace().map(expand));
    let ended = ended(command.current_dir(bench.path(".")));
    assert_eq!(ended.code, 0, "{line}: {}", ended.err);
    let log = bench.text("log");
    let mapped = log.lines().any(|line| line.contains("mmap("));
    assert!(
        !mapped,
        "{line}: the input was mapped, which this test does not count"
    );
    let result = |line: &str| line.rsplit_once(" = ")?.1.parse::<u64>().ok();
    let opened = log.lines().filter(|line| line.contains("openat("));
    let read = log.lines().filter(|line| !line.contains("openat("));
    (opened.count(), read.filter_map(result).sum())
}

/// One pass before anything is written, and one while records are embedded: of a shard too, and
/// whatever is checked. A forecast needs the first one only.
#[test]
fn an_input_is_read_at_most_twice() {
    if !tools::has_strace() {
        return;
    }
    let bench = Bench::new();
    let text: String = (0..1000)
        .map(|i| format!(">{i:0278}\n{}\n", &sequence(i, 19)))
        .collect();
    assert_eq!(text.len() as u64, SIZE);
    for name in ["a.fasta", "b.fasta"] {
        bench.write(name, &text);
    }
    for (inputs, line, passes) in [
        (&["a.fasta"][..], "--out whole", 2),
        (&["a.fasta"], "--out whole --resume", 1),
        (&["a.fasta", "b.fasta"], "--out both", 2),
        (&["a.fasta"], "--out ids --on-duplicate-id fail", 2),
        (&["a.fasta"], "--out skip --on-invalid skip --gaps drop", 2),
        (&["a.fasta"], "--out shard --shard 2/3", 2),
        (&["a.fasta"], "--out shard --shard 2/3 --resume", 1),
        (
            &["a.fasta", "b.fasta"],
            "--out shards --shard 1/2 --on-duplicate-id fail",
            2,
        ),
        (&["a.fasta"], "--out none --dry-run", 1),
        (&["a.fasta"], "--out none --dry-run --shard 3/3", 1),
    ] {
        let (opened, bytes) = reads(&bench, inputs, line);
        let count = inputs.len() as u64;
        let size = count * SIZE;
        assert!(bytes >= passes * size, "{line}: {bytes} bytes of {size}");
        // One more opens it to see that it can be.
        let limit = passes * size + count * FIRST_BYTES;
        assert!(bytes <= limit, "{line}: {bytes} bytes of {size}");
        assert_eq!(opened as u64, (passes + 1) * count, "{line}");
    }
}
