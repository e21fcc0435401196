//! The command line without a run: usage, reports, exit codes, streams. No network, no home.

use crate::tools;
use assert_cmd::Command;
use esm_embed::ops::CpuPath;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// What a command wrote and how it ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

/// A command in a folder of its own, which is also the home of its cache.
struct Bench {
    home: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn command(&self) -> Command {
        let mut command = Command::cargo_bin("esm-embed").unwrap();
        command
            .current_dir(self.path())
            .env_clear()
            .env("CUDA_VISIBLE_DEVICES", "")
            .env("HF_HOME", self.path().join("hf"))
            .env("HF_HUB_OFFLINE", "1");
        command
    }

    fn run(&self, line: &str) -> Ended {
        self.run_with(line, &[])
    }

    fn run_with(&self, line: &str, vars: &[(&str, &str)]) -> Ended {
        let mut command = self.command();
        command.args(line.split_whitespace());
        for (name, value) in vars {
            command.env(name, value);
        }
        let output = command.output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Ends with 2, prints nothing on standard output and says this on standard error.
fn assert_usage(line: &str, says: &str) {
    let ended = Bench::new().run(line);
    assert_eq!(ended.code, 2, "{line}: {}", ended.err);
    assert_eq!(ended.out, "", "{line}");
    assert!(ended.err.contains(says), "{line}: {}", ended.err);
    assert!(ended.err.contains("--help"), "{line}: {}", ended.err);
}

#[test]
fn the_version_is_one_line() {
    let ended = Bench::new().run("--version");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert_eq!(
        ended.out,
        format!("esm-embed {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_shows_the_example_and_every_command() {
    let ended = Bench::new().run("--help");
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
    let ended = Bench::new().run("run --help");
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
    let bare = Bench::new().run("");
    assert_eq!((bare.code, bare.out.as_str()), (2, ""));
    assert!(
        bare.err.contains("Usage: esm-embed <COMMAND>"),
        "{}",
        bare.err
    );

    assert_usage(
        "nonsense",
        "there is no command nonsense\n  hint: the commands are run, fetch,",
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
    assert_usage("run a --out x --threads 0", "0 is not in 1..=4096");
    assert_usage("run a --out x --threads -1", "'-1'");
    assert_usage("run a --out x --max-tokens 0", "0 is not in 1..");
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
        "[possible values: slurm, snakemake, nextflow]",
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
        let ended = bench.run_with(line, &[(name, value)]);
        let error = format!(
            "error: invalid value '{value}' for '{flag} (from the environment variable {name})'"
        );
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{name}");
        assert!(ended.err.starts_with(&error), "{}", ended.err);
    }
    // What is typed wins, and is what an error is about.
    let vars = [
        ("ESM_EMBED_THREADS", "none"),
        ("ESM_EMBED_MODEL", "nonsense"),
    ];
    let typed = bench.run_with("run a -o x --threads=0 -m8M", &vars);
    assert_eq!(typed.code, 2);
    assert!(
        typed
            .err
            .starts_with("error: invalid value '0' for '--threads <N>': 0 is not in"),
        "{}",
        typed.err
    );
    let cuda = [("ESM_EMBED_DEVICE", "cuda:7"), ("ESM_EMBED_MODEL", "8M")];
    std::fs::write(bench.path().join("a"), ">a\nMK\n").unwrap();
    let ended = bench.run_with("run a --out x", &cuda);
    assert!(ended.err.contains("cuda:7"), "{}", ended.err);
    let ended = bench.run_with("run a --out x --device cpu", &cuda);
    assert!(ended.err.contains("esm2_t6_8M_UR50D"), "{}", ended.err);
}

#[test]
fn templates_are_the_files_that_are_tested() {
    let bench = Bench::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/template");
    for (scheduler, file) in [
        ("slurm", "slurm.sh"),
        ("snakemake", "Snakefile"),
        ("nextflow", "main.nf"),
    ] {
        let ended = bench.run(&format!("template {scheduler}"));
        assert_eq!((ended.code, &*ended.err), (0, ""));
        let source = std::fs::read_to_string(sources.join(file)).unwrap();
        assert!(ended.out == source, "{scheduler}");
        // What they call is there, with the flags that they give.
        for words in ["run ", "--shard ", "--out ", "merge "] {
            assert!(source.contains(words), "{scheduler}: {words}");
        }
        // Text as every editor and shell takes it.
        assert!(source.ends_with('\n') && source.is_ascii(), "{scheduler}");
        assert!(!source.contains(['\r', '\t']), "{scheduler}");
    }
    if !tools::has(&["bash"]) {
        return;
    }
    let script = std::process::Command::new("bash")
        .arg("-n")
        .arg(sources.join("slurm.sh"))
        .output()
        .unwrap();
    assert!(script.status.success(), "{script:?}");
    let usage = std::process::Command::new("bash")
        .arg(sources.join("slurm.sh"))
        .arg("emb")
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let usage = String::from_utf8(usage.stderr).unwrap();
    assert!(
        usage.starts_with("usage: [SHARDS=N] bash ")
            && usage.ends_with(" OUT FASTA... [options of esm-embed run]\n"),
        "{usage}"
    );
}

#[test]
fn an_unknown_model_is_answered_with_the_nearest_and_all_names() {
    assert_usage("run a --out x --model 650MB", "did you mean `650M`?");
    assert_usage("fetch esm2_t33_650M", "did you mean `esm2_t33_650M_UR50D`?");
    assert_usage("verify bert", "esm1v_t33_650M_UR90S_5");
}

#[test]
fn what_is_sure_to_fail_fails_before_a_model_is_looked_for() {
    let bench = Bench::new();
    let missing = bench.run("run nothing.fasta --out x");
    assert_eq!(missing.code, 1);
    assert!(
        missing.err.starts_with("error: nothing.fasta: "),
        "{}",
        missing.err
    );
    std::fs::write(bench.path().join("a.fasta"), ">a\nMK\n").unwrap();
    let cuda = bench.run("run a.fasta --out x --device cuda:1");
    assert_eq!(cuda.code, 1);
    assert!(
        cuda.err.starts_with("error: --device cuda:1 was asked for"),
        "{}",
        cuda.err
    );
    assert!(!bench.path().join("x").exists());
}

#[test]
fn without_network_the_error_says_what_to_run_where() {
    let bench = Bench::new();
    std::fs::write(bench.path().join("a.fasta"), ">a\nMK\n").unwrap();
    let cache = bench.path().join("hf/hub").display().to_string();
    for line in ["fetch 8M", "verify 8M", "run a.fasta --model 8M --out x"] {
        let ended = bench.run(line);
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{line}");
        assert!(
            ended
                .err
                .starts_with("error: esm2_t6_8M_UR50D is not complete in the cache "),
            "{line}: {}",
            ended.err
        );
        for text in [
            cache.as_str(),
            "HF_HUB_OFFLINE forbids downloads",
            "On a machine with network run `esm-embed fetch esm2_t6_8M_UR50D`",
        ] {
            assert!(ended.err.contains(text), "{line}: {}", ended.err);
        }
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    }
}

#[test]
fn a_hub_that_does_not_answer_is_named() {
    // A port that nobody listens on: it was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let vars = [("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", endpoint.as_str())];
    let ended = Bench::new().run_with("fetch 8M --progress json", &vars);
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    for line in ended.err.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string(), "{line}");
    }
    let last: serde_json::Value = serde_json::from_str(ended.err.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "error");
    let text = last["text"].as_str().unwrap();
    assert!(text.starts_with(&endpoint), "{text}");
    assert!(
        text.contains("`esm-embed fetch esm2_t6_8M_UR50D`"),
        "{text}"
    );
}

#[test]
fn fetch_of_a_path_checks_it_and_prints_it() {
    let bench = Bench::new();
    let model = fixture("esm2_hd16").display().to_string();
    // A path needs no hub: settings that make none are not looked at.
    let vars = [("HF_ENDPOINT", "nonsense"), ("HF_TOKEN", "a b")];
    let ended = bench.run_with(&format!("fetch {model}"), &vars);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.out, format!("{model}\n"));

    let revision = bench.run(&format!("fetch {model} --revision v1"));
    assert_eq!((revision.code, revision.out.as_str()), (1, ""));
    assert!(revision.err.contains("Drop --revision"), "{}", revision.err);

    let fake = bench.path().join("esm2_t6_8M_UR50D.pt");
    std::fs::write(&fake, "not the published weights").unwrap();
    let digest = bench.run("fetch ./esm2_t6_8M_UR50D.pt");
    assert_eq!((digest.code, digest.out.as_str()), (1, ""));
    assert!(
        digest
            .err
            .contains("expected 30099493 bytes, found 25 bytes"),
        "{}",
        digest.err
    );
}

#[test]
fn models_lists_names_sizes_and_what_the_cache_holds() {
    let bench = Bench::new();
    let empty = bench.run("models");
    assert_eq!((empty.code, empty.err.as_str()), (0, ""));
    let lines: Vec<&str> = empty.out.lines().collect();
    assert_eq!(
        lines[0],
        "MODEL                    SHORT PARAMETERS LAYERS WIDTH  IN THE CACHE"
    );
    assert_eq!(
        lines[4],
        "esm2_t33_650M_UR50D      650M     651.0 M     33  1280  no"
    );
    assert_eq!(
        lines[12],
        "esm1v_t33_650M_UR90S_5   -        652.4 M     33  1280  no"
    );
    assert_eq!(
        lines[14],
        format!("cache: {}", bench.path().join("hf/hub").display())
    );

    let repo = bench
        .path()
        .join("hf/hub/models--facebook--esm2_t6_8M_UR50D");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = repo.join("snapshots").join(commit);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), commit).unwrap();
    let held = || bench.run("models").out.lines().nth(1).unwrap().to_owned();
    assert!(held().contains("  incomplete, 0 bytes: "), "{}", held());
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("esm2_hd16").join(file), snapshot.join(file)).unwrap();
    }
    assert!(
        held().ends_with(&format!(" kB: {}", snapshot.display())),
        "{}",
        held()
    );
}

