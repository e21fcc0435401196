//! `score`: fair-esm's numbers, tables in and out, and what is refused.

use crate::bench::*;
use crate::common::{fixture, records};
use serde_json::Value;

/// Log-odds against fair-esm, one mask at a time.
const TOLERANCE: f64 = 1e-4;

fn reference() -> Value {
    let text = std::fs::read_to_string(fixture("reference/scores.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The sequence of a reference protein, as FASTA.
fn protein(id: &str) -> String {
    let all = records("reference/sequences.fasta");
    let (_, sequence) = all.iter().find(|(other, _)| other == id).unwrap();
    fasta([(id, str::from_utf8(sequence).unwrap())])
}

/// The words of a line, where `$NAME` is a fixture, as arguments of `score`.
pub fn score(bench: &Bench, line: &str) -> Ended {
    let expanded = |word: &str| word.split(',').map(expand).collect::<Vec<_>>().join(",");
    let words = line.split_whitespace().map(expanded);
    let mut command = bench.command();
    command.arg("score").args(words).arg("-q");
    ended(&mut command)
}

/// Scores and expects success without a message.
pub fn scored(bench: &Bench, line: &str) {
    let ended = score(bench, line);
    assert_eq!((ended.code, &*ended.err), (0, ""), "{line}");
    assert_eq!(ended.out, "", "{line}");
}

/// A column of a table with commas and without quotes.
fn column(table: &str, name: &str) -> Vec<String> {
    let mut lines = table.lines().map(|line| line.split(','));
    let at = lines.next().unwrap().position(|column| column == name);
    let at = at.unwrap_or_else(|| panic!("no column {name} in {table}"));
    lines
        .map(|mut line| line.nth(at).unwrap().to_owned())
        .collect()
}

fn numbers(table: &str, name: &str) -> Vec<f64> {
    let cells = column(table, name);
    cells.iter().map(|cell| cell.parse().unwrap()).collect()
}

fn assert_near(found: f64, wanted: f64, what: &str) {
    assert!(
        (found - wanted).abs() <= TOLERANCE,
        "{what}: {found}, but fair-esm has {wanted}"
    );
}

#[test]
fn every_method_and_window_equals_fair_esm() {
    let bench = Bench::new();
    for case in reference()["cases"].as_array().unwrap() {
        let of = |key: &str| case[key].as_str().unwrap();
        let what = format!("{} {} {}", of("model"), of("protein"), of("method"));
        bench.write("p.fasta", protein(of("protein")));
        let scores = case["scores"].as_object().unwrap();
        let variants: Vec<&str> = scores.keys().map(String::as_str).collect();
        bench.write("v.csv", format!("mutant\n{}\n", variants.join("\n")));
        let method = of("method");
        let line = format!("p.fasta --model ${} --method {method} --force", of("model"));
        scored(&bench, &format!("{line} --variants v.csv --out s.csv"));
        let table = bench.text("s.csv");
        let found = numbers(&table, of("model"));
        assert_eq!(found.len(), variants.len());
        for (variant, found) in variants.iter().zip(&found) {
            let wanted = scores[*variant].as_f64().unwrap();
            assert_near(*found, wanted, &format!("{what} {variant}"));
        }
        if let Some(pll) = case["pll"].as_f64() {
            scored(&bench, &format!("{line} --out pll.csv"));
            let table = bench.text("pll.csv");
            assert_near(numbers(&table, "pll")[0], pll, &what);
            let length = numbers(&table, "length")[0];
            let perplexity = (-pll / length).exp();
            let found = numbers(&table, "pseudo_perplexity")[0];
            assert!((found / perplexity - 1.0).abs() < 1e-4, "{what}");
        }
    }
}

const TWO: &str = ">p1 first\nMKTAYIAKQR\n>p2\nGSHMLEDPVA\n";

/// Several models, proteins and mutations, in any batch and on any threads.
#[test]
fn models_and_their_mean_in_the_same_bits_everywhere() {
    let bench = Bench::new();
    bench.write("p.fasta", TWO);
    bench.write(
        "one.csv",
        "id;mutant;DMS\r\np1;M1A;0,5\r\np2;G1S:A10V;\"1;2\"\r\n",
    );
    let line = "p.fasta --variants one.csv --sequence-col id --model $esm2_hd16,$esm1b,$esm2_hd16";
    scored(&bench, &format!("{line} --out s.csv"));
    let table = bench.text("s.csv");
    let mut lines = table.split("\r\n");
    assert_eq!(
        lines.next(),
        Some("id;mutant;DMS;esm2_hd16;esm1b;esm2_hd16_2;ensemble")
    );
    let first: Vec<&str> = lines.next().unwrap().split(';').collect();
    assert_eq!(first[..3], ["p1", "M1A", "0,5"]);
    assert_eq!(first[3], first[5]);
    let second: Vec<&str> = lines.next().unwrap().split(';').collect();
    assert_eq!(second[..4], ["p2", "G1S:A10V", "\"1", "2\""]);
    let number = |at: usize| first[at].parse::<f64>().unwrap();
    let mean = (number(3) + number(4) + number(5)) / 3.0;
    assert!((number(6) - mean).abs() < 2e-6);
    assert_eq!((lines.count(), table.matches("\r\n").count()), (1, 3));
    for options in [
        "--threads 1 --deterministic",
        "--threads 3 --max-tokens 12",
        "--threads 2 --max-tokens 4096",
    ] {
        scored(&bench, &format!("{line} --out other.csv --force {options}"));
        assert_eq!(bench.text("other.csv"), table, "{options}");
    }
    let offset = "p.fasta --sequence-col id --model $esm2_hd16 --offset 24";
    bench.write("two.csv", "mutant\tid\nG24S:A33V\tp2\n");
    scored(
        &bench,
        &format!("{offset} --variants two.csv --out two.tsv"),
    );
    assert!(
        bench
            .text("two.tsv")
            .starts_with("mutant\tid\tesm2_hd16\nG24S:A33V\tp2\t")
    );
    assert!(!exists(&bench.path("s.csv.partial")) && !exists(&bench.path("s.skipped.tsv")));
}

#[test]
fn a_landscape_has_all_letters_at_every_position() {
    let bench = Bench::new();
    bench.write("p.fasta", TWO);
    let line = "p.fasta --model $esm2_hd16 --method wt-marginals";
    scored(&bench, &format!("{line} --landscape all"));
    assert_eq!(bench.names("all"), ["esm2_hd16", "landscape.json"]);
    let about: Value = serde_json::from_str(&bench.text("all/landscape.json")).unwrap();
    assert_eq!(about["letters"], "LAGVSERTIDPKQNFYMHWC");
    assert_eq!(about["sequences"][1]["file"], "p2.npy");
    let array = bench.matrix("all/esm2_hd16/p1.npy");
    assert_eq!(array.dim(), (10, 20));
    // The protein's own residue has 0, and a letter the score of its mutation.
    bench.write("v.csv", "mutant,id\nM1L,p1\nK2M,p1\nR10C,p1\n");
    scored(
        &bench,
        &format!("{line} --variants v.csv --sequence-col id --out s.csv"),
    );
    let scores = numbers(&bench.text("s.csv"), "esm2_hd16");
    for ((residue, letter), wanted) in [(0, 0), (1, 16), (9, 19)].into_iter().zip(scores) {
        assert!((f64::from(array[[residue, letter]]) - wanted).abs() < 1e-5);
    }
    let own = [(0, 16), (1, 11), (2, 7), (3, 1)];
    assert!(own.into_iter().all(|at| array[[at.0, at.1]] == 0.0));
}

#[test]
fn rows_that_cannot_be_scored_stop_the_run_or_are_listed() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p1\nMKTAYIAKQR\n");
    let line = "p.fasta --model $esm2_hd16 --variants v.csv --out s.csv";
    for (rows, says) in [
        (
            "M1A\nA2G\n",
            "v.csv, line 3: expected K at position 2, which is what p1 has there, found A in A2G\n",
        ),
        (
            "M11A\n",
            "v.csv, line 2: expected a position from 1 to 10, the residues of p1, found 11 in M11A\n",
        ),
        (
            "M1J\n",
            "v.csv, line 2: expected residues of ESM's alphabet, found J in M1J\n",
        ),
        (
            "M1A\n\"\"\n",
            "v.csv, line 3: expected a mutation such as A42G, found an empty cell\n",
        ),
    ] {
        bench.write("v.csv", format!("mutant\n{rows}"));
        let ended = score(&bench, line);
        assert_eq!(ended.code, 1);
        assert!(
            ended.err.starts_with(&format!("error: {says}")),
            "{}",
            ended.err
        );
        assert!(
            ended
                .err
                .contains("  hint: correct it, or use --on-invalid skip")
        );
        let is_about_places = says.contains("position");
        assert_eq!(
            ended.err.contains("--offset"),
            is_about_places,
            "{}",
            ended.err
        );
        assert_eq!(bench.names("."), ["p.fasta", "v.csv"]);
    }
    bench.write("v.csv", "mutant,x\nA2G,1\nM1A,2\n\"M1A,\",3\n");
    let ended = score(&bench, &format!("{line} --on-invalid skip"));
    assert_eq!(
        (ended.code, &*ended.err),
        (
            3,
            "warning: 2 rows were left without a score and listed in s.skipped.tsv; the first is line \
             2: expected K at position 2, which is what p1 has there, found A in A2G\n"
        )
    );
    let table = bench.text("s.csv");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines[1], lines[3]), ("A2G,1,", "\"M1A,\",3,"));
    assert!(lines[2].starts_with("M1A,2,") && lines[2].len() > 12);
    assert_eq!(
        bench.text("s.skipped.tsv"),
        "line\tmutation\treason\n\
         2\tA2G\texpected K at position 2, which is what p1 has there, found A in A2G\n\
         4\tM1A,\texpected a mutation such as A42G, found M1A,\n"
    );
}

