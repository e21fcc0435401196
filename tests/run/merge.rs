//! `merge`: one folder from the shards of an input.

use crate::bench::*;
use crate::shards::{INPUTS, OPTIONS, assert_refused, assert_same, bench, embed_shards, merge};
use std::fs;

#[test]
fn moving_leaves_only_the_merged_folder() {
    for residues in ["packed", "files"] {
        let bench = bench();
        let more = format!("--residues {residues}");
        bench.run(&format!("{INPUTS} --out whole {OPTIONS} {more}"));
        let shards = embed_shards(&bench, 3, &more);
        bench.write("s2of3/notes.txt", "mine");
        let inode = |path: &str| {
            use std::os::unix::fs::MetadataExt;
            fs::metadata(bench.path(path)).map(|file| file.ino()).ok()
        };
        let index: Vec<_> = shards
            .iter()
            .map(|shard| bench.text(&format!("{shard}/index.tsv")))
            .collect();
        let holder = index
            .iter()
            .position(|text| text.contains("\tCON\t"))
            .unwrap();
        let line = index[holder].lines().find(|line| line.contains("\tCON\t"));
        let file = line.unwrap().split('\t').nth(5).unwrap().to_owned();
        let before = inode(&format!("{}/residues.layer2/{file}", shards[holder]));
        let ended = merge(
            &bench,
            &format!("{} --out merged --move -q", shards.join(" ")),
        );
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_same(&bench.tree("whole"), &bench.tree("merged"), residues);
        if residues == "files" {
            assert!(before.is_some());
            let index = bench.text("merged/index.tsv");
            let line = index.lines().find(|line| line.contains("\tCON\t"));
            let file = line.unwrap().split('\t').nth(5).unwrap();
            assert_eq!(before, inode(&format!("merged/residues.layer2/{file}")));
        }
        // Files that are not of the run stay.
        assert_eq!(bench.names("s2of3"), ["notes.txt"]);
        assert!(!exists(&bench.path("s1of3")) && !exists(&bench.path("s3of3")));
    }
}

