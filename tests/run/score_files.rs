//! The files that `score` reads and writes, and its progress.

use crate::bench::*;
use crate::common::fixture;
use crate::score::{score, scored};
use serde_json::Value;

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
            "error: folder is a folder, so it is not replaced\n  hint: choose another name with --out\n",
        ),
        (
            format!("{variants} --out - --force"),
            "error: - is not the name of a file: nothing is written to standard output\n  \
             hint: choose another name with --out\n",
        ),
        // A name that cannot be one of a file is not found out when the scores are there.
        (
            format!("{variants} --out new/"),
            "error: new/ is not the name of a file\n  hint: choose another name with --out\n",
        ),
        (
            format!("{variants} --out s.csv.gz"),
            "error: s.csv.gz: the table is not compressed, and its name would say that it is\n  hint: leave \
             out the ending, and compress the file afterwards\n",
        ),
        (
            format!("{variants} --out both --landscape both/"),
            "error: both/: --out and --landscape have the same name\n  hint: choose another name for one of \
             them\n",
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

/// A program that reads all arrays of a folder must not find those of another run.
#[test]
fn a_replaced_landscape_takes_its_arrays_with_it() {
    let bench = Bench::new();
    bench.write("one.fasta", ">a\nMKT\n>b\nMKV\n");
    bench.write("two.fasta", ">b\nMKV\n");
    let line = "--method wt-marginals --landscape l";
    scored(
        &bench,
        &format!("one.fasta {line} --model $esm2_hd16,$esm2_hd24"),
    );
    bench.write("l/esm2_hd16/mine.npy", "mine");
    scored(
        &bench,
        &format!("two.fasta {line} --model $esm2_hd16 --force"),
    );
    assert_eq!(bench.names("l"), ["esm2_hd16", "landscape.json"]);
    assert_eq!(bench.names("l/esm2_hd16"), ["b.npy", "mine.npy"]);
    // What the list says of places outside is not believed.
    bench.write(
        "l/landscape.json",
        r#"{"models": ["..", "esm2_hd16"], "sequences":
        [{"file": "kept.npy"}, {"file": "../../kept.npy"}, {"file": "b.npy"}]}"#,
    );
    bench.write("kept.npy", "mine");
    scored(
        &bench,
        &format!("one.fasta {line} --model $esm2_hd24 --force"),
    );
    assert_eq!(bench.text("kept.npy"), "mine");
    assert_eq!(bench.names("l/esm2_hd16"), ["mine.npy"]);
    assert_eq!(bench.names("l/esm2_hd24"), ["a.npy", "b.npy"]);
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

/// One bad record among several: its rows have no scores, the others have those of a file without it.
#[test]
fn a_record_that_cannot_be_scored_costs_only_its_own_scores() {
    let bench = Bench::new();
    bench.write("sound.fasta", ">a\nMKTAY\n>c\nMKV\n");
    bench.write("p.fasta", ">a\nMKTAY\n>b\nMKJ\n>c\nMKV\n>empty\n");
    bench.write("sound.csv", "id,mutant\na,M1A\nc,K2R\n");
    bench.write("v.csv", "id,mutant\na,M1A\nb,M1A\nempty,M1A\nc,K2R\n");
    let models = "--model $esm2_hd16,$esm2_hd24";
    let variants = format!("{models} --sequence-col id");
    scored(
        &bench,
        &format!("sound.fasta {variants} --variants sound.csv --out sound --landscape l"),
    );
    let line = format!("p.fasta {variants} --variants v.csv --out s.csv --landscape m");
    let ended = score(&bench, &line);
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: p.fasta, line 3, record b: residue 3: `J` is not in the ESM alphabet \
             (LAGVSERTIDPKQNFYMHWCXBUZO.-)\n  \
             hint: correct it, or write X for an unknown residue\n  \
             hint: use --on-invalid skip to leave such records without scores\n"
        )
    );
    let ended = score(&bench, &format!("{line} --on-invalid skip"));
    let why = "residue 3: `J` is not in the ESM alphabet (LAGVSERTIDPKQNFYMHWCXBUZO.-)";
    assert_eq!(
        (ended.code, ended.err),
        (
            3,
            format!(
                "warning: 2 rows were left without a score and listed in s.skipped.tsv; the first is \
                 line 3: record b: {why}\n\
                 warning: 2 records were left without an array and listed in m.skipped.tsv; the first \
                 is line 3: {why}\n"
            )
        )
    );
    let sound = bench.text("sound");
    let sound: Vec<&str> = sound.lines().collect();
    let table = bench.text("s.csv");
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!([rows[0], rows[1], rows[4]], [sound[0], sound[1], sound[2]]);
    assert_eq!([rows[2], rows[3]], ["b,M1A,,,", "empty,M1A,,,"]);
    assert_eq!(
        bench.text("s.skipped.tsv"),
        format!(
            "line\tmutation\treason\n3\tM1A\trecord b: {why}\n4\tM1A\trecord empty: it has no residues\n"
        )
    );
    let list = format!("line\tid\treason\n3\tb\t{why}\n7\tempty\tit has no residues\n");
    assert_eq!(bench.text("m.skipped.tsv"), list);
    assert!(bench.tree("l") == bench.tree("m"));

    // Without variants, the records are the rows.
    scored(
        &bench,
        &format!("sound.fasta {models} --method pll --out sound --force"),
    );
    let pll = format!("p.fasta {models} --method pll --on-invalid skip --out pll.csv");
    let ended = score(&bench, &pll);
    assert_eq!(ended.code, 3, "{}", ended.err);
    let says =
        "warning: 2 records were left without a score and listed in pll.skipped.tsv; the first is";
    assert!(ended.err.starts_with(says), "{}", ended.err);
    assert_eq!(bench.text("pll.skipped.tsv"), list);
    let sound = bench.text("sound");
    let sound: Vec<&str> = sound.lines().collect();
    let table = bench.text("pll.csv");
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!([rows[0], rows[1], rows[3]], [sound[0], sound[1], sound[2]]);
    assert_eq!([rows[2], rows[4]], ["b,,,,,", "empty,,,,,"]);
    // A run that leaves nothing out takes the old list with it.
    scored(
        &bench,
        &format!("sound.fasta {models} --method pll --out pll.csv --force"),
    );
    assert!(!exists(&bench.path("pll.skipped.tsv")));
}