#[test]
fn other_inputs_that_cannot_be_scored_are_refused() {
    let bench = Bench::new();
    bench.write("p.fasta", TWO);
    bench.write("v.csv", "mutant\nM1A\n");
    bench.write("flags.csv", "id,model,mutant\n1,2,M1A\n");
    bench.write("j.fasta", ">p1\nMKJ\n");
    bench.write("same.fasta", ">p1\nMK\n>p1\nMK\n");
    bench.write("long.fasta", fasta([("long", &*sequence(3, 1100))]));
    let model = "--model $esm2_hd16 --variants v.csv --out s.csv";
    for (line, says) in [
        (
            format!("p.fasta {model}"),
            "error: there are 2 proteins, and nothing says which of them a variant belongs to\n  hint: \
             name the column with the identifiers of proteins with --sequence-col\n",
        ),
        (
            format!("p.fasta {model} --sequence-col id"),
            "error: v.csv, line 1: expected a column id, found \"mutant\"\n  hint: name the column of proteins \
             with --sequence-col\n",
        ),
        (
            // Columns that have the names of flags are not printed as flags.
            "p.fasta --variants flags.csv --out s.csv --sequence-col protein --model $esm2_hd16"
                .to_owned(),
            "error: flags.csv, line 1: expected a column protein, found \"id\", \"model\", \"mutant\"\n",
        ),
        (
            format!("p.fasta {model} --mutation-col change"),
            "error: v.csv, line 1: expected a column change, found \"mutant\"\n  hint: name the column of \
             mutations with --mutation-col\n",
        ),
        (
            format!("j.fasta {model}"),
            "error: j.fasta, line 1, record p1: residue 3: `J` is not in the ESM alphabet",
        ),
        (
            format!("same.fasta {model}"),
            "error: same.fasta, line 3, record p1: an earlier record has the same identifier\n",
        ),
        (
            "long.fasta --model $esm1b --landscape l --window none".to_owned(),
            "error: long has 1,100 residues, but ",
        ),
        (
            "long.fasta --model $esm1b --landscape l --window overlapping".to_owned(),
            "error: overlapping windows average unmasked passes, but masked-marginals masks each residue",
        ),
        (
            "p.fasta --model $esm2_hd16_noprefix --landscape l".to_owned(),
            "error: ",
        ),
    ] {
        let ended = score(&bench, &line);
        assert_eq!(ended.code, 1, "{line}: {}", ended.err);
        assert!(ended.err.starts_with(says), "{line}: {}", ended.err);
        for path in ["s.csv", "s.csv.partial", "l", "l.partial"] {
            assert!(!exists(&bench.path(path)), "{line}: {path}");
        }
    }
}