#[test]
fn shards_that_do_not_belong_together_are_named() {
    let bench = bench();
    let line = |i: usize, out: &str| format!("--out {out} --shard {i}/3 -q --on-invalid skip");
    let run = |words: &str| {
        let ended = bench.run(words);
        assert!([0, 3].contains(&ended.code), "{words}: {}", ended.err);
    };
    for i in 1..=3 {
        run(&format!(
            "{INPUTS} --model $MODEL {}",
            line(i, &format!("s{i}"))
        ));
    }
    run(&format!(
        "{INPUTS} --model $MODEL -o whole -q --on-invalid skip"
    ));
    run(&format!(
        "{INPUTS} --model $MODEL --pool mean,max {}",
        line(2, "pools")
    ));
    run(&format!(
        "{INPUTS} --model $esm2_hd16_f16 {}",
        line(2, "model")
    ));
    run(&format!("a.fasta --model $MODEL {}", line(2, "input")));
    run(&format!(
        "{INPUTS} --model $MODEL -o of4 --shard 2/4 -q --on-invalid skip"
    ));
    assert_refused(
        &bench,
        "s1 s3",
        "shard 2/3 is missing\n  hint: run it with --shard, or name its folder",
    );
    assert_refused(
        &bench,
        "s2",
        "shards 1/3, 3/3 are missing\n  hint: run them with --shard, or name their folders",
    );
    assert_refused(
        &bench,
        "s1 s2 s3 ./s2",
        "shard 2/3 is given twice: s2 and ./s2\n  hint: leave one of them out",
    );
    fs::rename(bench.path("s3"), bench.path("moved")).unwrap();
    assert_refused(
        &bench,
        "s1 s2 s3",
        "s3 does not exist\n  hint: give the folders that `run --shard` wrote",
    );
    assert_refused(
        &bench,
        "s1 whole moved",
        "whole is the output of a whole input, not of a shard\n  \
         hint: leave it out, or give the folders that were written with --shard",
    );
    let differ = |other: &str, what: &str| {
        let ended = merge(&bench, &format!("s1 {other} moved -o refused -q"));
        assert_eq!(ended.code, 1);
        assert!(
            ended.err.starts_with(&format!(
                "error: s1 and {other} are not shards of one run: "
            )),
            "{}",
            ended.err
        );
        assert!(ended.err.contains(what), "{}", ended.err);
        assert!(!exists(&bench.path("refused")));
    };
    differ(
        "pools",
        "run: --pool (mean and mean,max)\n  hint: run one of them again, with the input, model",
    );
    differ("model", "run: model file ");
    differ("input", "the records of the input (13 and 6)");
    differ("of4", "the number of shards (3 and 4)");
    // The same shards elsewhere, where the input has another name.
    fs::copy(bench.path("a.fasta"), bench.path("c.fasta")).unwrap();
    run(&format!(
        "c.fasta b.fasta.gz --model $MODEL {}",
        line(3, "s3")
    ));
    let ended = merge(&bench, "s1 s2 s3 -o merged -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_same(&bench.tree("whole"), &bench.tree("merged"), "another name");
}

#[test]
fn damage_is_noticed_and_nothing_looks_finished() {
    let bench = bench();
    let more = "--residues files";
    let shards = embed_shards(&bench, 2, more);
    let index = bench.text("s2of2/index.tsv");
    let file = rows(&index)[0][5];
    for name in [
        "mean.layer2.npy",
        "shard.tsv",
        "index.tsv",
        &format!("residues.layer2/{file}"),
        "residues.layer0.sha256",
    ] {
        let path = bench.path("s2of2").join(name);
        let whole = fs::read(&path).unwrap();
        // The second-to-last byte: part of a number, a letter or a digit.
        let mut damaged = whole.clone();
        let at = damaged.len() - 2;
        damaged[at] ^= 1;
        for bytes in [damaged, whole[..whole.len() - 1].to_vec()] {
            fs::write(&path, bytes).unwrap();
            let ended = merge(
                &bench,
                &format!("{} -o merged -q --force", shards.join(" ")),
            );
            assert_eq!(ended.code, 1, "{name}");
            assert!(ended.err.contains("s2of2"), "{name}: {}", ended.err);
            assert!(!exists(&bench.path("merged/run.json")), "{name}");
        }
        fs::remove_file(&path).unwrap();
        let ended = merge(
            &bench,
            &format!("{} -o merged -q --force", shards.join(" ")),
        );
        assert_eq!(ended.code, 1, "{name}");
        assert!(ended.err.contains("s2of2"), "{name}: {}", ended.err);
        fs::write(&path, whole).unwrap();
    }
    let ended = merge(
        &bench,
        &format!("{} -o merged -q --force", shards.join(" ")),
    );
    assert_eq!(ended.code, 0, "{}", ended.err);
    fs::remove_file(bench.path("s2of2/run.json")).unwrap();
    assert_refused(
        &bench,
        &shards.join(" "),
        "s2of2: run.json: is missing: this is not an output folder, or its run did not finish\n  \
         hint: resume the run of this shard with --resume\n  \
         hint: run this shard again into another folder with --out",
    );
}

#[test]
fn an_interrupted_merge_is_repeated_with_force() {
    let bench = bench();
    let shards = embed_shards(&bench, 2, "").join(" ");
    bench.run(&format!("{INPUTS} --out whole {OPTIONS}"));
    fs::create_dir_all(bench.path("merged/.partial")).unwrap();
    bench.write("merged/.partial/index.tsv", "row\n");
    let ended = merge(&bench, &format!("{shards} -o merged -q"));
    assert_eq!(ended.code, 1);
    assert_eq!(
        ended.err,
        "error: merged holds .partial, the working folder of a run or merge that did not finish or \
         is still running\n  \
         hint: choose another folder with --out, or rename or remove this one\n"
    );
    assert_eq!(bench.text("merged/.partial/index.tsv"), "row\n");
    let ended = merge(&bench, &format!("{shards} -o merged -q --force"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_same(&bench.tree("whole"), &bench.tree("merged"), "again");
    // A folder that is being written is not touched.
    fs::create_dir_all(bench.path("busy/.partial")).unwrap();
    bench.write("busy/.partial/lock", "");
    let lock = fs::File::options()
        .write(true)
        .open(bench.path("busy/.partial/lock"))
        .unwrap();
    lock.lock().unwrap();
    let ended = merge(&bench, &format!("{shards} -o busy -q --force"));
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("another run is writing into busy"),
        "{}",
        ended.err
    );
    assert_eq!(bench.names("busy"), [".partial"]);
}

#[test]
fn a_shard_that_lists_other_records_is_noticed() {
    let bench = bench();
    embed_shards(&bench, 2, "");
    let shard = bench.text("s2of2/shard.tsv");
    let whole = bench.text("s2of2/run.json");
    // Sizes and checksums fit, as after deliberate tampering.
    let change = |text: String| {
        let digest = |text: &str| {
            use sha2::{Digest, Sha256};
            let digest = Sha256::digest(text.as_bytes());
            digest
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        bench.write("s2of2/shard.tsv", &text);
        let json = whole.replace(&digest(&shard), &digest(&text));
        let bytes = format!("\"bytes\": {},", shard.len());
        assert_ne!(json, whole);
        bench.write(
            "s2of2/run.json",
            json.replace(&bytes, &format!("\"bytes\": {},", text.len())),
        );
    };
    let lines: Vec<&str> = shard.lines().collect();
    let mut doubled = lines.clone();
    doubled[2] = doubled[1];
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    for changed in [doubled, swapped] {
        change(changed.join("\n") + "\n");
        let ended = merge(&bench, "s1of2 s2of2 -o merged -q --force");
        assert_eq!(ended.code, 1);
        assert!(
            ended.err.contains("shard.tsv: has record ") && ended.err.contains(" is expected"),
            "{}",
            ended.err
        );
        assert!(!exists(&bench.path("merged/run.json")));
    }
    change(lines[..lines.len() - 1].join("\n") + "\n");
    let ended = merge(&bench, "s1of2 s2of2 -o merged -q --force");
    assert!(
        ended.err.contains("s2of2: shard.tsv: has 8 lines"),
        "{}",
        ended.err
    );
}
