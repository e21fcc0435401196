//! Outputs that already exist, complete or not.

use crate::bench::*;

const EXISTS: &str = "error: emb already holds run.json, and existing output is not overwritten\n  \
                      hint: choose another folder with --out, or rename or remove this one\n";

/// A bench with an output of `a.fasta` in `emb`.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("a.fasta", ">a\nMKTAYI\n");
    bench.write("b.fasta", ">b\nGAV\n>bad\n");
    bench.write("c.fasta", ">c\nGAVW\n");
    bench.embed("a.fasta --model $MODEL --out emb --layer 1 --pool mean,max");
    bench
}

#[test]
fn an_output_is_refused_and_untouched_without_force() {
    let bench = bench();
    let before = bench.tree("emb");
    for line in [
        "c.fasta --model $MODEL --out emb -q",
        "c.fasta --model $MODEL --out emb/ -q --layer 0",
        "c.fasta --model $MODEL --out emb -q --dry-run",
        "a.fasta --model $MODEL --out emb -q --layer 1 --pool mean,max",
    ] {
        let ended = bench.run(line);
        let error = EXISTS.replace("emb already", &format!("{} already", folder(line)));
        assert_eq!((ended.code, ended.err), (1, error), "{line}");
        assert_eq!(bench.tree("emb"), before, "{line}");
    }
}

fn folder(line: &str) -> &str {
    line.split(' ')
        .find(|word| word.starts_with("emb"))
        .unwrap()
}

#[test]
fn force_replaces_the_files_of_the_old_run_and_no_others() {
    let bench = bench();
    bench.write("emb/notes.txt", "mine");
    bench.embed("c.fasta --model $MODEL --out emb --force");
    assert_eq!(
        bench.names("emb"),
        [
            "ids.npy",
            "index.tsv",
            "mean.layer2.npy",
            "notes.txt",
            "residues.layer2.npy",
            "run.json"
        ]
    );
    assert_eq!(bench.text("emb/notes.txt"), "mine");
    assert_eq!(
        bench.text("emb/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n0\tc\t4\t0\t\t\n"
    );
    bench.embed("c.fasta --model $MODEL --out fresh");
    let mut forced = bench.tree("emb");
    forced.remove("notes.txt");
    assert_eq!(forced, bench.tree("fresh"));
}

#[test]
fn a_failed_run_leaves_the_old_output_intact_even_with_force() {
    let bench = bench();
    let before = bench.tree("emb");
    let ended = bench.run("b.fasta --model $MODEL --out emb --force -q");
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: b.fasta, line 3, record 2 (bad): the sequence is empty\n\
             \x20 hint: correct the record\n\
             \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv\n"
        )
    );
    assert_eq!(bench.tree("emb"), before);

    let ended = bench.pipe("- --model $MODEL --out emb --force -q", b">b\nGAV\n>bad\n");
    assert_eq!(ended.code, 1);
    let mut after = bench.tree("emb");
    after.retain(|name, _| !name.starts_with(".partial/"));
    assert_eq!(after, before);
}

#[test]
fn an_unfinished_run_is_discarded_only_with_force() {
    let bench = Bench::new();
    bench.write("a.fasta", ">a\nMKTAYI\n");
    std::fs::create_dir_all(bench.path("emb/.partial")).unwrap();
    bench.write("emb/.partial/mean.layer2.npy", "half of it");
    let ended = bench.run("a.fasta --model $MODEL --out emb -q");
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: emb holds .partial, the working folder of a run that did not finish or is \
             still running\n  \
             hint: resume that run with --resume\n  \
             hint: choose another folder with --out\n"
        )
    );
    assert_eq!(bench.text("emb/.partial/mean.layer2.npy"), "half of it");
    bench.embed("a.fasta --model $MODEL --out emb --force");
    bench.embed("a.fasta --model $MODEL --out fresh");
    assert_eq!(bench.tree("emb"), bench.tree("fresh"));
}

#[test]
fn a_folder_with_other_files_is_used_and_they_stay() {
    let bench = Bench::new();
    bench.write("a.fasta", ">a\nMKTAYI\n");
    bench.embed("a.fasta --model $MODEL --out .");
    assert_eq!(
        bench.names("."),
        [
            "a.fasta",
            "ids.npy",
            "index.tsv",
            "mean.layer2.npy",
            "residues.layer2.npy",
            "run.json"
        ]
    );
    assert_eq!(bench.text("a.fasta"), ">a\nMKTAYI\n");
}

#[test]
fn obstacles_are_named() {
    let bench = Bench::new();
    bench.write("a.fasta", ">a\nMKTAYI\n");
    bench.write("thesis", "mine");
    let cases = [
        (
            "thesis",
            "thesis is not a folder\n  hint: choose another folder with --out",
        ),
        (
            "a.fasta/emb",
            "reading a.fasta/emb: Not a directory (os error 20)\n  \
             hint: a part of this path is not a folder: choose another folder with --out",
        ),
    ];
    for (out, error) in cases {
        for force in ["", "--force"] {
            let ended = bench.run(&format!("a.fasta --model $MODEL -q --out {out} {force}"));
            assert_eq!((ended.code, ended.err), (1, format!("error: {error}\n")));
            assert_eq!(bench.text("a.fasta"), ">a\nMKTAYI\n");
            assert_eq!(bench.text("thesis"), "mine");
        }
    }
    std::fs::create_dir_all(bench.path("emb/mean.layer2.npy")).unwrap();
    let ended = bench.run("a.fasta --model $MODEL -q --out emb --force");
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: emb/mean.layer2.npy is in the way; no earlier run wrote it, so it is not \
             touched\n  \
             hint: move it away or choose another folder with --out\n"
        )
    );
}

/// Of several concurrent runs into one folder, at most one gets it, and its output is intact.
#[test]
fn concurrent_runs_into_one_folder_do_not_mix() {
    let bench = Bench::new();
    for i in 0..4 {
        let records: Vec<_> = (0..60)
            .map(|k| (format!("i{i}k{k}"), sequence(100 * i + k, 80)))
            .collect();
        let text = fasta(records.iter().map(|(id, s)| (id.as_str(), s.as_str())));
        bench.write(&format!("{i}.fasta"), text);
    }
    std::thread::scope(|scope| {
        for i in 0..4 {
            let bench = &bench;
            scope.spawn(move || {
                let ended = bench.run(&format!("{i}.fasta --model $MODEL --out emb --force -q"));
                if ended.code == 1 {
                    assert_eq!(
                        ended.err,
                        "error: another run is writing into emb\n  \
                         hint: wait until it has finished\n  \
                         hint: choose another folder with --out\n"
                    );
                } else {
                    assert_eq!((ended.code, &*ended.err), (0, ""));
                }
            });
        }
    });
    let index = bench.text("emb/index.tsv");
    let winner = &rows(&index)[0][1][1..2];
    bench.embed(&format!("{winner}.fasta --model $MODEL --out single"));
    assert_eq!(bench.tree("emb"), bench.tree("single"));
}