/// Work of a run that failed at its very end, of which some lines are lost.
#[test]
fn finished_passes_are_taken_over() {
    let bench = Bench::new();
    bench.write("p.fasta", protein("len33"));
    let variants: Vec<String> = "A1C G17I A21C L25V V29Y I33D"
        .split(' ')
        .map(str::to_owned)
        .collect();
    bench.write("v.csv", format!("mutant\n{}\n", variants.join("\n")));
    let line = "p.fasta --variants v.csv --model $esm2_hd16 --out s.csv";
    scored(&bench, line);
    let whole = bench.text("s.csv");
    std::fs::remove_file(bench.path("s.csv")).unwrap();
    // A folder in the place of the file that is renamed at the end.
    std::fs::create_dir(bench.path("s.csv.new")).unwrap();
    let failed = score(&bench, line);
    assert_eq!(failed.code, 1);
    let journal = bench.text("s.csv.partial");
    let lines: Vec<&str> = journal.lines().collect();
    assert_eq!(lines.len(), 6);
    std::fs::remove_dir(bench.path("s.csv.new")).unwrap();
    for (changed, restored) in [("--offset 1", 4), ("--method pll-unmasked", 0)] {
        bench.write(
            "s.csv.partial",
            format!("{}\n{}", lines[..4].join("\n"), &lines[4][..90]),
        );
        let mut command = bench.command();
        let line = format!("score {line} --resume --progress json {changed}");
        command.args(line.split_whitespace().map(expand));
        let ended = ended(&mut command);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let found = format!("\"passes_restored\":{restored},");
        assert!(ended.err.contains(&found), "{}", ended.err);
        match restored {
            4 => assert_eq!(bench.text("s.csv"), whole),
            _ => assert_ne!(bench.text("s.csv"), whole),
        }
        assert!(!exists(&bench.path("s.csv.partial")));
        std::fs::remove_file(bench.path("s.csv")).unwrap();
    }
}