/// A FASTA file with one record, which cannot be scored: every row is left out.
#[test]
fn nothing_is_scored_if_the_only_record_is_bad() {
    let bench = Bench::new();
    bench.write("p.fasta", ">b\nMKJ\n");
    bench.write("v.csv", "mutant\nM1A\nK2R\n");
    let line = "p.fasta --model $esm2_hd16 --variants v.csv --out s.csv --on-invalid skip";
    assert_eq!(score(&bench, line).code, 3);
    assert_eq!(bench.text("s.csv"), "mutant,esm2_hd16\nM1A,\nK2R,\n");
    assert_eq!(bench.text("s.skipped.tsv").lines().count(), 3);
}

/// In ESM C, `|` is a chain break and `_` is a mask; every model of a run has to know the letters.
#[test]
fn letters_are_those_of_the_models() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p\nMKTA|AYI_AKQR\n");
    bench.write("masked.fasta", ">p\nMKTA|AYI<mask>AKQR\n");
    bench.write("without.fasta", ">p\nMKTAXAYIXAKQR\n");
    bench.write("v.csv", "mutant\nM1A\nY7F:R13K\n");
    let line = "--variants v.csv --method wt-marginals";
    for (file, out) in [
        ("p", "p.csv"),
        ("masked", "masked.csv"),
        ("without", "without.csv"),
    ] {
        scored(
            &bench,
            &format!("{file}.fasta --model $esmc_1x64 {line} --out {out}"),
        );
    }
    assert_eq!(bench.text("p.csv"), bench.text("masked.csv"));
    assert_ne!(bench.text("p.csv"), bench.text("without.csv"));
    for models in ["$esm2_hd16", "$esmc_1x64,$esm2_hd16"] {
        let ended = score(
            &bench,
            &format!("p.fasta --model {models} {line} --out no.csv"),
        );
        let says = "error: p.fasta, line 1, record p: residue 5: `|` is not in the ESM alphabet";
        assert!(
            ended.code == 1 && ended.err.starts_with(says),
            "{}",
            ended.err
        );
    }
    bench.write("v.csv", "mutant\nA5G\n");
    let ended = score(
        &bench,
        &format!("p.fasta --model $esmc_1x64 {line} --out no.csv"),
    );
    let says = "error: v.csv, line 2: expected | at position 5, which is what p has there, found A in A5G\n";
    assert!(ended.err.starts_with(says), "{}", ended.err);
}
