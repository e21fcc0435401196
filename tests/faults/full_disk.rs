//! No space left: a limit on file sizes, and a full file system.

use crate::bench::*;
use crate::case::*;
use crate::tools;

/// Whichever file first exceeds a limit on file sizes, the error names it with a remedy, and the run
/// can be resumed without the limit.
#[test]
fn a_limit_on_file_size() {
    let long = format!("{}>long\n{}\n", records(40), sequence(1, 1000));
    for (options, text, file) in [
        (
            "in.fasta --pool mean --residues packed",
            records(40),
            "/residues.layer2.npy: ",
        ),
        (
            "in.fasta --pool mean --residues none",
            records(1000),
            "/mean.layer2.npy: ",
        ),
        (
            "in.fasta --pool none --residues files",
            long,
            "/residues.layer2/000000/long.npy: ",
        ),
    ] {
        let case = Case::new(&format!("{options} --max-tokens 16"), &text);
        let text = case.starve(200, "--out emb");
        assert_eq!(messages(&text), 1, "{text}");
        assert!(text.starts_with("error: "), "{text}");
        assert!(text.contains(&format!(" emb/.partial{file}")), "{text}");
        assert!(
            text.contains(
                ": File too large (os error 27); finished output is untouched, and the work so far \
                 stays in .partial\n  \
                 hint: the file system or a limit (see `ulimit -f`) does not allow a larger file: \
                 raise the limit, or choose a folder on another file system with --out\n"
            ),
            "{text}"
        );
        assert_eq!(case.bench.names("emb"), [".partial"]);
        case.go_on(options);
    }
}

/// Runs on a small file system until it is full, enlarges it and resumes.
const SCRIPT: &str = r#"
set -e
mkdir -p disk
mount -t tmpfs -o size=$SIZE tmpfs disk
code=0
"$@" --out disk/emb < in.fasta || code=$?
test $code = 1 || { echo "ended with $code" >&2; exit 9; }
test "$(ls -A disk/emb)" = .partial
code=0
"$@" --out disk/emb --resume < in.fasta || code=$?
test $code = 1 || { echo "ended again with $code" >&2; exit 9; }
mount -o remount,ro disk
code=0
"$@" --out disk/emb --resume < in.fasta || code=$?
test $code = 1 || { echo "ended on a read-only file system with $code" >&2; exit 9; }
mount -o remount,rw,size=10m disk
"$@" --out disk/emb --resume < in.fasta
cp -r disk/emb emb
"#;

#[test]
fn a_full_file_system() {
    if !tools::can_mount() {
        // injected.rs gives ENOSPC at every write instead, with strace.
        if !tools::can_trace() {
            tools::skip("a file system to mount, and strace,");
        }
        return;
    }
    for (options, size) in [
        ("- --pool mean --residues packed", "140k"),
        ("- --pool mean,max --residues none --layer 0,1,2", "56k"),
        ("- --pool none --residues files", "200k"),
    ] {
        let case = Case::new(&format!("{options} --max-tokens 16"), &records(40));
        let wrapper = ["unshare", "-rm", "sh", "-c", SCRIPT, "sh"];
        let mut command = case.command(&wrapper, "");
        let output = command.env("SIZE", size).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{options}: {text}");
        let errors: Vec<_> = text.split("error: ").skip(1).collect();
        assert_eq!(errors.len(), 3, "{options}: {text}");
        for error in &errors[..2] {
            assert!(
                error.contains(
                    "No space left on device (os error 28); finished output is untouched, and the \
                     work so far stays in .partial\n  \
                     hint: free some space, or choose a folder on another file system with --out"
                ),
                "{options}: {error}"
            );
        }
        assert!(
            errors[2].contains(": Read-only file system (os error 30)"),
            "{options}: {text}"
        );
        assert!(
            errors[2].contains("\n  hint: choose a folder that you may write to with --out"),
            "{options}: {text}"
        );
        case.assert_whole(options);
    }
}

