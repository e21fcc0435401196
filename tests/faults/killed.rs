//! `kill -9` at any moment.

use crate::case::*;
use crate::tools;
use esm_embed::output::read_journal;
use std::time::{Duration, Instant};

const CASES: [&str; 6] = [
    "in.fasta --layer 0,1,2 --pool mean,bos,max --max-tokens 64",
    "in.fasta --layer 1,2 --residues files --pool bos --deterministic",
    "in.fasta --residues none --out-dtype f16 --max-tokens 200",
    "in.fasta --long window:32:8 --residues files --out-dtype f16 --max-tokens 40",
    "- --layer 0,2 --pool max --max-tokens 50",
    "in.fasta --include logits,contacts,attentions --residues files --max-tokens 60",
];

/// Starts the run and kills it after a fraction of its time; true if it was still running.
fn kill_after(case: &Case, more: &str, moment: Duration) -> bool {
    let mut child = case.command(&[], more).spawn().unwrap();
    std::thread::sleep(moment);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// Sixty runs are killed at seeded random moments and resumed; most are killed again while they
/// resume, and then resumed to the end.
#[test]
fn killed_at_sixty_moments_and_again_while_resuming() {
    let mut random = Random(0x5eed_0005);
    let mut killed = 0;
    for options in CASES {
        let case = Case::new(options, &format!("{}>odd\nmkj*\n", records(120)));
        let begin = Instant::now();
        assert_eq!(case.run("--out emb --resume").code, 0);
        let whole = begin.elapsed().as_micros() as u64;
        for k in 0..10 {
            case.clear();
            let mut what = format!("{options}, killed");
            for _ in 0..1 + k % 3 {
                let moment = Duration::from_micros(random.below(whole));
                what += &format!(" after {moment:?} of {whole} µs,");
                killed += u32::from(kill_after(&case, "--out emb --resume", moment));
                case.assert_honest(&what);
            }
            case.go_on(&what);
        }
    }
    // A test that killed nothing would prove nothing.
    assert!(killed >= 60, "{killed} runs of 114 were killed");
}

/// The layers of a record are one row of a stack, which counts as a whole or not at all.
#[test]
fn a_killed_run_with_stacked_layers_is_resumed_to_the_same_bytes() {
    for options in [
        "- --layer all --stack-layers --residues none --pool mean,max --max-tokens 16",
        "- --layer 0,2 --stack-layers --residues packed --out-dtype f16 --max-tokens 16",
    ] {
        let case = Case::new(options, &records(40));
        assert!(case.whole.contains_key("mean.layers.npy"), "{options}");
        for done in [1, 7, 20] {
            case.interrupt(done);
            assert_eq!(case.bench.names("emb"), [".partial"]);
            case.go_on(&format!("{options}, killed after {done} records"));
        }
    }
}

/// With one record per batch, everything finished before the kill is kept.
#[test]
fn only_the_current_batch_is_lost() {
    if !tools::has_strace() {
        return;
    }
    let options = "in.fasta --deterministic --pool mean --residues packed";
    let mut text = String::new();
    for i in 0..8 {
        text += &format!(">r{i}\n{}\n", crate::bench::sequence(i, 20));
    }
    let case = Case::new(options, &text);
    for (number, kept) in [(1, 0), (2, 1), (5, 4), (8, 7)] {
        case.clear();
        // Killed before a slot is written: the rows of that record are already there.
        let journal = case.bench.path("emb/.partial/journal");
        let journal = journal.to_str().unwrap();
        let kill = "signal=SIGKILL";
        let ended = tools::with_fault_at(&[journal], "pwrite64", kill, number, |strace| {
            case.command(strace, "--out emb").output().unwrap()
        });
        assert!(!ended.status.success());
        let line = case.line.replace(" -q", "");
        let ended = case.bench.run(&format!("{line} --out emb --resume"));
        let were = if kept == 1 { "was" } else { "were" };
        let message = format!("{kept} of 8 distinct sequences {were} already done\n");
        assert!(ended.err.contains(&message), "{number}: {}", ended.err);
        case.assert_whole(&format!("write {number}"));
    }
}

#[test]
fn without_strace_a_test_is_skipped() {
    let empty = tempfile::tempdir().unwrap();
    let path = [("PATH", empty.path().to_str().unwrap())];
    tools::assert_skips("injected::failed_at_each_call", &path, "strace");
}

/// Records that an earlier process computed do not count towards the speed of the one that resumes.
#[test]
fn a_resumed_run_distinguishes_restored_from_computed_records() {
    let case = Case::new(
        "- --pool mean --residues packed --max-tokens 16",
        &records(40),
    );
    case.interrupt(20);
    let ended = case.run("--out emb --resume --progress json");
    let mut lines = ended.err.lines();
    let end = lines
        .find(|line| line.contains(r#""event":"end""#))
        .unwrap();
    let end: serde_json::Value = serde_json::from_str(end).unwrap();
    let number = |name: &str| end[name].as_f64().unwrap();
    assert_eq!(number("records"), number("records_total"), "{end}");
    assert_eq!(number("residues"), number("residues_total"), "{end}");
    assert!(number("records_restored") >= 20.0, "{end}");
    // Computing took at most the whole time, so the speed is at least this.
    let computed = number("residues") - number("residues_restored");
    assert!(computed > 0.0 && computed < number("residues"), "{end}");
    assert!(
        number("residues_per_second") >= computed / number("seconds"),
        "{end}"
    );
    case.assert_whole("resumed");
}

/// The forecast of the rest, and the first line of the resumed run, leave out finished work.
#[test]
fn a_forecast_leaves_out_finished_work() {
    let options = "in.fasta --pool mean --residues packed --max-tokens 16";
    let case = Case::bare(options, &records(60));
    case.starve(200, "--out emb");
    let journal = std::fs::read(case.bench.path("emb/.partial/journal")).unwrap();
    let done = read_journal(0, &journal).count() as u64;
    assert!(done > 0);
    let before = case.bench.tree("emb");
    let dry = |more: &str| {
        let ended = case.run(&format!("{more} --dry-run --progress json"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let said: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        let names = [
            "records",
            "distinct_records",
            "restored_records",
            "restored_residues",
            "tokens",
        ];
        names.map(|name| said[name].as_u64().unwrap())
    };
    let [records, distinct, none, no_residues, tokens] = dry("--out other");
    assert_eq!((records, none, no_residues), (60, 0, 0));
    let [_, same, restored, residues, left] = dry("--out emb --resume");
    assert_eq!((same, restored), (distinct, done));
    // Two tokens of each record are not residues.
    assert_eq!(left, tokens - residues - 2 * done);
    let ended = case.run("--out emb --resume --dry-run");
    let line = format!("\nrestored      {done} records, {residues} residues (");
    assert!(ended.out.contains(&line), "{}", ended.out);
    assert_eq!(case.bench.tree("emb"), before);

    // A forecast for other options is refused as the run would be.
    let refused = case.run("--out emb --resume --dry-run --layer 0");
    assert_eq!(refused.code, 1, "{}", refused.out);

    let ended = case.run("--out emb --resume --progress json");
    for kind in [r#""event":"start""#, r#""event":"end""#] {
        let line = ended.err.lines().find(|line| line.contains(kind)).unwrap();
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["records_restored"], done, "{event}");
        assert_eq!(event["residues_restored"], residues, "{event}");
        assert_eq!(event["records_total"], distinct, "{event}");
    }
    // Nothing is left.
    let [_, _, restored, _, left] = dry("--out emb --resume");
    assert_eq!((restored, left), (distinct, 0));
}
