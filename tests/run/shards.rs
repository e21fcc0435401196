//! `--shard`: the parts of an input.

use crate::bench::*;
use std::collections::BTreeMap;

pub const OPTIONS: &str = "--model $MODEL --layer 0,2 --pool mean,bos,max --on-invalid skip \
                       --unknown error --long window:60:20 -q";

/// Two files with everything that a merge has to reconcile: sequences repeated in another part,
/// identifiers that need other file names, skipped records, windows, masks.
pub fn bench() -> Bench {
    let bench = Bench::new();
    let [first, second] = texts();
    bench.write("a.fasta", first);
    bench.write("b.fasta.gz", gzip(second.as_bytes()));
    bench
}

/// The two files of that input as text.
pub fn texts() -> [String; 2] {
    let long = sequence(7, 150);
    let same = sequence(5, 40);
    let masked = format!("MK<mask>{}*", sequence(4, 9).to_lowercase());
    let first = fasta([
        ("P1 one", same.as_str()),
        ("p1", "MKT"),
        ("P1", same.as_str()),
        ("nothing here", ""),
        ("long", &long),
        ("../x", "AG"),
    ]);
    let second = fasta([
        ("odd\ttab", "MKJ"),
        ("masked \"m\"", &masked),
        ("P1", &same),
        ("CON", &sequence(9, 61)),
        ("", "MK"),
        ("last", &long),
        ("none", ""),
    ]);
    [first, second]
}

pub const INPUTS: &str = "a.fasta b.fasta.gz";

pub fn embed_shards(bench: &Bench, of: usize, more: &str) -> Vec<String> {
    embed_each(bench, INPUTS, "s", of, more)
}

/// Embeds every shard of this input into a separate folder, and returns their names.
pub fn embed_each(bench: &Bench, input: &str, name: &str, of: usize, more: &str) -> Vec<String> {
    (1..=of)
        .map(|i| {
            let out = format!("{name}{i}of{of}");
            let line = format!("{input} --out {out} --shard {i}/{of} {OPTIONS} {more}");
            let ended = bench.run(&line);
            let skipped = exists(&bench.path(&out).join("skipped.tsv"));
            let code = if skipped { 3 } else { 0 };
            assert_eq!(
                (ended.code, &*ended.out),
                (code, ""),
                "{line}: {}",
                ended.err
            );
            out
        })
        .collect()
}

pub fn merge(bench: &Bench, line: &str) -> Ended {
    let mut command = bench.command();
    command.arg("merge").args(line.split_whitespace());
    ended(&mut command)
}

pub fn assert_refused(bench: &Bench, line: &str, error: &str) {
    let ended = merge(bench, &format!("{line} --out refused -q"));
    assert_eq!(ended.err, format!("error: {error}\n"), "{line}");
    assert_eq!((ended.code, &*ended.out), (1, ""), "{line}");
    assert!(!exists(&bench.path("refused").join("run.json")), "{line}");
}

pub fn assert_same(
    whole: &BTreeMap<String, Vec<u8>>,
    merged: &BTreeMap<String, Vec<u8>>,
    what: &str,
) {
    assert!(
        whole.keys().eq(merged.keys()),
        "{what}: {:?}",
        merged.keys()
    );
    for (name, bytes) in whole {
        assert!(bytes == &merged[name], "{what}: {name} differs");
    }
}

