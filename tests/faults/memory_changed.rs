//! Runs resumed with more memory, or less, than when they began.

use crate::case::*;
use esm_embed::output::read_journal;

/// Less address space than a record of three million residues needs.
const LIMITED: [&str; 4] = ["sh", "-c", "ulimit -v 1572864; exec \"$@\"", "sh"];
const OPTIONS: &str = "- --max-tokens 16 --on-invalid skip";

/// Forty records, one too large for the limit, and one more.
fn with_giant() -> String {
    let giant = "ACDEFGHIKLMNPQRSTVWY".repeat(150_000);
    format!("{}>giant\n{giant}\n>last\nMKT\n", records(40))
}

/// The skipped records were decided when the run began, so more memory gives the same bytes.
#[test]
fn more_memory_changes_nothing() {
    let case = Case::bare(OPTIONS, &with_giant());
    let whole = case.ended(&LIMITED, "--out whole");
    assert_eq!(whole.code, 3, "{}", whole.err);
    let skipped = case.bench.text("whole/skipped.tsv");
    assert_eq!(
        skipped.lines().nth(1),
        Some(
            "-\t81\t41\tgiant\tthe sequence has 3,000,000 residues, too many for the memory \
             of the run"
        )
    );
    let mut stalled = case.stall_in(&LIMITED, "--out emb", 20);
    stalled.child.kill().unwrap();
    stalled.child.wait().unwrap();
    let ended = case.ended(&[], "--out emb --resume");
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert!(
        ended.err.contains(
            "warning: 1 record was left out because memory was short when the run began, \
             although there is enough now\n\
             \x20 hint: a run into another folder (--out) embeds it too\n"
        ),
        "{}",
        ended.err
    );
    assert!(case.bench.tree("emb") == case.bench.tree("whole"));
    // Memory does not matter to a finished run either.
    for wrapper in [&LIMITED[..], &[]] {
        let ended = case.ended(wrapper, "--out emb --resume");
        assert_eq!((ended.code, &*ended.err), (3, ""));
    }
}

/// With less memory the run is resumed unless a record needs more; then that record is named and the
/// work stays.
#[test]
fn less_memory_is_refused_only_if_a_record_needs_it() {
    let case = Case::new(OPTIONS, &records(40));
    case.interrupt(20);
    let ended = case.ended(&LIMITED, "--out emb --resume");
    assert_eq!((ended.code, &*ended.err), (0, ""));
    case.assert_whole("less memory");

    case.interrupt(20);
    let before = done(&case);
    case.bench.write("in.fasta", with_giant());
    let ended = case.ended(&LIMITED, "--out emb --resume");
    assert_eq!(ended.code, 1, "{}", ended.err);
    let start = "error: <stdin>, line 81, record 41 (giant): the sequence has 3,000,000 \
                 residues and belongs to the interrupted run, which left out only sequences of \
                 more than 16,777,216; it needs about ";
    assert!(ended.err.starts_with(start), "{}", ended.err);
    assert!(
        ended.err.contains(
            " are left beside the model (ulimit -v)\n\
             \x20 hint: resume where there is as much memory as \
             before\n  hint: use fewer --threads, which need less memory\n  hint: choose another \
             folder with --out\n"
        ),
        "{}",
        ended.err
    );
    let kept = done(&case);
    assert!(before.iter().all(|row| kept.contains(row)));
    case.bench.write("in.fasta", records(40));
    case.go_on("the input without it");
}

/// The rows that the journal proves finished.
fn done(case: &Case) -> Vec<u64> {
    let journal = std::fs::read(case.bench.path("emb/.partial/journal")).unwrap();
    read_journal(0, &journal).map(|(row, _)| row).collect()
}