/// A table of variants has thousands of rows, and each is a pass: what is kept of one is small.
#[test]
fn one_number_for_each_token_is_kept_of_an_unmasked_variant() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p1\nMKTAYIAKQR\n");
    bench.write("v.csv", "mutant\nM1A\nK2A\n");
    std::fs::create_dir(bench.path("s.csv.new")).unwrap();
    let line = "p.fasta --variants v.csv --model $esm2_hd16 --out s.csv --method pll-unmasked";
    assert_eq!(score(&bench, line).code, 1);
    let journal = bench.text("s.csv.partial");
    // A key, 12 tokens of 16 digits, and a checksum: the protein and two variants.
    let lengths: Vec<usize> = journal.lines().map(str::len).collect();
    assert_eq!(lengths, [32 + 1 + 12 * 16 + 1 + 8; 3]);
}

#[test]
fn what_exists_is_not_touched_without_being_asked() {
    let bench = Bench::new();
    bench.write("p.fasta", protein("len128"));
    let line = "p.fasta --model $esm2_hd16 --landscape all --threads 1 --max-tokens 300";
    scored(&bench, line);
    let whole = bench.tree("all");
    // What a run leaves that was stopped: its journal, of which the last line may be torn.
    let kept = bench.path("all.partial");
    assert!(!exists(&kept));
    std::fs::remove_dir_all(bench.path("all")).unwrap();
    bench.write("all.partial", "torn");
    let refused = score(&bench, line);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains(
            "all.partial: an interrupted run has left its work here\n  hint: use \
                              --resume to continue it, or --force to begin again"
        ),
        "{}",
        refused.err
    );
    scored(&bench, &format!("{line} --resume"));
    assert!(bench.tree("all") == whole);
    // Neither replaced nor computed again without being asked.
    let again = score(&bench, line);
    assert!(
        again.err.contains("all: it exists already\n"),
        "{}",
        again.err
    );
}
