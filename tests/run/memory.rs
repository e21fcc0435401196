//! A hard limit on memory: what is too large for it is named before any work, and left out if that
//! was asked for.

use crate::common::fixture;
use crate::support::*;
use std::fmt::Write;

/// Runs under `ulimit -v`, in KiB.
fn run_within(bench: &Bench, kib: u64, line: &str) -> Ended {
    let mut command = assert_cmd::Command::new("sh");
    let limit = format!("ulimit -v {kib}; exec \"$@\"");
    command
        .args(["-c", &limit, "sh"])
        .arg(env!("CARGO_BIN_EXE_esm-embed"))
        .args(["run", "--model"])
        .arg(fixture("esm2_hd16"))
        .args(line.split_whitespace())
        .current_dir(bench.path(""))
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    ended(&mut command)
}

/// Two usual records around one of three million residues.
fn bench() -> Bench {
    let bench = Bench::new();
    let mut text = ">a\nMKTAYIAKQR\n>huge protein\n".to_owned();
    for _ in 0..50_000 {
        writeln!(text, "{}", "ACDEFGHIKLMNPQRSTVWY".repeat(3)).unwrap();
    }
    text += ">b\nMKV\n";
    bench.write("in.fasta", text);
    bench
}

const LIMIT: u64 = 3 << 19;

#[test]
fn a_record_too_large_is_named_before_any_work() {
    let bench = bench();
    let ended = run_within(
        &bench,
        LIMIT,
        "in.fasta --out emb --threads 2 -q --cpu-path portable",
    );
    assert_eq!(ended.code, 1, "{}", ended.err);
    let start = "esm-embed: error: in.fasta, line 3, record 2 (huge): the sequence has 3000000 \
                 residues, for which about 3.2 GiB of memory are needed, and ";
    let end = " left beside the model (ulimit -v); raise the limit, or choose --long window or \
               --long truncate. Or pass --on-invalid skip to leave such records out and list \
               them in skipped.tsv\n";
    assert!(ended.err.starts_with(start), "{}", ended.err);
    assert!(ended.err.ends_with(end), "{}", ended.err);
    assert!(!exists(&bench.path("emb")));
}

#[test]
fn a_record_too_large_is_left_out_and_the_rest_is_done() {
    let bench = bench();
    let line = "in.fasta --out emb --threads 2 -q --on-invalid skip";
    let ended = run_within(&bench, LIMIT, line);
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert_eq!(
        bench.text("emb/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n0\ta\t10\t0\t\t\n1\tb\t3\t10\t\t\n"
    );
    assert_eq!(
        bench.text("emb/skipped.tsv"),
        "file\tline\trecord\tid\treason\nin.fasta\t3\t2\thuge\tthe sequence has 3000000 residues, \
         which take more memory than there was\n"
    );
    // In windows it needs no more than others.
    bench.write("short.fasta", ">a\nMKTAYIAKQR\n>b\nMKV\n");
    bench.embed("short.fasta --model $MODEL --out short");
    let row = |folder: &str| bench.row(&format!("{folder}/mean.layer2.npy"), 1);
    assert_eq!(row("emb"), row("short"));
}

#[test]
fn a_usual_input_runs_within_a_gibibyte_and_a_half() {
    let bench = Bench::new();
    let text: String = (0..60)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 1 + (i as usize * 137) % 2400)))
        .collect();
    bench.write("in.fasta", text);
    for threads in [1, 4] {
        let line = format!("in.fasta --out emb{threads} --threads {threads} -q");
        let ended = run_within(&bench, LIMIT, &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    assert!(bench.tree("emb1") == bench.tree("emb4"));
}

#[test]
fn a_model_that_does_not_fit_is_said() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKT\n");
    let ended = run_within(&bench, 60 << 10, "in.fasta --out emb --threads 1 -q");
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(
        ended.err.contains(
            "this process may use 60.0 MiB (ulimit -v). Raise the limit, choose a smaller model, \
             or keep the weights in half the memory with --dtype f16\n"
        ),
        "{}",
        ended.err
    );
}
