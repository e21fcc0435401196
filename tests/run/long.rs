//! Sequences longer than the model's training maximum, or than it can embed.

use crate::bench::*;

/// Sequences of 1,100, 1,022 and 1,023 residues, and the first 1,022 of the first.
fn bench() -> Bench {
    let bench = Bench::new();
    let long = sequence(1, 1100);
    bench.write(
        "in.fasta",
        fasta([
            ("long", &*long),
            ("fits", &sequence(2, 1022)),
            ("over", &sequence(3, 1023)),
        ]),
    );
    bench.write("cut.fasta", fasta([("cut", &long[..1022])]));
    bench
}

fn index(bench: &Bench) -> String {
    bench
        .text("emb/index.tsv")
        .split_once('\n')
        .unwrap()
        .1
        .to_owned()
}

fn warning(what: &str) -> String {
    format!("warning: {what}\n")
}

#[test]
fn rotary_models_embed_long_sequences_whole_with_one_warning() {
    let bench = bench();
    for (out, option) in [("emb", ""), ("asked", "--long full")] {
        let ended = bench.run(&format!("in.fasta --model $MODEL --out {out} -q {option}"));
        assert_eq!(
            (ended.code, ended.err),
            (
                0,
                warning(
                    "2 of 3 sequences have more than 1,022 residues, ESM's training maximum; they \
                     are embedded whole\n  hint: use --long window or --long truncate to stay within it"
                )
            )
        );
    }
    assert_eq!(
        index(&bench),
        "0\tlong\t1100\t0\t\t\n1\tfits\t1022\t1100\t\t\n2\tover\t1023\t2122\t\t\n"
    );
    let mut asked = bench.tree("asked");
    let mut emb = bench.tree("emb");
    // The request differs, the result does not.
    assert!(asked.remove("run.json") != emb.remove("run.json"));
    assert_eq!(asked, emb);
}

#[test]
fn truncation_keeps_the_first_residues() {
    for model in ["$esm2_hd16", "$esm1b"] {
        let bench = bench();
        let ended = bench.run(&format!(
            "in.fasta --model {model} --out emb --long truncate -q"
        ));
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(ended.err.contains("truncated"), "{}", ended.err);
        assert_eq!(
            index(&bench),
            "0\tlong\t1022\t0\ttruncated=1100\t\n\
             1\tfits\t1022\t1022\t\t\n\
             2\tover\t1022\t2044\ttruncated=1023\t\n"
        );
        bench.embed(&format!("cut.fasta --model {model} --out cut"));
        let (whole, cut) = ("emb/residues.layer2.npy", "cut/residues.layer2.npy");
        let (whole, cut) = (bench.matrix(whole), bench.matrix(cut));
        assert_eq!(bits(&whole, 0..1022), bits(&cut, 0..1022));
        assert_eq!(
            bench.row("emb/mean.layer2.npy", 0),
            bench.row("cut/mean.layer2.npy", 0)
        );
    }
}

#[test]
fn truncation_at_any_length() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKTAYI\n>b\nMKT\n>c\nMK<mask>AY\n");
    let ended = bench.run("in.fasta --model $MODEL --out emb --long truncate:3 -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(
        index(&bench),
        "0\ta\t3\t0\ttruncated=6\t\n\
         1\tb\t3\t3\tduplicate_of=0\t\n\
         2\tc\t3\t6\ttruncated=5,masks=1\t\n"
    );
}