#[test]
fn merged_shards_equal_a_single_run_byte_for_byte() {
    for residues in ["packed", "files", "none"] {
        let bench = bench();
        let more = format!("--residues {residues} --out-dtype f16");
        let ended = bench.run(&format!("{INPUTS} --out whole {OPTIONS} {more}"));
        assert_eq!(ended.code, 3, "{}", ended.err);
        let whole = bench.tree("whole");
        assert_eq!(rows(&bench.text("whole/index.tsv")).len(), 10);
        assert_eq!(rows(&bench.text("whole/skipped.tsv")).len(), 3);
        assert_eq!(bench.recorded("whole", "/counts/duplicates"), 3);
        assert_eq!(bench.recorded("whole", "/counts/masks"), 1);
        for of in [1, 2, 3, 5, 20] {
            let mut shards = embed_shards(&bench, of, &more);
            let before: Vec<_> = shards.iter().map(|shard| bench.tree(shard)).collect();
            // The order in which they are named does not matter.
            shards.rotate_left(of / 2);
            let out = format!("merged{of}");
            let ended = merge(&bench, &format!("{} --out {out} -q", shards.join(" ")));
            let warned = "warning: the shards skipped 3 records, listed in skipped.tsv\n";
            assert_eq!((ended.code, &*ended.err), (0, warned), "{residues} {of}");
            assert_same(
                &whole,
                &bench.tree(&out),
                &format!("{residues}, {of} shards"),
            );
            shards.rotate_right(of / 2);
            let after: Vec<_> = shards.iter().map(|shard| bench.tree(shard)).collect();
            assert!(before == after, "the shards are left as they are");
        }
    }
}

#[test]
fn a_shard_is_a_complete_output() {
    let bench = Bench::new();
    let text = fasta([
        ("a", "MKTAYIAK"),
        ("b", "MKT"),
        ("c", "MKTAY"),
        ("d", "MKT"),
    ]);
    bench.write("in.fasta", text);
    bench.embed("in.fasta --model $MODEL --out whole");
    bench.embed("in.fasta --model $MODEL --out s1 --shard 1/2");
    bench.embed("in.fasta --model $MODEL --out s2 --shard 2/2");
    // 10 tokens → 1, 7 → 2, 5 → 2, 5 → 1; of two equal ones, the first goes to shard 1.
    assert_eq!(
        bench.text("s1/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n0\ta\t8\t0\t\t\n1\tb\t3\t8\t\t\n"
    );
    assert_eq!(
        bench.text("s2/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n0\tc\t5\t0\t\t\n1\td\t3\t5\t\t\n"
    );
    let row = |folder: &str, row| bench.row(&format!("{folder}/mean.layer2.npy"), row);
    assert_eq!(row("s1", 1), row("whole", 1));
    assert_eq!(row("s2", 0), row("whole", 2));
    assert_eq!(row("s2", 1), row("whole", 3));
    // Half of the SHA-256 of the tokens <cls> M K T A Y <eos> and <cls> M K T <eos>.
    assert_eq!(
        bench.text("s2/shard.tsv"),
        "record\tsequence\tmasks\n2\taa865f4501aaec52ed6a51e95abf71ae\t0\n\
         3\t852b886cfc908f5dab06a990c9ea88a8\t0\n"
    );
    assert_eq!(
        bench.recorded("s2", "/shard"),
        serde_json::json!({"number": 2, "of": 2, "input_records": 4})
    );
    let mut command = bench.command();
    let report = ended(command.args(["inspect", "s2", "--check"]));
    assert_eq!(report.code, 0, "{}", report.out);
    assert!(
        report
            .out
            .contains("\nshard 2 of 2 of an input of 4 records (merge joins them)\n"),
        "{}",
        report.out
    );
    assert_eq!(
        bench.names("s2"),
        [
            "ids.npy",
            "index.tsv",
            "mean.layer2.npy",
            "residues.layer2.npy",
            "run.json",
            "shard.tsv"
        ]
    );
    // The merged folder has no trace of shards.
    merge(&bench, "s1 s2 --out merged -q");
    assert_same(&bench.tree("whole"), &bench.tree("merged"), "merged");
}

#[test]
fn zero_is_the_last_shard() {
    let bench = bench();
    for (i, out) in [(0, "zero"), (3, "three")] {
        bench.run(&format!("{INPUTS} --out {out} --shard {i}/3 {OPTIONS}"));
    }
    assert_same(&bench.tree("three"), &bench.tree("zero"), "0/3");
}

#[test]
fn shards_do_not_depend_on_the_model() {
    let bench = bench();
    for i in 1..=3 {
        for model in ["esm2_hd16", "esm1b", "esm2_hd64"] {
            let line = format!(
                "{INPUTS} --model ${model} --out {model}-{i} --shard {i}/3 --on-invalid skip -q"
            );
            assert!([0, 3].contains(&bench.run(&line).code), "{line}");
            let table = |model: &str| bench.text(&format!("{model}-{i}/shard.tsv"));
            assert_eq!(table("esm2_hd16"), table(model));
        }
    }
}

#[test]
fn tokens_are_divided_evenly() {
    let bench = Bench::new();
    // Longest last: dealt out in turn, the last ones would tip the balance.
    let text: String = (1..=60)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, i as usize * 5)))
        .collect();
    bench.write("in.fasta", text);
    let tokens: Vec<u64> = (1..=4)
        .map(|i| {
            bench.embed(&format!(
                "in.fasta --model $MODEL --out s{i} --shard {i}/4 --residues none"
            ));
            let counts = bench.recorded(&format!("s{i}"), "/counts");
            counts["residues"].as_u64().unwrap() + 2 * counts["records"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(tokens.iter().sum::<u64>(), 9150 + 120);
    assert_eq!(tokens, [2325, 2320, 2315, 2310]);
}

#[test]
fn a_shard_is_never_overwritten() {
    let bench = bench();
    let shards = embed_shards(&bench, 2, "");
    let before = bench.tree("s1of2");
    for place in ["s1of2", "./s1of2/", "link"] {
        let _ = std::os::unix::fs::symlink(bench.path("s1of2"), bench.path("link"));
        let ended = merge(
            &bench,
            &format!("{} -o {place} -q --force", shards.join(" ")),
        );
        assert_eq!(
            ended.err,
            "error: s1of2 holds shard 1/2, which is to be merged\n  \
             hint: choose another folder with --out\n"
        );
        assert_eq!(ended.code, 1);
    }
    assert!(before == bench.tree("s1of2"));
    bench.run(&format!("{INPUTS} --out there {OPTIONS}"));
    let ended = merge(&bench, &format!("{} -o there -q", shards.join(" ")));
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("there already holds run.json"),
        "{}",
        ended.err
    );
}

#[test]
fn an_invalid_record_stops_every_shard_before_any_work() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKT\n>b\n\n>c\nMKTAY\n");
    for i in 1..=3 {
        assert_fails(
            &bench,
            &format!("in.fasta --model $MODEL --shard {i}/3"),
            "in.fasta, line 3, record 2 (b): the sequence is empty\n\
             \x20 hint: correct the record\n\
             \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv",
        );
    }
}

