//! Version, help, wrong usage, and options of other tools.

use crate::bench::*;

/// Ends with 2, prints nothing on standard output and says this on standard error.
pub fn assert_usage(line: &str, says: &str) {
    let ended = Bench::new().call(line);
    assert_eq!(ended.code, 2, "{line}: {}", ended.err);
    assert_eq!(ended.out, "", "{line}");
    assert!(ended.err.contains(says), "{line}: {}", ended.err);
    assert!(ended.err.contains("--help"), "{line}: {}", ended.err);
}

#[test]
fn the_version_is_one_line() {
    let ended = Bench::new().call("--version");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert_eq!(
        ended.out,
        format!("esm-embed {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_shows_the_example_and_every_command() {
    let ended = Bench::new().call("--help");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    for text in [
        "  esm-embed run proteins.fasta --out emb/\n",
        "\n  run ",
        "\n  fetch ",
        "\n  models ",
        "\n  inspect ",
        "\n  merge ",
        "\n  verify ",
        "\n  doctor ",
        "\n  template ",
        "Exit status:\n  0        success\n  1        failure\n  2        wrong usage\n  3        success, \
         but records were skipped (--on-invalid skip)\n  128 + N  stopped by signal N: 129 SIGHUP, \
         130 SIGINT (Ctrl-C), 138 SIGUSR1,\n           143 SIGTERM; continue with --resume\n",
    ] {
        assert!(ended.out.contains(text), "{text}: {}", ended.out);
    }
}

#[test]
fn help_of_run_says_what_each_flag_does_and_its_default() {
    let ended = Bench::new().call("run --help");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    for flag in [
        "--out <DIR>",
        "--model <MODEL>",
        "--revision <REVISION>",
        "--check-model",
        "--check-device",
        "--on-varying <ACTION>",
        "--layer <N[,N...]|A-B|all|last>",
        "--pool <POOL[,POOL...]>",
        "--residues <STORAGE>",
        "--dtype <FORMAT>",
        "--out-dtype <FORMAT>",
        "--device <auto|cpu|cuda[:I[,I...]]|all>",
        "--threads <N>",
        "--max-tokens <N>",
        "--deterministic",
        "--long <full|truncate[:N]|window[:N[:OVERLAP]]|error>",
        "--unknown <ACTION>",
        "--gaps <ACTION>",
        "--on-duplicate-id <ACTION>",
        "--on-invalid <ACTION>",
        "--shard <I/N>",
        "--resume",
        "--force",
        "--dry-run",
        "--progress <STYLE>",
        "--quiet",
        "--verbose",
        "--cpu-path <PATH>",
        "- packed: One array per layer",
        "- bf16: ",
        "[env: ESM_EMBED_MODEL=]",
        "[env: ESM_EMBED_DEVICE=]",
        "[env: ESM_EMBED_THREADS=]",
        "[default: esm2_t33_650M_UR50D]",
        "[default: the last]",
        "[default: mean]",
        "[default: packed]",
    ] {
        assert!(ended.out.contains(flag), "{flag}: {}", ended.out);
    }
}

#[test]
fn wrong_usage_ends_with_2_and_a_remedy() {
    let bare = Bench::new().call("");
    assert_eq!((bare.code, bare.out.as_str()), (2, ""));
    assert!(
        bare.err.contains("Usage: esm-embed <COMMAND>"),
        "{}",
        bare.err
    );

    assert_usage(
        "nonsense",
        "there is no command nonsense\n  hint: the commands are run, score, serve, fetch,",
    );
    assert_usage("run --out x", "<FASTA>...");
    assert_usage("run a.fasta", "--out <DIR>");
    assert_usage("run a.fasta --out", "a value is required for '--out <DIR>'");
    assert_usage(
        "run a.fasta --out x --frobnicate",
        "unexpected option --frobnicate\n  hint: esm-embed run --help lists the options of run\n",
    );
    assert_usage(
        "run - a.fasta - --out x",
        "standard input (-) is given more than once",
    );
    assert_usage(
        "run a --out x --layer first",
        "a layer is 0 (the embedding)",
    );
    assert_usage("run a --out x --layer 1,,2", "a layer is 0 (the embedding)");
    assert_usage(
        "run a --out x --pool median",
        "[possible values: mean, bos, max, none]",
    );
    assert_usage(
        "run a --out x --pool mean,none",
        "--pool none cannot be combined with other pools",
    );
    assert_usage(
        "run a --out x --pool none --residues none",
        "with --pool none and --residues none, there is nothing to write",
    );
    assert_usage(
        "run a --out x --residues all",
        "[possible values: packed, files, none]",
    );
    assert_usage(
        "run a --out x --dtype f64",
        "[possible values: f32, f16, bf16, tf32]",
    );
    assert_usage(
        "run a --out x --out-dtype bf16",
        "[possible values: f32, f16]",
    );
    assert_usage(
        "run a --out x --device tpu",
        "expected auto, cpu, cuda, cuda:0, cuda:0,1 or all",
    );
    assert_usage(
        "run a --out x --threads 0",
        "expected a number from 1 to 4,096",
    );
    assert_usage("run a --out x --threads -1", "'-1'");
    assert_usage("run a --out x --max-tokens 0", "expected a number from 1\n");
    assert_usage(
        "run a --out x --long window:100:100",
        "OVERLAP must be from 0 to 99",
    );
    assert_usage(
        "run a --out x --long truncate:0",
        "N must be at least 1 residue",
    );
    assert_usage(
        "run a --out x --long half",
        "expected full, error, truncate",
    );
    assert_usage(
        "run a --out x --unknown drop",
        "[possible values: unk, error]",
    );
    assert_usage(
        "run a --out x --on-invalid ignore",
        "[possible values: fail, skip]",
    );
    assert_usage(
        "run a --out x --cpu-path sse",
        "[possible values: avx512vnni, avx512, avx2, portable]",
    );
    assert_usage("run a --out x --progress loud", "'--progress");
    assert_usage("run a --out x -q -v", "cannot be used with");
    assert_usage("inspect", "<DIR>");
    assert_usage("merge --out x", "<DIR>...");
    assert_usage("merge a", "--out <DIR>");
    assert_usage(
        "template pbs",
        "[possible values: slurm, snakemake, nextflow, docker, apptainer, systemd, kubernetes]",
    );
    assert_usage("fetch", "<MODEL>");
}

#[test]
fn variables_set_the_defaults_of_flags() {
    let bench = Bench::new();
    for (name, value, line, flag) in [
        (
            "ESM_EMBED_THREADS",
            "none",
            "run a --out x",
            "--threads <N>",
        ),
        (
            "ESM_EMBED_MODEL",
            "nonsense",
            "run a --out x",
            "--model <MODEL>",
        ),
        (
            "ESM_EMBED_DEVICE",
            "tpu",
            "run a --out x",
            "--device <auto|cpu|cuda[:I[,I...]]|all>",
        ),
        (
            "ESM_EMBED_DEVICE",
            "tpu",
            "verify",
            "--device <cpu|auto|cuda[:I[,I...]]|all>",
        ),
    ] {
        let ended = bench.call_with(line, &[(name, value)]);
        let error = format!(
            "error: invalid value '{value}' for '{flag} (from the environment variable {name})'"
        );
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{name}");
        assert!(ended.err.starts_with(&error), "{}", ended.err);
    }
    // A typed value wins over the variable, and errors are about it.
    let vars = [
        ("ESM_EMBED_THREADS", "none"),
        ("ESM_EMBED_MODEL", "nonsense"),
    ];
    let typed = bench.call_with("run a -o x --threads=0 -m8M", &vars);
    assert_eq!(typed.code, 2);
    assert!(
        typed.err.starts_with(
            "error: invalid value '0' for '--threads <N>': expected a number from 1 to 4,096"
        ),
        "{}",
        typed.err
    );
    let cuda = [("ESM_EMBED_DEVICE", "cuda:7"), ("ESM_EMBED_MODEL", "8M")];
    std::fs::write(bench.path("a"), ">a\nMK\n").unwrap();
    let ended = bench.call_with("run a --out x", &cuda);
    assert!(ended.err.contains("cuda:7"), "{}", ended.err);
    let ended = bench.call_with("run a --out x --device cpu", &cuda);
    assert!(ended.err.contains("esm2_t6_8M_UR50D"), "{}", ended.err);
}

#[test]
fn certain_failures_come_before_the_search_for_a_model() {
    let bench = Bench::new();
    let missing = bench.call("run nothing.fasta --out x");
    assert_eq!(missing.code, 1);
    assert!(
        missing.err.starts_with("error: nothing.fasta: "),
        "{}",
        missing.err
    );
    std::fs::write(bench.path("a.fasta"), ">a\nMK\n").unwrap();
    let cuda = bench.call("run a.fasta --out x --device cuda:1");
    assert_eq!(cuda.code, 1);
    assert!(
        cuda.err
            .starts_with("error: --device cuda:1 cannot be used: "),
        "{}",
        cuda.err
    );
    assert!(!bench.path("x").exists());
}

#[test]
fn options_of_other_tools_are_answered_with_ours() {
    for (line, says) in [
        (
            "run a.fasta --out emb --batch-size 8",
            "error: unexpected option --batch-size\n  hint: batches are formed automatically and do not \
             change the results; --max-tokens N limits the tokens in one\n",
        ),
        (
            "run a.fasta --out emb --include mean",
            "error: invalid value 'mean' for '--include <PRODUCT[,PRODUCT...]>': for the mean, use --pool \
             mean\n",
        ),
        (
            "run a.fasta --out emb --attention-heads mean --include contacts",
            "error: --attention-layers and --attention-heads say which attention maps are written, but \
             none are\n  hint: use --include attentions\n",
        ),
        (
            "run a.fasta --out emb --include charge",
            "'--include <PRODUCT[,PRODUCT...]>': expected logits, contacts or \
             attentions\n",
        ),
        (
            "run a.fasta --out emb --format h5",
            "hint: leave it out: a run writes .npy files",
        ),
        (
            "embed a.fasta --out emb",
            "error: there is no command embed\n  hint: use run: esm-embed run a.fasta --out emb\n",
        ),
        (
            "a.fasta",
            "error: a.fasta is not a command\n  hint: to embed it: esm-embed run a.fasta --out emb\n",
        ),
        (
            "run a.fasta --out -",
            "error: a run writes a folder and nothing to standard output, so --out - is not possible\n  \
             hint: give the folder to write, such as --out emb\n",
        ),
        (
            "run a.fasta --out emb.npy",
            "error: a run writes a folder, but --out emb.npy is the name of a file\n  hint: give a folder, \
             such as --out emb\n  hint: the .npy files",
        ),
        (
            "merge a b --out emb.h5",
            "--out emb.h5 is the name of a file",
        ),
        (
            "run a.fasta --out out.npy/",
            "--out out.npy/ is the name of a file\n  hint: give a folder, such as --out out\n",
        ),
        (
            "--model 8M x.fasta",
            "error: unexpected option --model before the command\n  hint: put options after the command: \
             esm-embed run x.fasta --model 8M --out emb\n",
        ),
        (
            "--quiet run x.fasta",
            "put options after the command: esm-embed run x.fasta --quiet --out emb\n",
        ),
        (
            "stauts emb",
            "error: there is no command stauts\n  hint: use status: esm-embed status emb\n",
        ),
        (
            "run a.fasta --out emb --layer last-0",
            "last is the highest layer: give 0-last",
        ),
    ] {
        assert_usage(line, says);
    }
}

#[test]
fn force_is_never_suggested_for_a_typo() {
    for typed in ["--format", "--forc", "--foce", "--Force"] {
        let ended = Bench::new().call(&format!("run a.fasta --out emb {typed}"));
        assert_eq!(ended.code, 2);
        let is_tip = |line: &&str| line.contains("tip:") || line.contains("hint:");
        let tips = ended.err.lines().filter(is_tip);
        assert!(
            tips.clone().all(|tip| !tip.contains("--force")),
            "{}",
            ended.err
        );
        assert!(!ended.err.contains("'--force'"), "{}", ended.err);
    }
}
