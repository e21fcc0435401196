//! Shards merged while the process is killed or its system calls fail: the shards lose nothing, and
//! the merged folder is complete or does not look it.

use crate::bench::*;
use crate::case::*;
use crate::tools;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

/// Two shards of a few records, and the output of all of them: as one folder, or linked.
fn shards(options: &str, more: &str) -> Case {
    let text = format!("{}>empty\n", records(14));
    let line = format!("in.fasta --max-tokens 64 --on-invalid skip {options}");
    let mut case = Case::new(&line, &text);
    for i in 1..=2 {
        let ended = case.run(&format!("--shard {i}/2 --out kept/s{i}"));
        assert!([0, 3].contains(&ended.code), "{}", ended.err);
    }
    if more.contains("--link") {
        prepare(&case);
        let output = merge(&case, None, more);
        assert!(output.status.success(), "{output:?}");
        let arrays = |tree: &Tree| tree.keys().filter(|name| name.contains(".layer")).count();
        assert!(arrays(&case.whole) > 0);
        case.whole = case.bench.tree("emb");
        assert!(arrays(&case.whole) == 0 && case.whole.contains_key("links.npy"));
    }
    case
}

/// Merges fresh copies (hard links) of the shards with a system call that kills or fails, or none.
fn merge(case: &Case, fault: Option<(&str, &str, &str)>, more: &str) -> Output {
    match fault {
        Some((call, what, number)) => tools::with_fault(call, what, number, |strace| {
            merge_behind(case, strace, more)
        }),
        None => merge_behind(case, &[], more),
    }
}

fn merge_behind(case: &Case, wrapper: &[&str], more: &str) -> Output {
    let line = format!("merge s2 s1 --out emb -q {more}");
    let words = wrapper.iter().chain(&[env!("CARGO_BIN_EXE_esm-embed")]);
    let words: Vec<&str> = words.copied().chain(line.split_whitespace()).collect();
    Command::new(words[0])
        .args(&words[1..])
        .current_dir(case.bench.path("."))
        .output()
        .unwrap()
}

/// Fresh copies of the shards.
fn prepare(case: &Case) {
    case.clear();
    for shard in ["s1", "s2"] {
        let _ = fs::remove_dir_all(case.bench.path(shard));
        let copied = Command::new("cp")
            .arg("-r")
            .args([
                case.bench.path(&format!("kept/{shard}")),
                case.bench.path(shard),
            ])
            .status();
        assert!(copied.unwrap().success());
    }
}

fn assert_shards(case: &Case, what: &str) {
    for shard in ["s1", "s2"] {
        assert!(
            case.bench.tree(shard) == case.bench.tree(&format!("kept/{shard}")),
            "{what}: {shard} is not what it was"
        );
    }
}

