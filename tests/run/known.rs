//! `run --known`: sequences that other output folders hold are copied, byte for byte.

use crate::bench::*;
use std::collections::BTreeMap;
use std::fs;

type Tree = BTreeMap<String, Vec<u8>>;

/// An old release, and a new one that shares some of its sequences, under other names and repeated.
fn bench() -> Bench {
    let bench = Bench::new();
    let record =
        |id: &str, seed: u64| format!(">{id}\n{}\n", sequence(seed, 5 + seed as usize * 7));
    let old: String = (0..9).map(|n| record(&format!("old{n} x"), n)).collect();
    let new = [
        record("new1", 20),
        record("a", 3),
        record("b", 7),
        record("c", 3),
        record("new2", 21),
        record("d", 0),
        ">bad\n\n".to_owned(),
        record("e", 8),
        record("new2 again", 21),
    ];
    bench.write("old.fasta", old);
    bench.write("new.fasta", new.concat());
    bench
}

fn run(bench: &Bench, line: &str) {
    let ended = bench.run(&format!("{line} --on-invalid skip -q"));
    assert!([0, 3].contains(&ended.code), "{line}: {}", ended.err);
}

/// The files of a run, with what `run.json` counts as known taken out of it.
fn tree(bench: &Bench, dir: &str) -> (Tree, Option<u64>) {
    let mut tree = bench.tree(dir);
    let mut json: serde_json::Value = serde_json::from_slice(&tree["run.json"]).unwrap();
    let counts = json["counts"].as_object_mut().unwrap();
    let known = counts.remove("known").map(|known| known.as_u64().unwrap());
    tree.insert("run.json".into(), json.to_string().into_bytes());
    (tree, known)
}

const OPTIONS: [&str; 3] = [
    "--model $MODEL --layer 0,2 --pool mean,max --out-dtype f16",
    "--model $MODEL --residues files --include contacts,logits,attentions",
    "--model $MODEL --layer all --stack-layers --residues none --long window:40:8",
];

#[test]
fn copies_have_the_bytes_of_computing() {
    for options in OPTIONS {
        let bench = bench();
        run(&bench, &format!("new.fasta --out computed {options}"));
        run(&bench, &format!("old.fasta --out old {options}"));
        for part in 1..=3 {
            run(
                &bench,
                &format!("old.fasta --out s{part} --shard {part}/3 {options}"),
            );
        }
        assert_eq!(bench.call("merge s1 s2 s3 --link --out linked -q").code, 0);
        let (computed, none) = tree(&bench, "computed");
        assert_eq!(none, None);
        for known in [
            "--known old",
            "--known linked",
            "--known s2 --known s1 --known s3",
        ] {
            run(
                &bench,
                &format!("new.fasta --out copied --force {known} {options}"),
            );
            let (copied, count) = tree(&bench, "copied");
            assert_eq!(count, Some(4), "{known} {options}");
            assert!(copied == computed, "{known} {options}");
        }
        // All of it is known.
        run(
            &bench,
            &format!("new.fasta --out again --known copied --known old {options}"),
        );
        let (again, count) = tree(&bench, "again");
        assert_eq!(count, Some(6));
        assert!(again == computed, "{options}");
        // Shards that copied merge to the same arrays, and their counts are added.
        for part in 1..=2 {
            run(
                &bench,
                &format!("new.fasta --out n{part} --shard {part}/2 --known linked {options}"),
            );
        }
        assert_eq!(bench.call("merge n1 n2 --out merged -q").code, 0);
        let (merged, _) = tree(&bench, "merged");
        assert!(merged == computed, "{options}");
    }
}

#[test]
fn fewer_arrays_and_another_storage_are_copied_too() {
    let bench = bench();
    run(
        &bench,
        "old.fasta --model $MODEL --layer 0,1,2 --pool mean,max,bos --residues files --out old",
    );
    let options = "--model $MODEL --layer 2 --pool bos --residues packed";
    run(&bench, &format!("new.fasta --out computed {options}"));
    run(
        &bench,
        &format!("new.fasta --out copied --known old {options}"),
    );
    assert!(tree(&bench, "copied").0 == tree(&bench, "computed").0);
    assert_eq!(bench.recorded("copied", "/counts/known"), 4);
}

