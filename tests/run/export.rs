//! `export`: each format, its messages and what it refuses.

use crate::bench::*;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("in.fasta", ">P1 one\nMKTAYIAKQR\n>a/b\nGSHMLE\n>P1\nWW\n");
    let ended = bench.run("in.fasta --model $MODEL --out emb -q");
    assert_eq!(ended.code, 0);
    bench
}

#[test]
fn every_format_is_written_and_reported() {
    let bench = bench();
    for (format, array) in [
        ("h5", "mean.layer2"),
        ("safetensors", "mean.layer2"),
        ("parquet", "mean.layer2"),
        ("pt", "mean.layer2"),
        ("csv", "mean.layer2"),
        ("npz", "mean.layer2"),
        ("skbio", "mean.layer2"),
    ] {
        let ended = bench.call(&format!("export emb --to {format} --out x.{format} --json"));
        assert_eq!(
            (ended.code, ended.err),
            (0, format!("x.{format}: {array}, 3 records, f32\n"))
        );
        let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(report["format"], format);
        assert_eq!(report["arrays"], serde_json::json!([array]));
        assert_eq!(
            (&report["records"], &report["repeated"]),
            (&3.into(), &0.into())
        );
        assert_eq!(report["dtype"], "f32");
        assert!(bench.path(&format!("x.{format}")).exists());
    }
    assert_eq!(
        bench.names("x.pt"),
        ["P1 one.pt", "P1.pt", "a_b-c14cddc033f64b9d.pt"]
    );
}

#[test]
fn the_same_folder_gives_the_same_bytes() {
    let bench = bench();
    for format in ["h5", "safetensors", "parquet", "csv", "npz", "skbio"] {
        let one = |out: &str| {
            let line = format!("export emb --to {format} --out {out} --force -q");
            assert_eq!(bench.call(&line).code, 0);
            bench.bytes(out)
        };
        assert_eq!(one("one"), one("two"), "{format}");
    }
}

#[test]
fn csv_has_the_numbers_of_the_array() {
    let bench = bench();
    assert_eq!(bench.call("export emb --to csv --out x.csv -q").err, "");
    let text = bench.text("x.csv");
    let mean = bench.matrix("emb/mean.layer2.npy");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("id,d0,d1,") && lines[0].ends_with(",d31"));
    for (row, id) in ["P1", "a/b", "P1"].iter().enumerate() {
        let (found, numbers) = lines[row + 1].split_once(',').unwrap();
        assert_eq!(found, *id);
        let numbers: Vec<u32> = numbers
            .split(',')
            .map(|n| n.parse::<f32>().unwrap().to_bits())
            .collect();
        assert_eq!(numbers, bits(&mean, row..row + 1));
    }
}

#[test]
fn of_stacked_layers_the_highest_is_exported() {
    let bench = bench();
    let ended = bench.run("in.fasta --model $MODEL --layer all --stack-layers --out all -q");
    assert_eq!(ended.code, 0);
    for format in ["csv", "npz", "h5", "safetensors"] {
        for dir in ["emb", "all"] {
            let line = format!("export {dir} --to {format} --array mean --out {dir}.{format} -q");
            let array = if dir == "all" {
                "mean.layers"
            } else {
                "mean.layer2"
            };
            assert_eq!(
                bench
                    .call(&line.replace("--array mean", &format!("--array {array}")))
                    .code,
                0
            );
        }
    }
    assert_eq!(bench.bytes("all.csv"), bench.bytes("emb.csv"));
    let is_in = |format: &str| {
        let numbers = &bench.bytes("emb/mean.layer2.npy")[128..256];
        bench
            .bytes(&format!("all.{format}"))
            .windows(128)
            .any(|part| part == numbers)
    };
    assert!(is_in("npz") && is_in("h5") && is_in("safetensors"));
}