/// The merged folder is complete, or merging the untouched shards again makes it so.
fn assert_survived(case: &Case, more: &str, what: &str) {
    case.assert_honest(what);
    if exists(&case.bench.path("emb/run.json")) {
        if !more.contains("--move") {
            assert_shards(case, what);
        }
        return;
    }
    assert_shards(case, what);
    let output = merge(case, None, &format!("{more} --force"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {text}");
    case.assert_whole(what);
}

#[test]
fn killed_at_each_call() {
    if !tools::has_strace() {
        return;
    }
    for (options, more, calls) in [
        (
            "--pool mean,max --residues packed",
            "",
            &[
                ("write", 3),
                ("pwrite64", 4),
                ("fsync", 5),
                ("rename", 5),
                ("openat", 20),
            ][..],
        ),
        (
            "--residues files",
            "--move",
            &[("linkat", 5), ("rename", 3), ("unlink", 10), ("mkdir", 2)],
        ),
        (
            "--pool mean,max --residues packed",
            "--link",
            &[
                ("write", 3),
                ("fsync", 5),
                ("rename", 5),
                ("openat", 20),
                ("unlink", 3),
                ("mkdir", 2),
            ],
        ),
        (
            "--residues files",
            "--link",
            &[("write", 3), ("fsync", 5), ("rename", 5)],
        ),
    ] {
        let case = shards(options, more);
        for &(call, least) in calls {
            for number in 1.. {
                let what = format!("{options} {more}: killed at {call} number {number}");
                prepare(&case);
                let output = merge(
                    &case,
                    Some((call, "signal=SIGKILL", &number.to_string())),
                    more,
                );
                if output.status.success() {
                    case.assert_whole(&what);
                    assert!(number > least, "{call}: only {}", number - 1);
                    break;
                }
                assert_eq!(output.status.signal(), Some(9), "{what}: {output:?}");
                assert_survived(&case, more, &what);
            }
        }
    }
}

#[test]
fn failed_at_each_call() {
    if !tools::has_strace() {
        return;
    }
    for (options, more, faults) in [
        (
            "--residues packed",
            "",
            &[
                ("pwrite64", "ENOSPC"),
                ("write", "EDQUOT"),
                ("fsync", "EIO"),
                ("rename", "EIO"),
                ("read", "EIO"),
            ][..],
        ),
        (
            "--residues files",
            "--move",
            &[("write", "ENOSPC"), ("mkdir", "ENOSPC")],
        ),
        (
            "--residues packed",
            "--link",
            &[
                ("write", "ENOSPC"),
                ("fsync", "EIO"),
                ("rename", "EDQUOT"),
                ("read", "EIO"),
                ("mkdir", "ENOSPC"),
            ],
        ),
    ] {
        let case = shards(options, more);
        for (call, error) in faults {
            let mut failed = 0;
            for number in 1..=200 {
                let what = format!("{options} {more}: {error} at {call} number {number}");
                prepare(&case);
                let fault = format!("error={error}");
                let output = merge(&case, Some((call, &fault, &number.to_string())), more);
                let text = String::from_utf8_lossy(&output.stderr);
                match output.status.code() {
                    Some(0) => case.assert_whole(&what),
                    // The loader cannot read a library.
                    Some(127) => continue,
                    Some(1) => {
                        failed += 1;
                        assert!(text.starts_with("error: "), "{what}: {text}");
                        assert_eq!(messages(&text), 1, "{what}: {text}");
                        assert!(text.contains("(os error "), "{what}: {text}");
                    }
                    other => panic!("{what}: {other:?}: {text}"),
                }
                assert_survived(&case, more, &what);
                if output.status.success() && failed > 0 {
                    break;
                }
            }
            assert!(failed > 0, "{call} {error}");
        }
    }
}

/// Files that cannot be linked are copied.
#[test]
fn without_links() {
    if !tools::has_strace() {
        return;
    }
    let case = shards("--residues files", "");
    for number in ["1", "5", "1+"] {
        prepare(&case);
        let output = merge(&case, Some(("linkat", "error=EPERM", number)), "--move");
        assert!(output.status.success(), "{output:?}");
        case.assert_whole(number);
        assert!(!exists(&case.bench.path("s1")));
    }
}

/// Links and foreign files in the output folder are not followed, and stay.
#[test]
fn planted_links_and_foreign_files() {
    let case = shards("--residues files", "");
    for (name, is_refused) in [
        (".partial", true),
        ("run.json", true),
        ("mean.layer2.npy", true),
        ("residues.layer2", true),
        ("index.tsv", true),
        ("thesis.doc", false),
    ] {
        for force in ["", "--force"] {
            prepare(&case);
            let _ = fs::remove_dir_all(case.bench.path("elsewhere"));
            fs::create_dir_all(case.bench.path("elsewhere/x")).unwrap();
            case.bench.write("elsewhere/x/file", "theirs");
            fs::create_dir(case.bench.path("emb")).unwrap();
            let link = case.bench.path(&format!("emb/{name}"));
            symlink(case.bench.path("elsewhere/x"), &link).unwrap();
            let output = merge(&case, None, force);
            let text = String::from_utf8_lossy(&output.stderr);
            let what = format!("{name} {force}: {text}");
            match output.status.code() {
                Some(0) => assert!(!is_refused || !force.is_empty(), "{what}"),
                Some(1) => assert!(is_refused && text.contains("emb"), "{what}"),
                _ => panic!("{what}"),
            }
            assert_eq!(case.bench.text("elsewhere/x/file"), "theirs", "{what}");
            assert_eq!(case.bench.names("elsewhere/x"), ["file"], "{what}");
            assert_shards(&case, &what);
        }
    }
}
