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
fn score(bench: &Bench, line: &str) -> Ended {
    let expanded = |word: &str| word.split(',').map(expand).collect::<Vec<_>>().join(",");
    let words = line.split_whitespace().map(expanded);
    let mut command = bench.command();
    command.arg("score").args(words).arg("-q");
    ended(&mut command)
}

/// Scores and expects success without a message.
fn scored(bench: &Bench, line: &str) {
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
            "error: v.csv, line 1: expected a column id, found `mutant`\n",
        ),
        (
            format!("p.fasta {model} --mutation-col change"),
            "error: v.csv, line 1: expected a column change, found `mutant`\n",
        ),
        (
            format!("j.fasta {model}"),
            "error: j.fasta, record p1: residue 3: `J` is not in the ESM alphabet",
        ),
        (
            format!("same.fasta {model}"),
            "error: same.fasta, record p1: an earlier record has the same identifier\n",
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

#[test]
fn what_cannot_be_written_is_refused_before_any_pass() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p1\nMKTAYIAKQR\n");
    bench.write("v.csv", "mutant\nM1A\nM1J\n");
    bench.write("file", "mine");
    bench.write("s.skipped.tsv", "mine");
    std::fs::create_dir(bench.path("folder")).unwrap();
    let before = bench.tree(".");
    let line = "p.fasta --model $esm2_hd16";
    let variants = format!("{line} --variants v.csv --on-invalid skip");
    for (line, says) in [
        (
            format!("{variants} --out none/s.csv"),
            "error: none/s.csv: there is no folder none\n",
        ),
        (
            format!("{line} --landscape none/l"),
            "error: none/l: there is no folder none\n",
        ),
        (
            format!("{variants} --out folder --force"),
            "error: folder: it is not a file\n",
        ),
        (
            format!("{variants} --out p.fasta --force"),
            "error: p.fasta: it is the file with the sequences\n  hint: choose another name with --out\n",
        ),
        (
            format!("{line} --landscape file --force"),
            "error: file: it is not a folder\n",
        ),
        (
            format!("{variants} --out s.csv"),
            "error: s.skipped.tsv: it exists already\n  hint: choose another name, or use --force to \
             replace it\n",
        ),
        (
            format!("{line} --variants folder --out s.csv"),
            "error: folder: it is a folder\n",
        ),
        (format!("{line} --landscape l --revision main"), "error: "),
    ] {
        let ended = score(&bench, &line);
        assert_eq!(ended.code, 1, "{line}: {}", ended.err);
        assert!(ended.err.starts_with(says), "{line}: {}", ended.err);
        assert!(bench.tree(".") == before, "{line}");
    }
    let ended = score(&bench, &format!("{line} --landscape l --revision main"));
    let says = "is a file or folder, which has no revisions\n  hint: leave out --revision";
    assert!(ended.err.contains(says), "{}", ended.err);
}

/// The list of an earlier run does not stay beside a table without gaps; another file does.
#[test]
fn a_replaced_table_takes_its_list_of_skipped_rows_with_it() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p1\nMKTAYIAKQR\n");
    bench.write("v.csv", "mutant\nM1J\n");
    let line = "p.fasta --model $esm2_hd16 --variants v.csv --out s.csv";
    assert_eq!(score(&bench, &format!("{line} --on-invalid skip")).code, 3);
    bench.write("v.csv", "mutant\nM1A\n");
    scored(&bench, &format!("{line} --force"));
    assert!(!exists(&bench.path("s.skipped.tsv")));
    bench.write("s.skipped.tsv", "mine");
    scored(&bench, &format!("{line} --force"));
    assert_eq!(bench.text("s.skipped.tsv"), "mine");
}

#[test]
fn models_of_one_name_have_their_own_columns_and_folders() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p1\nMKTAYIAKQR\n");
    std::fs::create_dir(bench.path("a")).unwrap();
    std::os::unix::fs::symlink(fixture("esm2_hd24"), bench.path("a/esm2_hd16")).unwrap();
    let models = "--model $esm2_hd16,a/esm2_hd16 --method";
    scored(
        &bench,
        &format!("p.fasta {models} wt-marginals --landscape l"),
    );
    let folders = ["ensemble", "esm2_hd16", "esm2_hd16_2", "landscape.json"];
    assert_eq!(bench.names("l"), folders);
    let [mean, one, two] = folders[..3] else {
        panic!()
    };
    let of = |name: &str| bench.matrix(&format!("l/{name}/p1.npy"));
    let (mean, one, two) = (of(mean), of(one), of(two));
    assert!(one != two);
    for ((mean, one), two) in mean.iter().zip(&one).zip(&two) {
        assert!((mean - (one + two) / 2.0).abs() < 1e-5);
    }
    let about: Value = serde_json::from_str(&bench.text("l/landscape.json")).unwrap();
    let names = serde_json::json!(["esm2_hd16", "esm2_hd16_2", "ensemble"]);
    assert_eq!(about["models"], names);
    scored(&bench, &format!("p.fasta {models} pll --out pll.csv"));
    let header = "id,length,pll.esm2_hd16,pseudo_perplexity.esm2_hd16,pll.esm2_hd16_2,\
                  pseudo_perplexity.esm2_hd16_2\n";
    assert!(bench.text("pll.csv").starts_with(header));
}

#[test]
fn tables_are_read_compressed_and_from_standard_input() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p1\nMKTAYIAKQR\n");
    let table = "x;mutant\r\n1;M1A\r\n";
    bench.write("v.csv", table);
    bench.write("v.csv.gz", gzip(table.as_bytes()));
    let line = "p.fasta --model $esm2_hd16 --method wt-marginals --out";
    for (number, path) in ["v.csv", "v.csv.gz", "-"].into_iter().enumerate() {
        let line = format!("score {line} {number}.csv --variants {path} -q");
        let mut command = bench.command();
        command.args(line.split(' ').map(expand)).write_stdin(table);
        let ended = ended(&mut command);
        assert_eq!((ended.code, &*ended.err), (0, ""), "{path}");
        assert_eq!(bench.text(&format!("{number}.csv")), bench.text("0.csv"));
    }
}

#[test]
fn progress_counts_passes_and_tokens() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p1\nMKTAYIAKQR\n");
    bench.write("v.csv", "mutant\nM1A\nK2A:M1C\n");
    let line = "score p.fasta --model $esm2_hd16 --variants v.csv --out";
    let call = |more: &str| {
        let mut command = bench.command();
        let line = format!("{line} {more}");
        command.args(line.split(' ').map(expand));
        ended(&mut command)
    };
    let plain = call("a.csv --progress plain");
    let lines: Vec<&str> = plain.err.lines().collect();
    assert_eq!(lines[0], "reading the input");
    assert_eq!(lines[1], "loading esm2_hd16");
    assert_eq!(lines[2], "computing 2 passes, 24 tokens");
    assert!(lines[3].starts_with("2 passes, 24 tokens in "), "{lines:?}");
    assert_eq!(lines[4], "2 scores in a.csv");
    let json = call("b.csv --progress json");
    let end = json.err.lines().find(|line| line.contains(r#""end""#));
    let end: Value = serde_json::from_str(end.unwrap()).unwrap();
    assert_eq!(
        (&end["passes"], &end["tokens_total"]),
        (&2.into(), &24.into())
    );
    assert!(!json.err.contains("record"), "{}", json.err);
}