#[test]
fn what_differs_is_named() {
    let bench = bench();
    let options = "--model $MODEL --pool mean --residues none";
    run(&bench, &format!("old.fasta --out old {options}"));
    let refused = |line: &str, known: &str, what: &str| {
        let line = format!("new.fasta --out refused -q --on-invalid skip --known {known} {line}");
        let ended = bench.run(&line);
        assert_eq!(ended.code, 1, "{line}: {}", ended.err);
        assert!(ended.err.contains(what), "{line}: {}", ended.err);
        assert!(!exists(&bench.path("refused")), "{line}");
    };
    let other = "old: its values cannot be copied, because this run computes others: ";
    for (line, what) in [
        ("--model $esm2_hd16_f16 --residues none", "model file "),
        (
            "--model $MODEL --residues none --dtype f16",
            "--dtype was f32 and is f16",
        ),
        (
            "--model $MODEL --residues none --long truncate:9",
            "--long was full and is truncate:9",
        ),
        (
            "--model $MODEL --residues none --out-dtype f16",
            "--out-dtype was f32 and is f16",
        ),
        (
            "--model $MODEL --residues none --pool max",
            "it has no max.layer2\n",
        ),
        ("--model $MODEL --pool mean", "it has no residues.layer2\n"),
        (
            "--model $MODEL --residues none --layer 1",
            "it has no mean.layer1\n",
        ),
    ] {
        refused(line, "old", &format!("error: {other}"));
        refused(line, "old", what);
    }
    refused(options, "nothing", "error: nothing has no run.json: ");
    refused(options, "old.fasta", "error: old.fasta is not a folder\n");
    fs::create_dir(bench.path("empty")).unwrap();
    refused(options, "empty", "error: empty has no run.json: ");
    let ended = bench.run(&format!(
        "new.fasta --out old --force -q --on-invalid skip --known ./old {options}"
    ));
    let what = "error: ./old: --known names the folder to write\n  hint: leave it out of --known\n";
    assert_eq!((ended.code, &*ended.err), (1, what));
    assert_eq!(bench.call("inspect old --check").code, 0);
    // A whole output has no sequences: its FASTA file has to be there, as it was.
    let text = bench.text("old.fasta");
    bench.write("old.fasta", text.replacen(">old0 x", ">old0 y", 1));
    refused(
        options,
        "old",
        "error: old: its FASTA files have no record for row 0 of index.tsv\n",
    );
    bench.write("old.fasta", format!("{text}>more\nMK\n"));
    refused(
        options,
        "old",
        "error: old: old.fasta is not the file that its run read\n",
    );
    fs::remove_file(bench.path("old.fasta")).unwrap();
    refused(options, "old", "error: old: old.fasta: ");
}

#[test]
fn damage_does_not_spread() {
    for residues in ["packed", "files"] {
        let bench = bench();
        let options = format!("--model $MODEL --residues {residues}");
        run(
            &bench,
            &format!("old.fasta --out old --shard 1/1 {options}"),
        );
        run(&bench, &format!("new.fasta --out computed {options}"));
        let line = format!("new.fasta --out emb -q --on-invalid skip --known old {options}");
        let names: Vec<String> = bench.tree("old").into_keys().collect();
        for name in names {
            if ["run.json", "ids.npy"].contains(&&*name) || name.contains("old1") {
                continue;
            }
            let file = format!("old/{name}");
            let bytes = bench.bytes(&file);
            let mut damaged = bytes.clone();
            let last = damaged.len() - 3;
            damaged[last] ^= 4;
            bench.write(&file, damaged);
            let ended = bench.run(&line);
            bench.write(&file, &bytes);
            // The own file of a sequence that is not copied is not read.
            let row = ["old0", "old3", "old7", "old8"];
            let is_read = !name.contains(".layer2/") || row.iter().any(|row| name.contains(row));
            if is_read {
                assert_eq!(ended.code, 1, "{name}");
                assert!(
                    ended.err.contains(&format!("{file}: ")),
                    "{name}: {}",
                    ended.err
                );
                assert!(ended.err.contains("SHA-256"), "{name}: {}", ended.err);
            }
            // What was computed and copied so far is kept.
            let ended = bench.run(&format!("{line} --resume"));
            assert_eq!(ended.code, 3, "{name}: {}", ended.err);
            assert!(
                tree(&bench, "emb").0 == tree(&bench, "computed").0,
                "{name}"
            );
            fs::remove_dir_all(bench.path("emb")).unwrap();
        }
    }
}
