//! Every system call that changes something, killed or failed one by one (strace).

use crate::bench::messages;
use crate::case::*;
use crate::tools;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

const PACKED: &str = "in.fasta --pool mean --residues packed --max-tokens 40";
const FILES: &str = "in.fasta --pool bos --residues files --max-tokens 40";
const MAPS: &str = "in.fasta --pool mean --residues packed --include logits,contacts,attentions \
                    --max-tokens 40";

pub fn few_records() -> String {
    let record = |i: u64| {
        format!(
            ">r{i}\n{}\n",
            crate::bench::sequence(i % 4, 5 + i as usize % 4)
        )
    };
    (0..6).map(record).collect()
}

/// Runs with one system call, by its number in each thread, that fails or kills.
fn inject(case: &Case, call: &str, what: &str, number: u32, more: &str) -> Output {
    tools::with_fault(call, what, number, |strace| {
        case.command(strace, more).output().unwrap()
    })
}

/// Kills at the first, second, … such call until the run succeeds, and resumes each time; then again
/// with the resumed run killed at the same number.
fn kill_at_each(case: &Case, call: &str, more: &str, prepare: &dyn Fn()) -> u32 {
    for number in 1.. {
        let what = format!("{} {more}: killed at {call} number {number}", case.line);
        prepare();
        let first = inject(case, call, "signal=SIGKILL", number, more);
        if first.status.success() {
            case.assert_whole(&what);
            return number - 1;
        }
        assert_eq!(first.status.signal(), Some(9), "{what}: {first:?}");
        let again = more.replace("--force", "--resume");
        if number % 2 == 0 {
            let second = inject(case, call, "signal=SIGKILL", number, &again);
            let ended = second.status.success() || second.status.signal() == Some(9);
            // Until the new run has begun, the old one is there, and it is not the requested one.
            let is_old =
                String::from_utf8_lossy(&second.stderr).contains("the output of another run");
            assert!(
                ended || more.contains("--force") && is_old,
                "{what}: {second:?}"
            );
        }
        let mut ended = case.run(&again);
        if more.contains("--force") && ended.err.contains("the output of another run") {
            ended = case.run(more);
        }
        assert_eq!((ended.code, &*ended.err), (0, ""), "{what}");
        case.assert_whole(&what);
    }
    unreachable!()
}

/// Kills fresh runs at each of these system calls, and resumes them. A run makes at least as many calls of a
/// kind as the number beside it.
pub fn assert_resumed_after_kills(case: &Case, calls: &[(&str, u32)]) {
    for (call, least) in calls {
        let count = kill_at_each(case, call, "--out emb --resume", &|| case.clear());
        assert!(count >= *least, "{call}: only {count}");
    }
}

const CALLS: [(&str, u32); 10] = [
    ("write", 1),
    ("pwrite64", 6),
    ("fsync", 5),
    ("fdatasync", 2),
    ("rename", 5),
    ("openat", 20),
    ("mkdir", 2),
    ("unlink", 5),
    ("rmdir", 1),
    ("syncfs", 0),
];

#[test]
fn killed_at_each_call_with_packed_residues() {
    if !tools::has_strace() {
        return;
    }
    let case = Case::new(PACKED, &few_records());
    assert_resumed_after_kills(&case, &CALLS);
}

#[test]
fn killed_at_each_call_with_residue_files() {
    if !tools::has_strace() {
        return;
    }
    let case = Case::new(FILES, &few_records());
    let calls = [
        "write", "pwrite64", "fsync", "openat", "rename", "mkdir", "unlink", "syncfs",
    ];
    assert_resumed_after_kills(&case, &calls.map(|call| (call, 1)));
}

/// Attention maps are written part by part, so a kill may leave half of a map.
#[test]
fn killed_at_each_call_with_logits_contacts_and_attentions() {
    if !tools::has_strace() {
        return;
    }
    let case = Case::new(MAPS, &few_records());
    let calls = [
        ("write", 1),
        ("pwrite64", 20),
        ("fsync", 5),
        ("openat", 20),
        ("rename", 5),
        ("mkdir", 4),
        ("unlink", 5),
        ("syncfs", 1),
    ];
    assert_resumed_after_kills(&case, &calls);
}

/// Replacing another run: wherever it is killed, the folder never mixes the two.
#[test]
fn killed_at_each_call_while_another_output_is_replaced() {
    if !tools::has_strace() {
        return;
    }
    let case = Case::new(FILES, &few_records());
    case.bench.write("old.fasta", ">r1\nMKTAYI\n>old\nGAV\n");
    let old = "old.fasta --model $MODEL --layer 1,2 --residues files --pool bos,max";
    let prepare = || {
        case.clear();
        case.bench.embed(&format!("{old} --out emb"));
    };
    for call in ["rename", "unlink", "rmdir", "fsync"] {
        let count = kill_at_each(&case, call, "--out emb --force", &prepare);
        assert!(count >= 2, "{call}: only {count}");
    }
}