#[test]
fn what_is_refused() {
    let bench = bench();
    bench.write("there", "mine");
    for (line, code, error) in [
        (
            "export emb --to h5 --out there",
            1,
            "error: there already exists\n  hint: choose another place with --out\n  \
             hint: replace it with --force\n",
        ),
        (
            "export emb --to h5 --array mean.layer9 --out x",
            1,
            "error: emb has no array mean.layer9\n  hint: it has mean.layer2, residues.layer2\n",
        ),
        (
            "export emb --to csv --array residues.layer2 --out x",
            1,
            "error: csv has one row for each record, and residues.layer2 has one for each residue\n  \
             hint: export to h5, safetensors, npz or pt\n",
        ),
        (
            "export nothing --to csv --out x",
            1,
            "error: nothing does not exist\n  hint: give the folder that a run wrote\n",
        ),
        (
            "export emb --to h5 --keys hash --fasta other.fasta --out x",
            1,
            "error: other.fasta: ",
        ),
        (
            "export emb --to csv --residues --out x",
            2,
            "error: csv has one row for each record",
        ),
        (
            "export emb --to npz --keys row --out x",
            2,
            "error: npz has no keys\n",
        ),
        (
            "export emb --to parquet --dtype f16 --out x",
            2,
            "error: parquet holds 32-bit floats\n",
        ),
        (
            "export emb --to h5 --dtype f8 --out x",
            2,
            "error: invalid value 'f8' for '--dtype <DTYPE>': give f32 or f16\n",
        ),
        (
            "export emb --to xlsx --out x",
            2,
            "error: invalid value 'xlsx' for '--to <FORMAT>'\n",
        ),
    ] {
        let ended = bench.call(line);
        assert!(ended.err.starts_with(error), "{line}: {}", ended.err);
        assert_eq!((ended.code, &*ended.out), (code, ""), "{line}");
        assert!(!bench.path("x").exists(), "{line}");
    }
    assert_eq!(bench.text("there"), "mine");
    assert_eq!(
        bench.call("export emb --to h5 --out there --force -q").code,
        0
    );
    assert!(bench.bytes("there").starts_with(b"\x89HDF"));
}

