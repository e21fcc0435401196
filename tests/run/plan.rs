//! `plan`: what it writes, warns about and refuses.

use crate::bench::*;

pub fn plan(bench: &Bench, line: &str) -> Ended {
    let mut command = bench.command();
    command
        .arg("plan")
        .args(line.split_whitespace().map(expand));
    ended(&mut command)
}

pub fn planned(bench: &Bench, line: &str) {
    let ended = plan(bench, line);
    assert_eq!((ended.code, &*ended.out), (0, ""), "{line}: {}", ended.err);
}

/// The plan.json of a plan.
pub fn json(bench: &Bench, dir: &str) -> serde_json::Value {
    serde_json::from_str(&bench.text(&format!("{dir}/plan.json"))).unwrap()
}

#[test]
fn the_same_input_gives_the_same_plan_and_another_setting_another_one() {
    let bench = Bench::in_memory();
    let text: String = (0..200)
        .map(|i| format!(">r{i}\n{}\n", sequence(i % 150, 3 + (i as usize * 37) % 90)))
        .collect();
    bench.write("in.fasta", &text);
    bench.write("other.fasta", &text);
    planned(&bench, "in.fasta --shards 7 --out one -q");
    planned(&bench, "other.fasta --shards 7 --out two -q");
    assert!(bench.bytes("one/index") == bench.bytes("two/index"));
    assert_eq!(bench.text("one/shards.tsv"), bench.text("two/shards.tsv"));
    assert_eq!(json(&bench, "one")["digest"], json(&bench, "two")["digest"]);
    for other in [
        "--shards 8",
        "--shards 7 --gaps drop",
        "--shards 7 --long truncate:20",
    ] {
        planned(&bench, &format!("in.fasta {other} --out one --force -q"));
        assert_ne!(
            json(&bench, "one")["digest"],
            json(&bench, "two")["digest"],
            "{other}"
        );
    }
    // Neither the costs nor the bytes of the index are far apart.
    let table = bench.text("two/shards.tsv");
    let costs: Vec<u64> = rows(&table)
        .iter()
        .map(|row| row[6].parse().unwrap())
        .collect();
    assert_eq!(costs.len(), 7);
    assert!(
        costs.iter().max().unwrap() - costs.iter().min().unwrap() <= 5,
        "{costs:?}"
    );
    assert!(bench.bytes("two/index").len() < 40 * 200);
}