/// A run killed while its files were moved is discarded for another one: nothing of it stays.
#[test]
fn discarded_after_each_rename() {
    if !tools::has_strace() {
        return;
    }
    for (options, other) in [(PACKED, FILES), (FILES, PACKED)] {
        let case = Case::new(options, &few_records());
        let wanted = Case::new(&format!("{other} --layer 0"), &few_records());
        for number in 1.. {
            case.clear();
            let killed = inject(&case, "rename", "signal=SIGKILL", number, "--out emb");
            let line = format!("{} --out emb --force", wanted.line);
            let ended = case.bench.run(&line);
            assert_eq!((ended.code, &*ended.err), (0, ""), "{options} {number}");
            assert!(case.bench.tree("emb") == wanted.whole, "{options} {number}");
            if killed.status.success() {
                assert!(number > 4, "{options}: only {number}");
                break;
            }
        }
    }
}

/// A file system without locks is used, with a warning.
#[test]
fn a_file_system_without_locks() {
    if !tools::has_strace() {
        return;
    }
    let case = Case::new(PACKED, &few_records());
    let output = inject(&case, "flock", "error=ENOLCK", 1, "--out emb");
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "warning: emb: this file system has no locks, so nothing keeps another run from writing \
         into the folder at the same time\n"
    );
    case.assert_whole("without locks");
}

/// Number of such calls in the busiest thread of an undisturbed run.
fn calls(case: &Case, call: &str) -> u32 {
    case.clear();
    let trace = format!("trace={call}");
    let log = case.bench.path("strace");
    let wrapper = [
        "strace",
        "-ff",
        "-qq",
        "-o",
        log.to_str().unwrap(),
        "-e",
        &trace,
    ];
    let ended = case.command(&wrapper, "--out emb").output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let mut most = 0;
    for name in case.bench.names(".") {
        if name.starts_with("strace.") {
            most = most.max(case.bench.text(&name).lines().count());
            std::fs::remove_file(case.bench.path(&name)).unwrap();
        }
    }
    most as u32
}

/// Each call fails once: the run ends with 1 and one line with the system's error, or does without
/// the call, and can be resumed. Returns the number of runs that ended with 1.
fn fail_at_each(case: &Case, call: &str, error: &str) -> u32 {
    let mut failed = 0;
    for number in 1..=calls(case, call) {
        let what = format!("{}: {error} at {call} number {number}", case.line);
        case.clear();
        let failure = format!("error={error}");
        let output = inject(case, call, &failure, number, "--out emb");
        let text = String::from_utf8_lossy(&output.stderr);
        case.assert_honest(&what);
        match output.status.code() {
            Some(0) => {}
            // The loader cannot open a library.
            Some(127) if call == "openat" => {}
            Some(1) => {
                failed += 1;
                assert!(text.starts_with("error: "), "{what}: {text}");
                assert_eq!(messages(&text), 1, "{what}: {text}");
                assert!(text.contains("(os error "), "{what}: {text}");
            }
            other => panic!("{what}: {other:?}: {text}"),
        }
        case.go_on(&what);
    }
    failed
}

/// The same for one file per record.
#[test]
fn failed_at_each_call_with_residue_files() {
    if !tools::has_strace() {
        return;
    }
    let case = Case::new(FILES, &few_records());
    for (call, error) in [
        ("pwrite64", "EDQUOT"),
        ("pwrite64", "EIO"),
        ("write", "ENOSPC"),
        ("mkdir", "ENOSPC"),
        ("syncfs", "EIO"),
        ("rename", "EDQUOT"),
    ] {
        assert!(fail_at_each(&case, call, error) > 0, "{call} {error}");
    }
}

/// No file can be opened or created: an error too, except for the loader and for questions about the
/// machine.
#[test]
fn failed_at_each_open() {
    if !tools::has_strace() {
        return;
    }
    for (options, error) in [(PACKED, "ENOSPC"), (FILES, "EMFILE")] {
        let case = Case::new(options, &few_records());
        assert!(fail_at_each(&case, "openat", error) > 5, "{options}");
    }
}

#[test]
fn failed_at_each_call() {
    if !tools::has_strace() {
        return;
    }
    let case = Case::new(PACKED, &few_records());
    for (call, error) in [
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EDQUOT"),
        ("write", "EIO"),
        ("fsync", "EIO"),
        ("fdatasync", "EIO"),
        ("rename", "EIO"),
    ] {
        assert!(fail_at_each(&case, call, error) > 0, "{call} {error}");
    }
}