#[test]
fn models_and_doctor_work_with_broken_settings() {
    let bench = Bench::new();
    let vars = [("HF_ENDPOINT", "ftp://x")];
    let models = bench.run_with("models", &vars);
    assert_eq!(models.code, 0, "{}", models.err);
    assert!(models.out.contains("esm2_t33_650M_UR50D      650M"));
    assert!(
        models.out.contains("\ncache: HF_ENDPOINT is `ftp://x`"),
        "{}",
        models.out
    );
    let doctor = bench.run_with("doctor", &vars);
    assert_eq!(doctor.code, 0, "{}", doctor.err);
    assert!(
        doctor.out.contains("HF_ENDPOINT is `ftp://x`"),
        "{}",
        doctor.out
    );
}

#[test]
fn doctor_reports_and_keeps_the_token_to_itself() {
    let bench = Bench::new();
    let vars = [("HF_TOKEN", "hf_verysecret"), ("SLURM_CPUS_PER_TASK", "1")];
    let ended = bench.run_with("doctor", &vars);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    for text in [
        "\n  devices                cpu (no ",
        "\n  CPU path               ",
        "\n  --cpu-path takes       ",
        "\n  SLURM_CPUS_PER_TASK    1\n",
        "\n  threads                1 (--threads)\n",
        "\n  memory                 ",
        "\n  state                  does not exist yet; the first download creates it\n",
        "\n  access token           set\n",
        "\n  HF_HUB_OFFLINE         1\n",
        "\n  reachable              not asked: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set\n",
    ] {
        assert!(ended.out.contains(text), "{text}: {}", ended.out);
    }
    assert!(!ended.out.contains("verysecret"));

    // Those that this processor can run, and no others.
    let (_, rest) = ended.out.split_once("--cpu-path takes").unwrap();
    let listed = rest.lines().next().unwrap().trim();
    for path in CpuPath::ALL {
        let is_listed = listed
            .split(", ")
            .any(|one| one.split(' ').next() == Some(&path.to_string()));
        assert_eq!(is_listed, path.is_available(), "{path}: {listed}");
    }

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let vars = [("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", endpoint.as_str())];
    let online = bench.run_with("doctor", &vars);
    assert_eq!(online.code, 0);
    assert!(online.out.contains("access token           not set\n"));
    assert!(
        online.out.ends_with("  reachable              yes\n"),
        "{}",
        online.out
    );
}

