//! Another run is not resumed: every difference is named, and the work stays.

use crate::bench::*;
use crate::case::*;
use crate::tools;
use esm_embed::numerals::count;
use esm_embed::output::read_journal;
use std::fs;
use std::os::unix::process::ExitStatusExt;

const LINE: &str = "in.fasta --max-tokens 16 --cpu-path portable --on-invalid skip";

/// An interrupted run over a file.
fn interrupted() -> Case {
    let case = Case::new(LINE, &records(40));
    case.starve(200, "--out emb");
    assert_eq!(case.bench.names("emb"), [".partial"]);
    let journal = fs::read(case.bench.path("emb/.partial/journal")).unwrap();
    assert!(read_journal(0, &journal).count() > 5);
    case
}

const BEFORE: &str = "error: emb holds the unfinished work of another run, which this run cannot \
                      resume: ";
const AFTER: &str = "\n  hint: give the same input, model and options again\n  \
                     hint: choose another folder with --out, or rename or remove this one\n";

/// Refused with these differences; nothing is changed.
fn assert_refused(case: &Case, line: &str, differences: &str) {
    let before = case.bench.tree("emb");
    let ended = case
        .bench
        .run(&format!("{line} --threads 1 -q --out emb --resume"));
    assert_eq!(
        (ended.code, ended.err),
        (1, format!("{BEFORE}{differences}{AFTER}")),
        "{line}"
    );
    assert!(case.bench.tree("emb") == before, "{line}");
}

#[test]
fn each_option_that_changes_a_byte_is_refused() {
    let case = interrupted();
    for (old, new, differences) in [
        ("portable", "portable --layer 1", "--layer was 2 and is 1"),
        (
            "portable",
            "portable --layer 0,2,1",
            "--layer was 2 and is 0,1,2",
        ),
        (
            "portable",
            "portable --pool max,bos",
            "--pool was mean and is bos,max",
        ),
        (
            "portable",
            "portable --pool none",
            "--pool was mean and is none",
        ),
        (
            "portable",
            "portable --residues files",
            "--residues was packed and is files",
        ),
        (
            "portable",
            "portable --residues none",
            "--residues was packed and is none",
        ),
        (
            "portable",
            "portable --out-dtype f16",
            "--out-dtype was f32 and is f16",
        ),
        (
            "portable",
            "portable --dtype bf16",
            "--dtype was f32 and is bf16",
        ),
        (
            "portable",
            "portable --long truncate:9",
            "--long was full and is truncate:9",
        ),
        (
            "portable",
            "portable --unknown error",
            "--unknown was unk and is error",
        ),
        (
            "portable",
            "portable --gaps drop",
            "--gaps was keep and is drop",
        ),
        ("skip", "fail", "--on-invalid was skip and is fail"),
        (
            "skip",
            "fail --layer 0 --dtype f16 --long window:9:2",
            "--layer was 2 and is 0; --dtype was f32 and is f16; --long was full and is \
             window:9:2; --on-invalid was skip and is fail",
        ),
    ] {
        let line = format!("{LINE} --model ./model").replace(old, new);
        assert_refused(&case, &line, differences);
    }
    // Options that change no byte may differ.
    let line = LINE.replace("16", "99").replace("in.fasta", "./in.fasta");
    let ended = case.bench.run(&format!(
        "{line} --model ./model --threads 2 --deterministic -q --out emb --resume --layer -1"
    ));
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let mut found = case.bench.tree("emb");
    found.remove("run.json");
    let mut whole = case.whole.clone();
    whole.remove("run.json");
    assert!(found == whole);
}

#[test]
fn another_input() {
    let case = interrupted();
    let text = records(40);
    let changed = text.replacen("\nA", "\nC", 1);
    assert_eq!(changed.len(), text.len());
    case.bench.write("in.fasta", &changed);
    let size = count(text.len() as u64, "byte");
    let digest = |text: &str| sha256(text.as_bytes());
    assert_refused(
        &case,
        &format!("{LINE} --model ./model"),
        &format!(
            "input 1 was {size} with SHA-256 {} and is {size} with SHA-256 {}",
            digest(&text),
            digest(&changed)
        ),
    );
    case.bench.write("in.fasta", &text);
    assert_refused(
        &case,
        &format!("in.fasta {LINE} --model ./model"),
        &format!(
            "input 2 was not given and is {size} with SHA-256 {}",
            digest(&text)
        ),
    );
    case.go_on("the input as it was");
}

#[test]
fn another_model() {
    let case = interrupted();
    let weights = fs::read(case.bench.path("model/model.safetensors")).unwrap();
    let mut changed = weights.clone();
    let at = first_byte(&weights, "esm.encoder.emb_layer_norm_after.bias");
    changed[at] ^= 1;
    case.bench.write("model/model.safetensors", &changed);
    let size = count(weights.len() as u64, "byte");
    assert_refused(
        &case,
        &format!("{LINE} --model ./model"),
        &format!(
            "model file model.safetensors was {size} with SHA-256 {} and is {size} with SHA-256 {}",
            sha256(&weights),
            sha256(&changed)
        ),
    );
    let ended = case
        .bench
        .run(&format!("{LINE} --model $esm2_hd24 -q --out emb --resume"));
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("config.json was "), "{}", ended.err);
    // The same bytes in a rewritten file.
    case.bench.write("model/model.safetensors", &weights);
    case.go_on("the model as it was");
}

