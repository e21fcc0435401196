//! Input that changes while it is read: an error, and the run can be resumed with the original input.

use crate::bench::*;
use crate::case::*;
use esm_embed::numerals::count;
use esm_embed::output::read_journal;
use std::fs;
use std::io::Write;
use std::process::Child;
use std::time::Duration;

fn signal(child: &Child, name: &str) {
    kill(child, name);
}

/// Starts a run and halts it in the middle of its input: some records are finished, and the end has
/// not been read.
fn halted(case: &Case) -> Child {
    let size = fs::metadata(case.bench.path("in.fasta")).unwrap().len();
    let journal = case.bench.path("emb/.partial/journal");
    // A run that ends before it is halted is started again.
    for _ in 0..50 {
        case.clear();
        let mut child = case.command(&[], "--out emb").spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            let slots = fs::read(&journal).unwrap_or_default();
            if read_journal(0, &slots).count() >= 3 {
                signal(&child, "STOP");
                if is_halted(&child)
                    && read_so_far(&child).is_some_and(|read| (1..size).contains(&read))
                {
                    return child;
                }
                signal(&child, "CONT");
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        child.wait().unwrap();
    }
    panic!("the run is too short to be halted");
}

fn is_halted(child: &Child) -> bool {
    loop {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        match stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next())
        {
            Some('T') => return true,
            Some('Z') | None => return false,
            _ => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

/// How far a run has read `in.fasta`, which it has open.
fn read_so_far(child: &Child) -> Option<u64> {
    let folder = format!("/proc/{}/fd", child.id());
    let mut places = fs::read_dir(&folder).ok()?.flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let info = fs::read_to_string(entry.path().to_str()?.replace("/fd/", "/fdinfo/")).ok()?;
        let place = info.lines().next()?.strip_prefix("pos:")?.trim().parse();
        (target.file_name()? == "in.fasta").then_some(place.ok()?)
    });
    // Standard input is the same file, unread.
    places.by_ref().max()
}

/// Records with long headers, so that most of the input is not read ahead.
fn bulky() -> String {
    let text = "x".repeat(2000);
    (0..1000)
        .map(|i| format!(">r{i} {text}\n{}\n", sequence(i, 12)))
        .collect()
}

#[test]
fn a_file_that_grows_shrinks_or_is_replaced_while_it_is_read() {
    for residues in ["packed", "files"] {
        let text = bulky();
        let options = format!("in.fasta --max-tokens 16 --deterministic --residues {residues}");
        let case = Case::new(&options, &text);
        let path = case.bench.path("in.fasta");
        let open = || fs::File::options().append(true).open(&path).unwrap();

        let child = halted(&case);
        open().write_all(b">new\nMKT\n").unwrap();
        let (was, is) = (text.len(), text.len() + 9);
        assert_noticed(&case, child, was, is);
        case.bench.write("in.fasta", &text);
        case.go_on("grown");

        let child = halted(&case);
        let half = text.len() - text.len() / 8;
        open().set_len(half as u64).unwrap();
        assert_noticed(&case, child, text.len(), half);
        case.bench.write("in.fasta", &text);
        case.go_on("shrunk");

        // The same size in the same file: only the checksum differs.
        let child = halted(&case);
        let end = text.rfind("\n>").unwrap();
        let other = format!("{}{}", &text[..end], text[end..].replace('A', "C"));
        assert!(other.len() == text.len() && other != text);
        case.bench.write("in.fasta", &other);
        let said = continued(child);
        let size = text.len();
        let change = format!(
            "in.fasta: changed while it was read ({size} bytes at first, {size} later, with \
             different content)\n\
             \x20 hint: wait until nothing writes to it, then run again with another folder as \
             --out\n"
        );
        assert!(said.ends_with(&change), "{said}");
        assert_eq!(case.bench.names("emb"), [".partial"]);
    }
}

/// Lets a run continue to its end, which is an error.
fn continued(child: Child) -> String {
    signal(&child, "CONT");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

fn assert_noticed(case: &Case, child: Child, was: usize, is: usize) {
    let said = continued(child);
    let change = format!(
        "in.fasta: changed while it was read: it had {} when it was opened and has {} now\n  hint: wait until nothing writes to it, then run again",
        count(was as u64, "byte"),
        count(is as u64, "byte")
    );
    assert!(said.contains(&change), "{said}");
    assert_eq!(case.bench.names("emb"), [".partial"]);
}