#[test]
fn a_stream_cannot_be_sharded() {
    let bench = Bench::new();
    let ended = bench.pipe("- --model $MODEL --out emb --shard 1/2", b">a\nMKT\n");
    assert_eq!(ended.code, 2);
    assert!(
        ended.err.starts_with(
            "error: standard input (-) can be read only once, but --shard reads the input twice\n  \
             hint: give a file\n"
        ),
        "{}",
        ended.err
    );
    let fifo = bench.path("fifo");
    make_pipe(&fifo);
    assert_fails(
        &bench,
        "fifo --model $MODEL --shard 1/2",
        "fifo: can be read only once, but --shard 1/2 reads the input to share it out before it \
         embeds\n\
         \x20 hint: write it to a file first",
    );
    for wrong in [
        "1", "3/2", "1/0", "0/0", "a/2", "1/2/3", "-1/2", "1/100001", "/", "+1/2",
    ] {
        let ended = bench.run(&format!(
            "in.fasta --model $MODEL --out emb --shard={wrong}"
        ));
        assert_eq!(ended.code, 2, "{wrong}");
        assert!(
            ended
                .err
                .contains("expected I/N, such as 2/8 for part 2 of 8: N is 1 to 100,000"),
            "{wrong}: {}",
            ended.err
        );
    }
}

#[test]
fn a_dry_run_reports_the_shard() {
    let bench = Bench::new();
    bench.write(
        "in.fasta",
        fasta([("a", "MKTAYIAK"), ("b", "MKT"), ("c", "MKTAY")]),
    );
    let ended = bench.run("in.fasta --model $MODEL --out emb --shard 2/2 --dry-run -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    for line in [
        "shard         2 of 2",
        "records       2",
        "residues      8",
        "tokens        12",
    ] {
        assert!(
            ended.out.contains(&format!("\n{line}\n")),
            "{line}: {}",
            ended.out
        );
    }
}