#[test]
fn a_plan_warns_and_refuses_as_a_run_does() {
    let bench = Bench::in_memory();
    let nucleotides = "ACGT".repeat(20);
    let text = fasta([
        ("a", "MKT"),
        ("a", "MKV"),
        ("n", &nucleotides),
        ("g", "MK-T"),
        ("long", &sequence(3, 1100)),
    ]);
    bench.write("in.fasta", &text);
    bench.write("empty.fasta", "\n");
    let warnings = |text: &str| {
        let lines = text
            .lines()
            .filter(|l| l.starts_with("warning: ") || l.starts_with("  hint: "));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let of_run =
        bench.run("in.fasta empty.fasta --model $MODEL --device cpu --residues none --out emb");
    let of_plan = plan(&bench, "in.fasta empty.fasta --shards 2 --out plan");
    assert_eq!((of_run.code, of_plan.code), (0, 0), "{}", of_plan.err);
    let expected = warnings(&of_run.err);
    assert!(expected.len() > 8, "{expected:?}");
    assert_eq!(warnings(&of_plan.err), expected);
    for (text, more) in [
        ("MKT\n", ""),
        ("", ""),
        (">a\n\n", ""),
        (">a\nMKT\n>b\nMK\u{1}\n", ""),
        (">a\nMKJ\n", "--unknown error"),
        (">a\nMKTA\n", "--long error"),
        (
            ">b\nMK\n>a\nMKT\n>a\nMKT\n>a\nMKV\n>b\nMA\n",
            "--on-duplicate-id fail",
        ),
    ] {
        let text = if more == "--long error" {
            format!(">a\n{}\n", sequence(1, 1100))
        } else {
            text.to_owned()
        };
        bench.write("in.fasta", &text);
        let of_run = bench.run(&format!("in.fasta --model $MODEL --out refused -q {more}"));
        let of_plan = plan(
            &bench,
            &format!("in.fasta --shards 2 --out refused-plan -q {more}"),
        );
        assert_eq!((of_run.code, of_plan.code), (1, 1), "{text}");
        assert_eq!(of_plan.err, of_run.err, "{text}");
        assert!(!exists(&bench.path("refused-plan/plan.json")), "{text}");
    }
    // The first identifier that is used again is named, in the order of the input.
    bench.write("in.fasta", ">b\nMK\n>a\nMKT\n>a\nMKT\n>a\nMKV\n>b\nMA\n");
    let ended = plan(
        &bench,
        "in.fasta --shards 2 --out refused -q --on-duplicate-id fail",
    );
    let error = "error: in.fasta, line 7, record 4 (a): an earlier record has the same id";
    assert!(ended.err.starts_with(error), "{}", ended.err);
    // A model with learned positions embeds no more than they allow.
    bench.write("in.fasta", format!(">a\n{}\n", sequence(1, 1100)));
    let ended = plan(
        &bench,
        "in.fasta --shards 2 --out refused -q --model $esm1b",
    );
    assert!(
        ended.err.contains("learned positions end at"),
        "{}",
        ended.err
    );
}

#[test]
fn inputs_that_cannot_be_read_in_parts_are_refused() {
    let bench = Bench::in_memory();
    bench.write("a.fasta.gz", gzip(b">a\nMKT\n"));
    bench.write("a.fasta.zst", zstd(b">a\nMKT\n"));
    let refused = |line: &str, code: i32, error: &str| {
        let ended = plan(&bench, &format!("{line} --shards 2 --out plan -q"));
        assert_eq!((ended.code, &*ended.out), (code, ""), "{line}");
        assert!(ended.err.starts_with(error), "{line}: {}", ended.err);
        assert!(!exists(&bench.path("plan")), "{line}");
    };
    refused(
        "a.fasta.gz",
        1,
        "error: a.fasta.gz: is gzip, which can be read only from its beginning, and every task reads \
         its own part of a file\n  \
         hint: convert it to bgzip: `gzip -dc a.fasta.gz | bgzip > a.fasta.bgz`\n  \
         hint: use --rewrite to write it decompressed into the folder of the plan\n",
    );
    refused(
        "a.fasta.zst",
        1,
        "error: a.fasta.zst: is zstd, which can be read only",
    );
    refused(
        "-",
        2,
        "error: standard input (-) cannot be planned: every task reads its own part of a file\n  \
         hint: write it to a file first",
    );
    make_pipe(&bench.path("pipe"));
    refused("pipe", 1, "error: pipe: is not a regular file");
    refused("nowhere.fasta", 1, "error: nowhere.fasta: cannot be opened");
}

#[test]
fn a_folder_with_anything_else_is_not_touched() {
    let bench = Bench::in_memory();
    bench.write("in.fasta", ">a\nMKT\n>b\nMKV\n");
    std::fs::create_dir(bench.path("full")).unwrap();
    // Not the copy of an input, whatever its name.
    bench.write("full/input-1.fasta", ">mine\nMK\n");
    for force in ["", "--force"] {
        let ended = plan(
            &bench,
            &format!("in.fasta --shards 2 --out full -q {force}"),
        );
        let error = "error: full: already holds something other than a plan\n";
        assert!(ended.err.starts_with(error), "{}", ended.err);
        assert_eq!(bench.text("full/input-1.fasta"), ">mine\nMK\n");
    }
    planned(&bench, "in.fasta --shards 2 --out plan -q");
    let before = bench.tree("plan");
    let ended = plan(&bench, "in.fasta --shards 3 --out plan -q");
    let error = "error: plan: already holds a plan\n  hint: choose another folder with --out, or use \
                 --force to replace the plan\n";
    assert_eq!((ended.code, &*ended.err), (1, error));
    assert!(bench.tree("plan") == before);
    planned(&bench, "in.fasta --shards 3 --out plan --force -q");
    assert_eq!(json(&bench, "plan")["shards"], 3);
    bench.write("plan/thesis.txt", "");
    let ended = plan(&bench, "in.fasta --shards 3 --out plan --force -q");
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(exists(&bench.path("plan/thesis.txt")));
}

/// A planned file of twelve records, in two shards.
pub fn small() -> Bench {
    let bench = Bench::in_memory();
    let text: String = (0..12)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 8 + i as usize)))
        .collect();
    bench.write("in.fasta", text);
    planned(&bench, "in.fasta --shards 2 --out plan -q");
    bench
}

#[test]
fn a_report_for_programs() {
    let bench = small();
    let ended = plan(&bench, "in.fasta --shards 2 --out other --json -q");
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["out"], "other");
    assert_eq!(report["plan"]["digest"], json(&bench, "plan")["digest"]);
    assert_eq!(report["plan"]["counts"]["records"], 12);
    let costs = [&report["least_cost"], &report["most_cost"]].map(|cost| cost.as_u64().unwrap());
    assert_eq!(costs, [93, 93]);
    let ended = plan(&bench, "in.fasta --shards 2 --out third");
    let last =
        "third: 12 records (12 distinct sequences), 162 residues, in 2 shards of 93 to 93 tokens\n";
    assert!(ended.err.ends_with(last), "{}", ended.err);
}