/// A run that ended before it knew the checksums of its model is resumed only with the same files.
#[test]
fn a_model_touched_before_its_checksums_were_known() {
    if !tools::has_strace() {
        return;
    }
    let case = Case::new(LINE, &records(40));
    killed_before_computing(&case);
    let path = case.bench.path("model/model.safetensors");
    let weights = fs::read(&path).unwrap();
    fs::write(&path, &weights).unwrap();
    assert_refused(
        &case,
        &format!("{LINE} --model ./model"),
        "the model's files were moved, touched or replaced after the run began, and it ended \
         before it had their checksums",
    );
    case.clear();
    killed_before_computing(&case);
    case.go_on("untouched");
}

/// A run that has recorded what it is, and was killed as it recorded that it begins to compute.
fn killed_before_computing(case: &Case) {
    let ended = tools::with_fault("rename", "signal=SIGKILL", 2, |strace| {
        case.command(strace, "--out emb").output().unwrap()
    });
    assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
    let names = case.bench.names("emb/.partial");
    assert!(names.contains(&"begun.json".to_owned()), "{names:?}");
    assert!(!names.contains(&"status.json".to_owned()), "{names:?}");
}

/// A stream is compared as it arrives, and a wrong one does not damage the work.
#[test]
fn another_stream() {
    let text = records(40);
    let case = Case::new("- --max-tokens 16", &text);
    let refusals = [
        text.replacen("\nA", "\nC", 1),
        text.replacen(">r2 d", ">r2 e", 1),
        text.replacen(">r5 ", ">q5 ", 1),
        format!(">new\nMKT\n{text}"),
        text[text.find(">r1 ").unwrap()..].to_owned(),
        text[..text.find(">r8 ").unwrap()].to_owned(),
    ];
    case.interrupt(20);
    for (i, wrong) in refusals.iter().enumerate() {
        assert_ne!(*wrong, text);
        let line = format!("{} --out emb --resume", case.line);
        let ended = case.bench.pipe(&line, wrong.as_bytes());
        assert_eq!(ended.code, 1, "{i}: {}", ended.err);
        assert!(
            ended.err.contains(
                "the input up to this record differs from that of the interrupted run, whose work \
                 was not touched\n  \
                 hint: give the same input again\n  \
                 hint: choose another folder with --out\n"
            ),
            "{i}: {}",
            ended.err
        );
        if i == 0 {
            assert!(
                ended.err.starts_with("error: <stdin>, line "),
                "{}",
                ended.err
            );
        }
    }
    case.go_on("the right stream");
}

/// The same records from a file and from a stream.
#[test]
fn a_run_over_a_file_is_resumed_from_a_stream() {
    let case = interrupted();
    let line = LINE.replace("in.fasta", "-");
    let ended = case.bench.pipe(
        &format!("{line} --model ./model --threads 1 -q --out emb --resume"),
        records(40).as_bytes(),
    );
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let ended = case.bench.pipe(
        &format!("{line} --model ./model --threads 1 -q --out stream"),
        records(40).as_bytes(),
    );
    assert_eq!((ended.code, &*ended.err), (0, ""));
    assert!(case.bench.tree("emb") == case.bench.tree("stream"));
}

#[test]
fn a_finished_run_has_nothing_left_to_do() {
    let case = interrupted();
    case.go_on("to the end");
    let line = format!("{} --out emb --resume", case.line.replace(" -q", ""));
    for _ in 0..2 {
        let ended = case.bench.run(&line);
        assert_eq!(
            (ended.code, &*ended.err),
            (0, "emb is already complete: there is nothing to do\n")
        );
        case.assert_whole("again");
    }
    // Work that a network file system held back.
    fs::create_dir(case.bench.path("emb/.partial")).unwrap();
    case.bench.write("emb/.partial/.nfs0001", "x");
    assert_eq!(case.bench.run(&line).code, 0);
    case.assert_whole("tidied");

    let ended = case.bench.run(&line.replace("skip", "fail --layer 1"));
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: emb holds the output of another run, which this run cannot resume: --layer was \
             2 and is 1; --on-invalid was skip and is fail\n  \
             hint: give the same input, model and options again\n  \
             hint: choose another folder with --out, or rename or remove this one\n"
        )
    );
    fs::remove_file(case.bench.path("emb/mean.layer2.npy")).unwrap();
    let ended = case.bench.run(&line);
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: emb: run.json says that the run is complete, but mean.layer2.npy: \
             is missing\n  hint: choose another folder with --out, or rename or remove this one\n"
        )
    );
}

#[test]
fn a_finished_run_over_a_stream_with_skipped_records() {
    let text = format!("{}>bad\n", records(9));
    let bench = Bench::new();
    let line = "- --model $MODEL --on-invalid skip --out emb -q";
    assert_eq!(bench.pipe(line, text.as_bytes()).code, 3);
    let again = format!("{line} --resume");
    let ended = bench.pipe(&again, text.as_bytes());
    assert_eq!((ended.code, &*ended.err), (3, ""));
    let ended = bench.pipe(&again, records(9).as_bytes());
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("input 1 was "), "{}", ended.err);
}

#[test]
fn a_folder_that_is_being_written() {
    let case = Case::new("- --max-tokens 16", &records(40));
    let mut first = case.stall("--out emb", 20);
    let ended = case.run("--out emb --resume");
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: another run is writing into emb\n  \
             hint: wait until it has finished\n  \
             hint: choose another folder with --out\n"
        )
    );
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    case.go_on("the lock died with its owner");
}

#[test]
fn resume_and_force_together_are_wrong_usage() {
    let bench = Bench::new();
    let ended = bench.run("in.fasta --model $MODEL --out emb --resume --force");
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .err
            .contains("'--resume' cannot be used with '--force'"),
        "{}",
        ended.err
    );
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
