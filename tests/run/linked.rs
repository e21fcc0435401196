//! `merge --link`: a whole whose arrays stay in the folders of its shards.

use crate::bench::*;
use crate::shards::{INPUTS, OPTIONS, assert_refused, assert_same, bench, embed_shards, merge};
use std::fs;

/// A whole, and the same as a linked folder of three shards.
fn linked(more: &str) -> Bench {
    let bench = bench();
    let ended = bench.run(&format!("{INPUTS} --out whole {OPTIONS} {more}"));
    assert_eq!(ended.code, 3, "{}", ended.err);
    embed_shards(&bench, 3, more);
    let ended = merge(&bench, "s3of3 s1of3 s2of3 --link --out linked -q");
    let warned = "warning: the shards skipped 3 records, listed in skipped.tsv\n";
    assert_eq!((ended.code, &*ended.err), (0, warned));
    bench
}

/// The report of `inspect --check`.
fn check(bench: &Bench, dir: &str) -> (i32, String) {
    let ended = bench.call(&format!("inspect {dir} --check"));
    (ended.code, ended.out)
}

#[test]
fn its_tables_are_those_of_the_whole_and_its_arrays_are_elsewhere() {
    for residues in ["packed", "files", "none"] {
        let bench = linked(&format!("--residues {residues} --out-dtype f16"));
        let (whole, tables) = (bench.tree("whole"), bench.tree("linked"));
        let names: Vec<_> = tables.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "ids.npy",
                "index.tsv",
                "links.npy",
                "run.json",
                "skipped.tsv"
            ]
        );
        for name in ["ids.npy", "index.tsv", "skipped.tsv"] {
            assert!(tables[name] == whole[name], "{name}");
        }
        let json: serde_json::Value = serde_json::from_slice(&tables["run.json"]).unwrap();
        let of_whole: serde_json::Value = serde_json::from_slice(&whole["run.json"]).unwrap();
        assert_eq!(json["format_version"], 3);
        for same in ["counts", "layout", "asked", "resolved", "arrays"] {
            assert_eq!(json[same], of_whole[same], "{same}");
        }
        for (shard, link) in json["links"].as_array().unwrap().iter().enumerate() {
            let dir = format!("s{}of3", shard + 1);
            assert_eq!(link["path"], format!("../{dir}"));
            for count in ["records", "residues"] {
                let counted = bench.recorded(&dir, &format!("/counts/{count}"));
                assert_eq!(link[count], counted);
            }
            let file = if residues == "files" {
                "residues.layer2.sha256"
            } else {
                "mean.layer2.npy"
            };
            let listed = bench.recorded(&dir, "/files");
            let mut listed = listed.as_array().unwrap().iter();
            let entry = listed.find(|entry| entry["name"] == file).unwrap();
            assert_eq!(link["arrays"][file], entry["sha256"]);
        }
        let (code, report) = check(&bench, "linked");
        assert_eq!(code, 0, "{report}");
        assert!(report.contains("problems: none\n"), "{report}");
        let line = "linked: the arrays are in the folders of 3 shards (merge copies them)\n";
        assert!(report.contains(line), "{report}");
    }
}

#[test]
fn a_merge_of_it_copies_the_arrays() {
    for residues in ["packed", "files"] {
        let bench = linked(&format!("--residues {residues}"));
        let whole = bench.tree("whole");
        assert_eq!(merge(&bench, "linked --out copied -q").code, 0);
        assert_same(&whole, &bench.tree("copied"), residues);
        // Linked again, from a folder at another depth: to the shards, not to the linked folder.
        assert_eq!(merge(&bench, "linked --link --out deep/er -q").code, 0);
        assert_eq!(bench.recorded("deep/er", "/links/1/path"), "../../s2of3");
        assert_eq!(
            bench.bytes("deep/er/links.npy"),
            bench.bytes("linked/links.npy")
        );
        // In its own place.
        assert_eq!(merge(&bench, "linked --out linked --force -q").code, 0);
        assert_same(&whole, &bench.tree("linked"), residues);
    }
}

