//! Standard output and standard error: closed, full, and free of control characters.

use crate::bench::*;
use std::process::Stdio;

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
fn colours_are_for_terminals_and_no_color_turns_them_off() {
    let plain = "error: nowhere does not exist\n  hint: give the folder that a run wrote\n";
    let colored = "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m nowhere does not exist\n  \
                   \u{1b}[1m\u{1b}[36mhint:\u{1b}[0m give the folder that a run wrote\n";
    let bench = Bench::new();
    for (variables, expected) in [
        (&[][..], plain),
        (&[("CLICOLOR_FORCE", "1")], colored),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], plain),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], colored),
    ] {
        let ended = bench.call_with("inspect nowhere", variables);
        assert_eq!(ended.err, expected, "{variables:?}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_is_an_error() {
    let bench = Bench::new();
    for line in ["models", "doctor", "--help", "run --help", "--version"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("esm-embed"))
            .args(line.split(' '))
            .env_clear()
            .env("HF_HOME", bench.home())
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
            .env("HF_HOME", bench.home())
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
        .current_dir(bench.home())
        .stdout(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