/// Runs on file systems of every size from zero to enough, page by page, and resumes each run that
/// ran out of space. The errors are left in `errors`.
const SWEEP: &str = r#"
set -e
mkdir -p disk
mount -t tmpfs -o size=16m tmpfs disk
size=8
while :; do
    rm -rf disk/emb
    mount -o remount,size=${size}k disk
    code=0
    "$@" --out disk/emb < in.fasta 2> said || code=$?
    test $code != 0 || break
    test $code = 1 || { echo "ended with $code at ${size}k" >&2; exit 9; }
    test ! -e disk/emb/run.json || { echo "looks finished at ${size}k" >&2; exit 9; }
    cat said >> errors
    mount -o remount,size=16m disk
    "$@" --out disk/emb --resume < in.fasta
    diff -r whole disk/emb >&2 || { echo "differs at ${size}k" >&2; exit 9; }
    size=$((size + 4))
done
"#;

/// Sweeps within which every kind of file must run out of space at least once.
const SWEEPS: usize = 8;

/// Any page of any file can be the one that does not fit.
#[test]
fn a_full_file_system_at_any_page() {
    if !tools::can_mount() {
        if !tools::can_trace() {
            tools::skip("a file system to mount, and strace,");
        }
        return;
    }
    for (options, text, kinds) in [
        (
            "- --pool mean,bos,max",
            records(70),
            &[
                "mean.layer2.npy",
                "bos.layer2.npy",
                "max.layer2.npy",
                "residues.layer2.npy",
                "journal",
                "index.tsv",
                "run.json",
            ][..],
        ),
        (
            "- --pool mean --residues files",
            records(40),
            &[
                "mean.layer2.npy",
                "residues.layer2/000000/r0.npy",
                "residues.layer2.sha256",
                "journal",
                "index.tsv",
            ],
        ),
    ] {
        let case = Case::new(&format!("{options} --max-tokens 64"), &text);
        let mut missing = kinds.to_vec();
        // Threads compete for the last pages, so the file that misses one differs from sweep to sweep.
        for _ in 0..SWEEPS {
            let output = case
                .command(&["unshare", "-rm", "sh", "-c", SWEEP, "sh"], "")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{options}: {said}");
            let errors = case.bench.text("errors");
            assert!(
                errors.is_empty() || errors.starts_with("error: "),
                "{errors}"
            );
            for error in errors.split("error: ").skip(1) {
                assert!(
                    error.contains(
                        "No space left on device (os error 28); finished output is untouched, and \
                         the work so far stays in .partial\n  \
                         hint: free some space, or choose a folder on another file system with \
                         --out"
                    ),
                    "{error}"
                );
            }
            missing.retain(|kind| !errors.contains(&format!("/{kind}")));
            if missing.is_empty() {
                break;
            }
        }
        assert!(
            missing.is_empty(),
            "{options}: always had room: {missing:?}"
        );
    }
}

/// Of many records, the identifiers are in a file too. What is left of it is of no use to the next run.
#[test]
fn no_space_for_the_identifiers_of_many_records() {
    if !tools::has_strace() {
        return;
    }
    let text: String = (0..60_000).map(|i| format!(">r{i}\nMKT\n")).collect();
    let case = Case::new("in.fasta --pool mean --residues none", &text);
    let path = case.bench.path("emb/.partial/ids.seen");
    for (call, fault, error) in [
        (
            "openat",
            "error=EMFILE",
            "Too many open files (os error 24)",
        ),
        (
            "pwrite64",
            "error=ENOSPC",
            "No space left on device (os error 28)",
        ),
        ("pwrite64", "signal=SIGKILL", ""),
    ] {
        case.clear();
        let paths = [path.to_str().unwrap(), "emb/.partial/ids.seen"];
        let output = tools::with_fault_at(&paths, call, fault, 1, |strace| {
            case.command(strace, "--out emb").output().unwrap()
        });
        let text = String::from_utf8(output.stderr).unwrap();
        if error.is_empty() {
            assert!(!output.status.success() && exists(&path), "{text}");
        } else {
            assert_eq!(output.status.code(), Some(1), "{text}");
            let expected = format!("error: updating emb/.partial/ids.seen: {error}");
            assert!(text.starts_with(&expected), "{text}");
        }
        case.go_on(fault);
    }
}

#[test]
fn a_folder_that_vanishes() {
    let case = Case::new("- --max-tokens 16 --residues files", &records(40));
    let mut stalled = case.stall("--out emb", 20);
    std::fs::rename(case.bench.path("emb"), case.bench.path("gone")).unwrap();
    stalled.send(&records(200));
    let output = stalled.child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(
            "hint: the output folder was moved or removed during the run: run again and leave it \
             in place"
        ),
        "{text}"
    );
    assert!(!exists(&case.bench.path("emb")));
}