#[test]
fn inspect_of_what_is_no_output_folder() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path().join("empty")).unwrap();
    let ended = bench.run("inspect empty");
    assert_eq!((ended.code, ended.err.as_str()), (1, ""));
    assert_eq!(
        ended.out,
        "empty: not complete\nproblems: 1\n  run.json: is missing: this is not an output folder, or its \
         run did not finish\n"
    );
    let missing = bench.run("inspect nowhere --check");
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    assert_eq!(
        missing.err,
        "error: nowhere does not exist\n  hint: give the folder that a run wrote\n"
    );
}

#[test]
fn a_file_is_not_taken_for_a_folder() {
    let bench = Bench::new();
    std::fs::write(bench.path().join("x.fasta"), ">a\nMKT\n").unwrap();
    for (line, says) in [
        (
            "inspect x.fasta",
            "x.fasta is not a folder\n  hint: give the folder that a run wrote\n",
        ),
        (
            "merge x.fasta --out q",
            "x.fasta is not a folder\n  hint: give the folders that `run --shard` wrote\n",
        ),
    ] {
        let ended = bench.run(line);
        assert_eq!((ended.code, ended.err), (1, format!("error: {says}")));
    }
}

#[test]
fn errors_hold_no_control_characters() {
    let bench = Bench::new();
    let mut command = bench.command();
    let output = command
        .args(["inspect", "a\u{1b}[31m\nb"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        err.starts_with("error: a\\u{1b}[31m\\nb does not exist"),
        "{err}"
    );
}

#[test]
fn a_closed_pipe_is_a_quiet_end_and_a_full_disk_an_error() {
    let bench = Bench::new();
    for line in ["models", "doctor", "--help", "run --help", "--version"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("esm-embed"))
            .args(line.split(' '))
            .env_clear()
            .env("HF_HOME", bench.path())
            .env("HF_HUB_OFFLINE", "1")
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), err.as_str()),
            (Some(0), ""),
            "{line}"
        );
    }
    if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("esm-embed"))
            .arg("models")
            .env_clear()
            .env("HF_HOME", bench.path())
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            err.starts_with("error: cannot write to standard output"),
            "{err}"
        );
    }
}

#[test]
fn a_closed_standard_error_does_not_panic() {
    let bench = Bench::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = std::process::Command::new(assert_cmd::cargo::cargo_bin("esm-embed"))
        .args(["inspect", "nowhere"])
        .current_dir(bench.path())
        .stdout(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn words_of_other_tools_are_answered_with_ours() {
    for (line, says) in [
        (
            "run a.fasta --out emb --batch-size 8",
            "error: unexpected option --batch-size\n  hint: batches are formed automatically and do not \
             change the results; --max-tokens N limits the tokens in one\n",
        ),
        (
            "run a.fasta --out emb --include mean",
            "hint: for --include mean, use --pool mean; for bos, --pool bos; for per_tok, --residues packed",
        ),
        (
            "run a.fasta --out emb --format h5",
            "hint: leave it out: this version always writes .npy files",
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
            "serve --port 80",
            "error: this version has no command serve\n  hint: the commands are run, fetch, models, inspect, \
             merge, verify, doctor and template\n",
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
fn force_is_not_proposed_for_other_words() {
    for typed in ["--format", "--forc", "--foce", "--Force"] {
        let ended = Bench::new().run(&format!("run a.fasta --out emb {typed}"));
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