#[test]
fn a_shard_is_called_one() {
    let bench = bench();
    for number in [1, 2] {
        let ended = bench.run(&format!(
            "in.fasta --model $MODEL --out all/s{number} --shard {number}/2 -q"
        ));
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    let ended = bench.call("export all/s2 --to csv --out x.csv");
    let records = bench.text("x.csv").lines().count() - 1;
    let records = format!("{records} record{}", if records == 1 { "" } else { "s" });
    assert_eq!(
        (ended.code, ended.err),
        (
            0,
            format!("x.csv: mean.layer2, {records} of shard 2/2, f32\n")
        )
    );
    let ended = bench.call("export all --to csv --out y.csv");
    assert_eq!(
        ended.err,
        "error: all has no run.json: it is not an output folder, or its run did not finish\n  \
         hint: give a folder in it that has one, such as all/s1\n  hint: merge shards first\n"
    );
}

#[test]
fn names_that_people_give_are_understood_or_answered() {
    let bench = bench();
    for (format, out) in [("hdf5", "a"), ("H5", "b"), ("Scikit-Bio", "c")] {
        let line = format!("export emb --to {format} --out {out} -q");
        assert_eq!(bench.call(&line).code, 0, "{format}");
    }
    assert_eq!(bench.bytes("a"), bench.bytes("b"));
    for (typed, hint) in [
        ("--format h5", "write --to, such as --to h5"),
        (
            "--layer 1",
            "name the array of the layer, such as --array mean.layer20",
        ),
        ("--pool max", "name the array, such as --array max.layer33"),
    ] {
        let ended = bench.call(&format!("export emb --out x {typed}"));
        assert_eq!(ended.code, 2);
        assert!(
            ended.err.contains(&format!("  hint: {hint}\n")),
            "{typed}: {}",
            ended.err
        );
    }
}

#[test]
fn a_folder_may_have_a_slash_at_its_end() {
    let bench = bench();
    for flag in ["", "--force"] {
        let ended = bench.call(&format!("export emb --to pt --out sub/x/ -q {flag}"));
        assert_eq!((ended.code, &*ended.err), (0, ""));
        assert_eq!(bench.names("sub"), ["x"]);
    }
    let ended = bench.call("export emb --to pt --out sub/x/ -q");
    assert!(
        ended.err.starts_with("error: sub/x already exists\n"),
        "{}",
        ended.err
    );
    let ended = bench.call("export emb --to csv --out sub/y/ -q");
    assert_eq!(
        ended.err,
        "error: sub/y/ is not the name of a file\n  hint: choose another place with --out\n"
    );
}

#[test]
fn an_empty_folder_has_empty_exports() {
    let bench = Bench::new();
    bench.write("in.fasta", ">P1\n\n");
    let ended = bench.run("in.fasta --model $MODEL --out emb --on-invalid skip -q");
    assert_eq!(ended.code, 3);
    for format in ["h5", "safetensors", "parquet", "pt", "csv", "npz", "skbio"] {
        let ended = bench.call(&format!("export emb --to {format} --out x.{format} -q"));
        assert_eq!((ended.code, &*ended.err), (0, ""), "{format}");
        assert!(bench.path(&format!("x.{format}")).exists());
    }
    let text = bench.text("x.csv");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn only_files_are_replaced_and_none_of_a_run() {
    let bench = bench();
    let socket = std::os::unix::net::UnixListener::bind(bench.path("socket")).unwrap();
    std::os::unix::fs::symlink("socket", bench.path("link")).unwrap();
    std::fs::create_dir(bench.path("folder")).unwrap();
    let before = bench.tree("emb");
    let hint = "  hint: choose another place with --out\n";
    let commands = [
        "export emb --to csv --out",
        "report emb --out",
        "export emb --to pt --out",
    ];
    for (out, what) in [
        ("socket", "is not a file, so it is not replaced"),
        ("link", "is not a file, so it is not replaced"),
        (
            "-",
            "is not the name of a file: nothing is written to standard output",
        ),
        ("..", "is not the name of a file"),
        (
            "emb/run.json",
            "is part of the output of a run, so it is not replaced",
        ),
        (
            "emb/mean.layer2.npy",
            "is part of the output of a run, so it is not replaced",
        ),
        ("folder", "is a folder, so it is not replaced"),
    ] {
        for command in commands {
            let what = match (out, command.contains(" pt ")) {
                ("emb/run.json" | "emb/mean.layer2.npy", true) => {
                    "is not a folder, so it is not replaced"
                }
                ("folder", true) => continue,
                _ => what,
            };
            let ended = bench.call(&format!("{command} {out} --force -q"));
            assert_eq!(
                (ended.code, ended.err),
                (1, format!("error: {out} {what}\n{hint}")),
                "{command}"
            );
        }
    }
    assert!(bench.tree("emb") == before);
    drop(socket);
}

#[test]
fn two_exports_to_one_place_do_not_mix() {
    let bench = bench();
    for (format, out) in [("csv", "x.csv"), ("pt", "x")] {
        let beside = bench.path(&format!("{out}.new"));
        let held = match format {
            "pt" => {
                std::fs::create_dir(&beside).unwrap();
                std::fs::File::open(&beside).unwrap()
            }
            _ => std::fs::File::create(&beside).unwrap(),
        };
        held.lock().unwrap();
        let line = format!("export emb --to {format} --out {out} -q");
        let ended = bench.call(&line);
        let expected = format!(
            "error: {out} is being written by another export\n  \
             hint: wait for it, or choose another place with --out\n"
        );
        assert_eq!((ended.code, &ended.err), (1, &expected));
        assert!(beside.exists() && !bench.path(out).exists());
        // It was killed. A program that another test starts holds the lock, too, until it runs.
        drop(held);
        let mut ended = bench.call(&line);
        for _ in 0..100 {
            if ended.err != expected {
                break;
            }
            ended = bench.call(&line);
        }
        assert_eq!((ended.code, &*ended.err), (0, ""));
        assert!(!beside.exists() && bench.path(out).exists());
    }
}