#[test]
fn windows_keep_every_residue() {
    for model in ["$esm2_hd16", "$esm1b"] {
        let bench = bench();
        let line = format!("in.fasta --model {model} --out emb --long window:500:100 -q");
        let ended = bench.run(&line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(ended.err.contains("windows"), "{}", ended.err);
        // Windows start at 0, 400 and 600; at 0, 400 and 522; at 0, 400 and 523.
        assert_eq!(
            index(&bench),
            "0\tlong\t1100\t0\twindows=3\t\n\
             1\tfits\t1022\t1100\twindows=3\t\n\
             2\tover\t1023\t2122\twindows=3\t\n"
        );
        let whole = bench.matrix("emb/residues.layer2.npy");
        assert_eq!(whole.dim(), (3145, 32));
        // Residues that only one window covers have the bits of that window embedded as a sequence.
        let long = sequence(1, 1100);
        let windows = [("w0", &long[..500]), ("w2", &long[600..])];
        bench.write("windows.fasta", fasta(windows));
        bench.embed(&format!("windows.fasta --model {model} --out windows"));
        let windows = bench.matrix("windows/residues.layer2.npy");
        assert_eq!(bits(&whole, 0..400), bits(&windows, 0..400));
        assert_eq!(bits(&whole, 900..1100), bits(&windows, 800..1000));
        assert_ne!(bits(&whole, 450..451), bits(&windows, 450..451));
    }
}

/// Two windows of 4 residues over 6: both cover residues 3 and 4, with weights 2 and 1, then 1 and 2.
#[test]
fn windows_are_blended_by_the_distance_to_their_ends() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKTAYI\n");
    bench.write("parts.fasta", ">a\nMKTA\n>b\nTAYI\n");
    let ended = bench.run("in.fasta --model $MODEL --out emb --long window:4:2 --pool bos,mean -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    bench.embed("parts.fasta --model $MODEL --out parts --pool bos");
    let whole = bench.matrix("emb/residues.layer2.npy");
    let parts = bench.matrix("parts/residues.layer2.npy");
    assert_eq!(bits(&whole, 0..2), bits(&parts, 0..2));
    assert_eq!(bits(&whole, 4..6), bits(&parts, 6..8));
    for column in 0..32 {
        let third = (2.0 * parts[[2, column]] + parts[[4, column]]) / 3.0;
        let fourth = (parts[[3, column]] + 2.0 * parts[[5, column]]) / 3.0;
        assert!((whole[[2, column]] - third).abs() <= 1e-6);
        assert!((whole[[3, column]] - fourth).abs() <= 1e-6);
    }
    let bos = |folder: &str| bench.row(&format!("{folder}/bos.layer2.npy"), 0);
    assert_eq!(bos("emb"), bos("parts"));
}

#[test]
fn long_sequences_are_errors_on_request() {
    let bench = bench();
    assert_fails(
        &bench,
        "in.fasta --model $MODEL --long error",
        "in.fasta, line 1, record 1 (long): the sequence has 1,100 residues, more than the limit of \
         1,022\n\
         \x20 hint: use --long full, --long window or --long truncate\n\
         \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv",
    );
    let ended = bench.run("in.fasta --model $MODEL --out emb --long error --on-invalid skip -q");
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert_eq!(index(&bench), "0\tfits\t1022\t0\t\t\n");
    assert_eq!(
        bench.text("emb/skipped.tsv"),
        "file\tline\trecord\tid\treason\n\
         in.fasta\t1\t1\tlong\tthe sequence has 1,100 residues, more than the limit of 1,022\n\
         in.fasta\t40\t3\tover\tthe sequence has 1,023 residues, more than the limit of 1,022\n"
    );
}

#[test]
fn learned_positions_refuse_long_sequences_by_default() {
    let bench = bench();
    for option in ["", "--long full", "--long error"] {
        assert_fails(
            &bench,
            &format!("in.fasta --model $esm1b {option}"),
            "in.fasta, line 1, record 1 (long): the sequence has 1,100 residues, and this model's \
             learned positions end at 1,022\n\
             \x20 hint: use --long window or --long truncate\n\
             \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv",
        );
    }
    for option in ["truncate:1023", "window:1023", "window:2000:10"] {
        let bench = self::bench();
        let ended = bench.run(&format!(
            "in.fasta --model $esm1v --long {option} --out emb -q"
        ));
        assert_eq!(ended.code, 1, "{option}");
        assert!(
            ended
                .err
                .ends_with("residues than this model's learned positions, which end at 1,022\n"),
            "{}",
            ended.err
        );
        assert!(!exists(&bench.path("emb")));
    }
}

/// The run would take minutes, and so would a sample of the whole record on each thread.
#[test]
fn a_dry_run_answers_for_a_record_of_any_length() {
    let bench = Bench::new();
    bench.write(
        "in.fasta",
        format!(">long\n{}\n>short\nMKT\n", sequence(1, 168_000)),
    );
    for option in [
        "--threads 8",
        "--threads 1 --dtype f16",
        "--threads 2 --deterministic",
    ] {
        let ended = bench.run(&format!(
            "in.fasta --model $MODEL --out emb --dry-run --progress json {option}"
        ));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let forecast: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(
            (&forecast["longest"], &forecast["tokens"]),
            (&168_002.into(), &168_007.into())
        );
        // Four heads over 168,000 residues take any processor more than a second.
        assert!(forecast["seconds"].as_f64().unwrap() > 1.0, "{forecast}");
        assert_eq!(bench.names("."), ["in.fasta"]);
    }
}
