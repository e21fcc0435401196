//! `esm-embed` and the CUDA build beside it, for which a script stands in: who starts whom, and
//! what is said when it cannot be used.
#![cfg(not(feature = "cuda"))]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{PoisonError, RwLock};
use tempfile::TempDir;

/// A folder with the program, and beside it a script as its CUDA build.
struct Bench {
    folder: TempDir,
}

/// Held while programs are written, and shared while they are started: a process that another test
/// starts in between would keep a program open for writing, which then cannot be run.
static WRITING: RwLock<()> = RwLock::new(());

impl Bench {
    fn new(script: &str) -> Bench {
        let _held = WRITING.write().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let program = assert_cmd::cargo::cargo_bin("esm-embed");
        fs::copy(program, folder.path().join("esm-embed")).unwrap();
        fs::write(folder.path().join("a.fasta"), ">a\nMKTAY\n").unwrap();
        let companion = folder.path().join("esm-embed-cuda");
        fs::write(&companion, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&companion, fs::Permissions::from_mode(0o755)).unwrap();
        Bench { folder }
    }

    fn run(&self, more: &str) -> Output {
        let _held = WRITING.read().unwrap_or_else(PoisonError::into_inner);
        let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/esm2_hd16");
        Command::new(self.folder.path().join("esm-embed"))
            .current_dir(self.folder.path())
            .args(["run", "a.fasta", "--out", "emb", "--model"])
            .arg(model)
            .args(more.split_whitespace())
            .output()
            .unwrap()
    }

    /// Runs a command that looks at the model cache, without a network.
    fn offline(&self, line: &str, variables: &[(&str, &str)]) -> Output {
        let _held = WRITING.read().unwrap_or_else(PoisonError::into_inner);
        Command::new(self.folder.path().join("esm-embed"))
            .args(line.split_whitespace())
            .env_remove("CUDA_VISIBLE_DEVICES")
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", self.folder.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    fn is_done(&self) -> bool {
        self.folder.path().join("emb/run.json").exists()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A CUDA build that sees a card, and otherwise says what it was started with.
const WITH_CARD: &str = concat!(
    "if [ \"$1\" = cards ]; then echo 'esm-embed ",
    env!("CARGO_PKG_VERSION"),
    "'; echo '0: a card'; else echo \"$@\"; exit 3; fi"
);
const WITHOUT_DRIVER: &str = "echo \"$0: error while loading shared libraries: libcuda.so.1: cannot \
                              open shared object file: No such file or directory\" >&2; exit 127";

#[test]
fn a_card_is_used_by_the_cuda_build() {
    let bench = Bench::new(WITH_CARD);
    for device in ["", "--device auto", "--device cuda", "--device all"] {
        let output = bench.run(device);
        // The script's exit code and words: it has taken the place of the program.
        assert_eq!(output.status.code(), Some(3), "{device}: {}", said(&output));
        let words = String::from_utf8(output.stdout).unwrap();
        assert!(
            words.starts_with("run a.fasta --out emb --model "),
            "{words}"
        );
        assert!(words.trim_end().ends_with(device), "{words}");
    }
    assert!(!bench.is_done());
}

#[test]
fn the_cpu_asks_nobody() {
    let bench = Bench::new("exit 9");
    let output = bench.run("--device cpu");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!said(&output).contains("CUDA"), "{}", said(&output));
    assert!(bench.is_done());
}

#[test]
fn without_a_driver_auto_is_the_cpu_and_cuda_an_error() {
    let bench = Bench::new(WITHOUT_DRIVER);
    let output = bench.run("--device cuda:0,1");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said(&output),
        "esm-embed: error: --device cuda:0,1 was asked for, but no NVIDIA driver is installed \
         (libcuda.so.1 is missing). Use --device cpu (or auto)\n"
    );
    assert!(!bench.is_done());
    let output = bench.run("");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    let reason = "no CUDA card is used: no NVIDIA driver is installed (libcuda.so.1 is missing)";
    assert!(text.contains(reason), "{text}");
    assert!(bench.is_done());
}

#[test]
fn tf32_is_never_computed_in_another_format() {
    let bench = Bench::new(WITHOUT_DRIVER);
    for device in ["--device cpu", "--device auto"] {
        let output = bench.run(&format!("--dtype tf32 --progress none -q {device}"));
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert_eq!(
            said(&output),
            "esm-embed: error: --dtype tf32 is a number format of CUDA cards, and the CPU would \
             compute: use --dtype f32, or --device cuda\n"
        );
        assert!(!bench.is_done());
    }
}

#[test]
fn verify_has_cards_too() {
    let verify = |script: &str, device: &str| {
        let line = format!("verify esm2_t6_8M_UR50D --device {device}");
        Bench::new(script).offline(&line, &[])
    };
    let output = verify(WITH_CARD, "cuda");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let words = String::from_utf8(output.stdout).unwrap();
    assert_eq!(words, "verify esm2_t6_8M_UR50D --device cuda\n");
    let output = verify(WITHOUT_DRIVER, "all");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said(&output),
        "esm-embed: error: --device all was asked for, but no NVIDIA driver is installed \
         (libcuda.so.1 is missing). Use --device cpu (or auto)\n"
    );
}

#[test]
fn doctor_lists_the_cards_of_the_cuda_build() {
    let script = concat!(
        "[ \"$*\" = cards ] || exit 9; echo 'esm-embed ",
        env!("CARGO_PKG_VERSION"),
        "'; echo \"0: card ${CUDA_VISIBLE_DEVICES-0}, 4.0 GiB\"; echo '1: another card'"
    );
    let bench = Bench::new(script);
    let path = bench.folder.path().canonicalize().unwrap();
    for (variables, first, last) in [
        (&[][..], "0", ""),
        (
            &[("CUDA_VISIBLE_DEVICES", "7,5")][..],
            "7,5",
            "  CUDA_VISIBLE_DEVICES   7,5\n",
        ),
    ] {
        let output = bench.offline("doctor", variables);
        assert_eq!(
            (output.status.code(), said(&output).as_str()),
            (Some(0), "")
        );
        let start = format!(
            "esm-embed {}\n\nComputation\n\
             \x20 CUDA card              0: card {first}, 4.0 GiB\n\
             \x20 CUDA card              1: another card\n\
             \x20 CUDA build             {}/esm-embed-cuda, which run starts by itself\n\
             {last}  processor ",
            env!("CARGO_PKG_VERSION"),
            path.display()
        );
        let report = String::from_utf8(output.stdout).unwrap();
        assert!(report.starts_with(&start), "{report}");
    }
}

#[test]
fn doctor_says_why_the_cuda_build_cannot_be_used() {
    let output = Bench::new(WITHOUT_DRIVER).offline("doctor", &[]);
    assert_eq!(
        (output.status.code(), said(&output).as_str()),
        (Some(0), "")
    );
    let report = String::from_utf8(output.stdout).unwrap();
    let start = concat!(
        "esm-embed ",
        env!("CARGO_PKG_VERSION"),
        "\n\nComputation\n",
        "  devices                cpu (this build computes on the CPU only)\n",
        "  CUDA build             cannot be used: no NVIDIA driver is installed ",
        "(libcuda.so.1 is missing)\n",
        "  processor ",
    );
    assert!(report.starts_with(start), "{report}");
}

#[test]
fn another_version_is_not_started() {
    let bench = Bench::new("echo esm-embed 0.0.1");
    let output = bench.run("--device cuda");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("esm-embed-cuda beside this program is of another version (esm-embed 0.0.1"),
        "{text}"
    );
}