#[test]
fn every_command_reads_it_as_the_whole() {
    let bench = bench();
    let options = "--model $MODEL --residues files --include contacts,logits --on-invalid skip -q";
    for part in ["whole", "1/3", "2/3", "3/3"] {
        let out = match part.split_once('/') {
            None => "--out whole".to_owned(),
            Some((number, _)) => format!("--out s{number} --shard {part}"),
        };
        let ended = bench.run(&format!("{INPUTS} {out} {options}"));
        assert!([0, 3].contains(&ended.code), "{}", ended.err);
    }
    assert_eq!(merge(&bench, "s1 s2 s3 --link --out linked -q").code, 0);
    let same = |line: &str, out: &str| {
        let of = |dir: &str| {
            let line = line
                .replace("DIR", dir)
                .replace("OUT", &format!("{dir}-{out}"));
            let ended = bench.call(&line);
            assert_eq!(ended.code, 0, "{line}: {}", ended.err);
            match bench.path(&format!("{dir}-{out}")) {
                path if path.is_dir() => bench.tree(&format!("{dir}-{out}")),
                path => [(String::new(), fs::read(path).unwrap())].into(),
            }
        };
        assert_same(&of("whole"), &of("linked"), line);
    };
    for (format, more) in [
        ("h5", "--residues"),
        ("safetensors", ""),
        ("safetensors", "--residues"),
        ("npz", ""),
        ("csv", ""),
        ("skbio", ""),
    ] {
        let keys = if ["h5", "safetensors"].contains(&format) {
            "--keys row"
        } else {
            ""
        };
        let line = format!("export DIR --to {format} {keys} {more} --force --out OUT -q");
        same(&line, &format!("x.{format}"));
    }
    same("plot contacts DIR --id CON --out OUT -q", "contacts");
    let tsv = |dir: &str| {
        let ended = bench.call(&format!("plot map {dir} --dims 2 --out {dir}-map -q"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        bench.text(&format!("{dir}-map/map.tsv"))
    };
    assert_eq!(tsv("whole"), tsv("linked"));
    for dir in ["whole", "linked"] {
        let ended = bench.call(&format!("report {dir} --out {dir}.html -q"));
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
}

#[test]
fn packed_residues_are_read_in_the_order_of_the_whole() {
    let bench = linked("--residues packed --out-dtype f16");
    for dir in ["whole", "linked"] {
        let line = format!("export {dir} --to safetensors --residues --keys row --out {dir}.x -q");
        assert_eq!(bench.call(&line).code, 0);
    }
    assert!(bench.bytes("whole.x") == bench.bytes("linked.x"));
}

#[test]
fn a_shard_that_was_moved_or_changed_is_named() {
    let bench = linked("");
    let refused = |line: &str, what: &str| {
        let ended = bench.call(line);
        assert_eq!(
            (ended.code, ended.err),
            (
                1,
                format!(
                    "error: linked: shard 2/3, linked/../s2of3, {what}\n  \
                     hint: move its folder back\n  \
                     hint: merge all shards again with --link and --force\n"
                )
            ),
            "{line}"
        );
    };
    let lines = [
        "export linked --to csv --out x.csv -q",
        "merge linked --out copied -q",
        "plot map linked --out map -q",
        "report linked --out report.html -q",
    ];
    fs::rename(bench.path("s2of3"), bench.path("elsewhere")).unwrap();
    for line in lines {
        refused(line, "is not there: the folder was moved or removed");
    }
    let (code, report) = check(&bench, "linked");
    let problem = "../s2of3: is not there: the folder was moved or removed\n";
    assert!(code == 1 && report.contains(problem), "{report}");
    // Another shard in its place.
    fs::rename(bench.path("s1of3"), bench.path("s2of3")).unwrap();
    refused_first(&bench);
    fs::rename(bench.path("s2of3"), bench.path("s1of3")).unwrap();
    fs::create_dir(bench.path("s2of3")).unwrap();
    refused(lines[0], "has no run.json any more");
    fs::copy(
        bench.path("elsewhere/run.json"),
        bench.path("s2of3/run.json"),
    )
    .unwrap();
    let (code, report) = check(&bench, "linked");
    assert!(
        code == 1 && report.contains("../s2of3/index.tsv: is missing\n"),
        "{report}"
    );
    let text = bench.text("s2of3/run.json").replacen('{', "{ ", 1);
    bench.write("s2of3/run.json", text);
    refused(
        lines[0],
        "its run.json is another one than when it was linked",
    );
    // Everything together can be moved.
    fs::remove_dir_all(bench.path("s2of3")).unwrap();
    fs::rename(bench.path("elsewhere"), bench.path("s2of3")).unwrap();
    fs::create_dir(bench.path("new")).unwrap();
    for dir in ["linked", "s1of3", "s2of3", "s3of3"] {
        fs::rename(bench.path(dir), bench.path(&format!("new/{dir}"))).unwrap();
    }
    let (code, report) = check(&bench, "new/linked");
    assert_eq!(code, 0, "{report}");
}

fn refused_first(bench: &Bench) {
    let ended = bench.call("export linked --to csv --out x.csv -q");
    let named = "error: linked: shard 1/3, linked/../s1of3, is not there";
    assert!(
        ended.code == 1 && ended.err.starts_with(named),
        "{}",
        ended.err
    );
}

#[test]
fn damage_in_a_shard_is_found_through_it() {
    let bench = linked("");
    let file = bench.path("s3of3/mean.layer0.npy");
    let mut bytes = fs::read(&file).unwrap();
    bytes[131] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, report) = check(&bench, "linked");
    let found = "../s3of3/mean.layer0.npy: its SHA-256 is ";
    assert!(code == 1 && report.contains(found), "{report}");
    let ended = merge(&bench, "linked --out copied -q");
    assert!(ended.code == 1 && ended.err.contains("s3of3/mean.layer0.npy: its SHA-256 is "));
    // The first row is not that of its shard.
    let mut bytes = bench.bytes("linked/links.npy");
    bytes[132] = 1;
    bench.write("linked/links.npy", bytes);
    let (_, report) = check(&bench, "linked");
    assert!(
        report.contains("links.npy: does not list the rows of each shard in order\n"),
        "{report}"
    );
    // A path out of the run.json that no merge writes.
    let text = bench.text("linked/run.json").replace("../s2of3", "/etc");
    bench.write("linked/run.json", text);
    let ended = bench.call("export linked --to csv --out x.csv -q");
    let what = "is not a relative path, as a merge writes it; it was not opened\n";
    assert!(ended.code == 1 && ended.err.contains(what), "{}", ended.err);
}

#[test]
fn what_cannot_be_linked_is_refused() {
    let bench = linked("");
    assert_refused(
        &bench,
        "linked --move",
        "linked is a linked folder, which needs its shards\n  \
         hint: give the folders of the shards instead, and remove the linked folder afterwards\n  \
         hint: leave --move out",
    );
    assert_refused(
        &bench,
        "s1of3 s3of3 --link",
        "shard 2/3 is missing\n  hint: run it with --shard, or name its folder",
    );
    let ended = merge(&bench, "linked --link --move --out x");
    assert_eq!(ended.code, 2, "{}", ended.err);
    let ended = merge(&bench, "linked s1of3 --out x -q");
    assert!(
        ended.err.starts_with("error: shard 1/3 is given twice: "),
        "{}",
        ended.err
    );
    let ended = merge(&bench, "linked --link --out s1of3 --force -q");
    assert!(
        ended
            .err
            .contains(" holds shard 1/3, which is to be merged"),
        "{}",
        ended.err
    );
}

/// Runs where few files may be open at a time.
fn limited(bench: &Bench, line: &str) -> Ended {
    let mut command = assert_cmd::Command::new("sh");
    command
        .args(["-c", "ulimit -n 24; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_esm-embed"))
        .args(line.split_whitespace().map(expand))
        .current_dir(bench.home());
    let ended = ended(&mut command);
    assert!([0, 3].contains(&ended.code), "{line}: {}", ended.err);
    ended
}

/// A linked folder counts as its shards, and tables are opened one after the other if they are too many.
#[test]
fn more_shards_are_merged_than_files_may_be_open() {
    let bench = bench();
    let whole = bench.run(&format!("{INPUTS} --out whole {OPTIONS}"));
    assert_eq!(whole.code, 3, "{}", whole.err);
    embed_shards(&bench, 20, "");
    let shards: Vec<String> = (1..=20).map(|i| format!("s{i}of20")).collect();
    let limited = |line: &str| {
        let ended = limited(&bench, &format!("merge --json {line}"));
        assert!(ended.err.contains(" from 20 shards\n"), "{}", ended.err);
        let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(report["shards"], 20);
    };
    limited(&format!("{} --out merged", shards.join(" ")));
    assert_same(&bench.tree("whole"), &bench.tree("merged"), "20 shards");
    limited(&format!("{} --out linked --link", shards.join(" ")));
    limited("linked --out again");
    assert_same(&bench.tree("whole"), &bench.tree("again"), "linked");
}

/// The records of the whole take turns among the shards, whose files do not stay open.
#[test]
fn more_shards_are_read_than_files_may_be_open() {
    for residues in ["packed", "files"] {
        let bench = bench();
        let text: String = (0..40)
            .map(|i| {
                format!(
                    ">r{i} number {i}\n{}\n",
                    sequence(i, 1 + (i as usize * 7) % 50)
                )
            })
            .collect();
        bench.write("in.fasta", text);
        let options =
            format!("--model $MODEL --layer 0,2 --pool mean,bos --residues {residues} -q");
        bench.embed(&format!("in.fasta --out whole {options}"));
        let shards: Vec<String> = (1..=30).map(|i| format!("s{i}")).collect();
        for (i, out) in shards.iter().enumerate() {
            bench.embed(&format!(
                "in.fasta --out {out} --shard {}/30 {options}",
                i + 1
            ));
        }
        let line = format!("{} --link --out linked -q", shards.join(" "));
        limited(&bench, &format!("merge {line}"));
        let report = limited(&bench, "inspect linked --check").out;
        assert!(report.contains("problems: none\n"), "{report}");
        let status = limited(&bench, &format!("status {}", shards.join(" "))).out;
        assert!(status.contains("30 shards: 30 done\n"), "{status}");
        for (format, more) in [
            ("h5", "--residues"),
            ("csv", ""),
            ("pt", "--residues"),
            ("npz", "--residues"),
        ] {
            for dir in ["whole", "linked"] {
                let line = format!("export {dir} --to {format} {more} --out {dir}.{format} -q");
                limited(&bench, &line);
            }
            let of = |dir: &str| match format {
                "pt" => bench.tree(&format!("{dir}.pt")),
                _ => [(String::new(), bench.bytes(&format!("{dir}.{format}")))].into(),
            };
            assert_same(&of("whole"), &of("linked"), format);
        }
        for dir in ["whole", "linked"] {
            limited(
                &bench,
                &format!("plot map {dir} --dims 2 --out {dir}-map -q"),
            );
            limited(&bench, &format!("report {dir} --out {dir}.html -q"));
        }
        let map = |dir: &str| bench.text(&format!("{dir}-map/map.tsv"));
        assert_eq!(map("whole"), map("linked"));
        let line = format!("run in.fasta --known linked --out copied {options}");
        limited(&bench, &line);
        assert_eq!(bench.recorded("copied", "/counts/known"), 40);
        for (name, bytes) in bench.tree("whole") {
            assert!(
                name == "run.json" || bench.bytes(&format!("copied/{name}")) == bytes,
                "{name}"
            );
        }
    }
}
