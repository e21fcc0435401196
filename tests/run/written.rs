//! What a run writes: files and their bytes.

use crate::bench::*;
use half::f16;
use ndarray::Array2;
use ndarray_npy::read_npy;

pub const INPUT: &str = ">a first one\nMKTAYI\n>b\nGAV\n>c again\nmktayi*\n>d\nMK<mask>J\n";

pub fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("in.fasta", INPUT);
    bench
}

/// Runs and expects the four warnings for `INPUT`.
pub fn embed(bench: &Bench, options: &str) {
    let ended = bench.run(&format!("in.fasta --model $MODEL -q {options}"));
    assert_eq!((ended.code, &*ended.out), (0, ""), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 4, "{}", ended.err);
    for line in ended.err.lines() {
        assert!(line.starts_with("warning: "), "{line}");
    }
}

#[test]
fn a_log_holds_only_lines_of_text() {
    let bench = bench();
    // Two of them say why no GPU is used, and what to do about it.
    for (progress, lines) in [("auto", 14), ("bar", 14), ("plain", 14), ("none", 9)] {
        let ended = bench.run(&format!(
            "in.fasta --model $MODEL --out {progress} --threads 2 --progress {progress}"
        ));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let is_text = |c: char| c == '\n' || !c.is_control();
        assert!(ended.err.chars().all(is_text), "{:?}", ended.err);
        assert_eq!(ended.err.lines().count(), lines, "{}", ended.err);
    }
}

#[test]
fn the_default_is_the_mean_and_the_packed_residues_of_the_last_layer() {
    let bench = bench();
    embed(&bench, "--out emb");
    assert_eq!(
        bench.names("emb"),
        [
            "ids.npy",
            "index.tsv",
            "mean.layer2.npy",
            "residues.layer2.npy",
            "run.json"
        ]
    );
    assert_eq!(
        bench.text("emb/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n\
         0\ta\t6\t0\t\tfirst one\n\
         1\tb\t3\t6\t\t\n\
         2\tc\t6\t9\tlower=6,stop,duplicate_of=0\tagain\n\
         3\td\t4\t15\tunknown=1,masks=1\t\n"
    );
    assert_eq!(bench.matrix("emb/mean.layer2.npy").dim(), (4, 32));
    assert_eq!(bench.matrix("emb/residues.layer2.npy").dim(), (19, 32));
    let bytes = std::fs::read(bench.path("emb/residues.layer2.npy")).unwrap();
    assert_eq!(bytes.len(), 128 + 19 * 32 * 4);
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (19, 32), }";
    assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
    assert_eq!(&bytes[10..10 + header.len()], header.as_bytes());
    assert_eq!(bytes[127], b'\n');
    assert!(
        bytes[10 + header.len()..127]
            .iter()
            .all(|&byte| byte == b' ')
    );
}

#[test]
fn means_are_the_means_of_the_rows_and_bos_is_not_among_them() {
    let bench = bench();
    embed(&bench, "--out emb --pool mean,bos,max");
    let residues = bench.matrix("emb/residues.layer2.npy");
    let (mean, max, bos) = (
        bench.matrix("emb/mean.layer2.npy"),
        bench.matrix("emb/max.layer2.npy"),
        bench.matrix("emb/bos.layer2.npy"),
    );
    for (row, range) in [0..6, 6..9, 9..15, 15..19].into_iter().enumerate() {
        for column in 0..32 {
            let values: Vec<f64> = range
                .clone()
                .map(|i| f64::from(residues[[i, column]]))
                .collect();
            let want = values.iter().sum::<f64>() / values.len() as f64;
            assert!((f64::from(mean[[row, column]]) - want).abs() < 1e-6);
            let want = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(f64::from(max[[row, column]]), want);
        }
        let bos = bos.row(row);
        assert!(range.clone().all(|i| residues.row(i) != bos));
    }
}

#[test]
fn several_layers_and_pools_in_one_pass_equal_one_at_a_time() {
    let bench = bench();
    embed(
        &bench,
        "--out all --layer 0,-1,1,-2 --pool max,mean,bos,max",
    );
    assert_eq!(
        bench.names("all"),
        [
            "bos.layer0.npy",
            "bos.layer1.npy",
            "bos.layer2.npy",
            "ids.npy",
            "index.tsv",
            "max.layer0.npy",
            "max.layer1.npy",
            "max.layer2.npy",
            "mean.layer0.npy",
            "mean.layer1.npy",
            "mean.layer2.npy",
            "residues.layer0.npy",
            "residues.layer1.npy",
            "residues.layer2.npy",
            "run.json",
        ]
    );
    let all = bench.tree("all");
    for (layer, number) in [
        ("0", 0),
        ("1", 1),
        ("2", 2),
        ("-3", 0),
        ("-2", 1),
        ("-1", 2),
    ] {
        for pool in ["mean", "bos", "max"] {
            let out = format!("one.{layer}.{pool}");
            embed(
                &bench,
                &format!("--out {out} --layer {layer} --pool {pool}"),
            );
            let mut files = bench.tree(&out);
            files.remove("run.json");
            assert_eq!(files.len(), 4, "{out}");
            assert!(files.contains_key(&format!("{pool}.layer{number}.npy")));
            assert!(files.contains_key(&format!("residues.layer{number}.npy")));
            for (name, bytes) in files {
                assert!(bytes == all[&name], "{out}/{name}");
            }
        }
    }
}

#[test]
fn residues_in_files_hold_the_rows_of_the_packed_matrix() {
    let bench = bench();
    embed(&bench, "--out packed --layer 1,2");
    embed(&bench, "--out files --layer 1,2 --residues files");
    assert_eq!(
        bench.tree("files").keys().collect::<Vec<_>>(),
        [
            "ids.npy",
            "index.tsv",
            "mean.layer1.npy",
            "mean.layer2.npy",
            "residues.layer1.sha256",
            "residues.layer1/000000/a.npy",
            "residues.layer1/000000/b.npy",
            "residues.layer1/000000/c.npy",
            "residues.layer1/000000/d.npy",
            "residues.layer2.sha256",
            "residues.layer2/000000/a.npy",
            "residues.layer2/000000/b.npy",
            "residues.layer2/000000/c.npy",
            "residues.layer2/000000/d.npy",
            "run.json",
        ]
    );
    assert_eq!(
        bench.text("files/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tfile\tdescription\n\
         0\ta\t6\t0\t\t000000/a.npy\tfirst one\n\
         1\tb\t3\t6\t\t000000/b.npy\t\n\
         2\tc\t6\t9\tlower=6,stop,duplicate_of=0\t000000/c.npy\tagain\n\
         3\td\t4\t15\tunknown=1,masks=1\t000000/d.npy\t\n"
    );
    for layer in [1, 2] {
        let packed = bench.matrix(&format!("packed/residues.layer{layer}.npy"));
        for (id, range) in [("a", 0..6), ("b", 6..9), ("c", 9..15), ("d", 15..19)] {
            let own = bench.matrix(&format!("files/residues.layer{layer}/000000/{id}.npy"));
            assert_eq!(own.dim(), (range.len(), 32));
            assert_eq!(bits(&own, 0..range.len()), bits(&packed, range), "{id}");
        }
        let mean = format!("mean.layer{layer}.npy");
        assert!(bench.tree("packed")[&mean] == bench.tree("files")[&mean]);
    }
}

#[test]
fn pools_or_residues_can_be_omitted() {
    let bench = bench();
    embed(&bench, "--out pooled --residues none");
    assert_eq!(
        bench.names("pooled"),
        ["ids.npy", "index.tsv", "mean.layer2.npy", "run.json"]
    );
    embed(&bench, "--out rows --pool none");
    assert_eq!(
        bench.names("rows"),
        ["ids.npy", "index.tsv", "residues.layer2.npy", "run.json"]
    );
    embed(&bench, "--out both");
    let both = bench.tree("both");
    assert!(bench.tree("pooled")["mean.layer2.npy"] == both["mean.layer2.npy"]);
    assert!(bench.tree("rows")["residues.layer2.npy"] == both["residues.layer2.npy"]);
}

/// f16 output is the rounded f32 output, number for number.
#[test]
fn f16_files_hold_the_rounded_numbers() {
    let bench = bench();
    embed(&bench, "--out single --pool mean,bos,max");
    embed(&bench, "--out half --pool mean,bos,max --out-dtype f16");
    let halves = bench.tree("half");
    let singles = bench.tree("single");
    assert_eq!(halves["index.tsv"], singles["index.tsv"]);
    for (name, rows) in [
        ("mean.layer2.npy", 4),
        ("bos.layer2.npy", 4),
        ("max.layer2.npy", 4),
        ("residues.layer2.npy", 19),
    ] {
        let (half, single) = (&halves[name], &singles[name]);
        assert_eq!(half.len(), 128 + rows * 32 * 2, "{name}");
        let header = format!("{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, 32), }}");
        assert_eq!(&half[10..10 + header.len()], header.as_bytes());
        let rounded: Vec<u8> = single[128..]
            .chunks_exact(4)
            .map(|b| f16::from_f32(f32::from_le_bytes(b.try_into().unwrap())))
            .flat_map(f16::to_le_bytes)
            .collect();
        assert!(half[128..] == rounded, "{name}");
    }
    assert_eq!(bench.recorded("half", "/layout/dtype"), "f16");
}

#[test]
fn a_repeated_sequence_is_computed_once_and_written_twice() {
    let bench = Bench::new();
    let long = sequence(5, 700);
    let lower = long.to_lowercase();
    let records = [
        ("x", long.as_str()),
        ("y", "MKT"),
        ("z", &long),
        ("low", &lower),
        ("y2", "MKT"),
    ];
    bench.write("in.fasta", fasta(records));
    let ended = bench.run("in.fasta --model $MODEL --out emb --pool mean,bos,max --layer 0,1,2 -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(
        bench.text("emb/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n\
         0\tx\t700\t0\t\t\n\
         1\ty\t3\t700\t\t\n\
         2\tz\t700\t703\tduplicate_of=0\t\n\
         3\tlow\t700\t1403\tlower=700,duplicate_of=0\t\n\
         4\ty2\t3\t2103\tduplicate_of=1\t\n"
    );
    assert_eq!(bench.recorded("emb", "/counts/unique_sequences"), 2);
    assert_eq!(bench.recorded("emb", "/counts/duplicates"), 3);
    for layer in 0..3 {
        for pool in ["mean", "bos", "max"] {
            let name = format!("emb/{pool}.layer{layer}.npy");
            assert_eq!(bench.row(&name, 2), bench.row(&name, 0));
            assert_eq!(bench.row(&name, 3), bench.row(&name, 0));
            assert_eq!(bench.row(&name, 4), bench.row(&name, 1));
            // Only the embedding of <cls> is the same in every sequence.
            let same = (pool, layer) == ("bos", 0);
            assert_eq!(bench.row(&name, 1) == bench.row(&name, 0), same);
        }
        let residues = bench.matrix(&format!("emb/residues.layer{layer}.npy"));
        assert_eq!(bits(&residues, 703..1403), bits(&residues, 0..700));
        assert_eq!(bits(&residues, 1403..2103), bits(&residues, 0..700));
        assert_eq!(bits(&residues, 2103..2106), bits(&residues, 700..703));
    }
}

/// Equal letters that are treated differently are not duplicates.
#[test]
fn only_equal_tokens_are_duplicates() {
    let bench = Bench::new();
    bench.write(
        "in.fasta",
        ">a\nMKX\n>b\nMKJ\n>c\nMK<mask>\n>d\nMK-\n>e\nMK1\n",
    );
    let ended = bench.run("in.fasta --model $MODEL --out emb -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let index = bench.text("emb/index.tsv");
    let flags: Vec<_> = rows(&index).iter().map(|row| row[4].to_owned()).collect();
    assert_eq!(
        flags,
        [
            "",
            "unknown=1",
            "masks=1",
            "gaps=1",
            "unknown=1,duplicate_of=1"
        ]
    );
    let mean = "emb/mean.layer2.npy";
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        assert_ne!(bench.row(mean, one), bench.row(mean, other));
    }
}

#[test]
fn run_json_records_what_was_asked_and_resolved() {
    let bench = bench();
    embed(&bench, "--out emb --layer -1");
    for (pointer, value) in [
        ("/asked/layer", serde_json::json!([-1])),
        ("/resolved/layers", serde_json::json!([2])),
        ("/resolved/long", serde_json::json!("full")),
        ("/asked/gaps", serde_json::json!("keep")),
        ("/resolved/gaps", serde_json::json!("keep")),
        ("/resolved/dtype", serde_json::json!("f32")),
        ("/resolved/model/inv_freq", serde_json::json!("checkpoint")),
        ("/resolved/model/files/1/name", "model.safetensors".into()),
        (
            "/resolved/model/files/1/sha256",
            "5865c261c401fa1905ed09eda511d26e8868e08173e5d79a1cee8b1733ad692e".into(),
        ),
        ("/resolved/inputs/0/bytes", 57.into()),
        (
            "/counts",
            serde_json::json!({
                "records": 4, "residues": 19, "unique_sequences": 3, "duplicates": 1,
                "unknown": 1, "lower": 6, "masks": 1, "gaps": 0, "invisible": 0, "stops": 1,
                "truncated": 0, "windowed": 0, "skipped": 0, "nucleotides": 0, "reused_ids": 0
            }),
        ),
        ("/files/0/name", "index.tsv".into()),
        ("/files/1/name", "ids.npy".into()),
        ("/files/1/bytes", (128 + 4 * 4).into()),
        ("/files/2/name", "mean.layer2.npy".into()),
        ("/files/2/shape", serde_json::json!([4, 32])),
        ("/files/3/name", "residues.layer2.npy".into()),
        ("/files/3/bytes", (128 + 19 * 32 * 4).into()),
    ] {
        assert_eq!(bench.recorded("emb", pointer), value, "{pointer}");
    }
    embed(&bench, "--out again --layer -1");
    assert_eq!(bench.tree("again"), bench.tree("emb"));
}

#[test]
fn identifiers_unfit_as_file_names_get_safe_ones() {
    let bench = Bench::new();
    let long = "q".repeat(300);
    let text = fasta([
        ("a/b", "MKT"),
        ("..", "MKA"),
        ("../../x", "MKG"),
        (".hid", "MKC"),
        ("a/b", "MKD"),
        ("A/B", "MKE"),
        ("x", "MKH"),
        ("X", "MKI"),
        ("", "MKL"),
        ("/etc/passwd", "MKM"),
        (&long, "MKN"),
        ("sp|P1|α β", "MKP"),
    ]);
    bench.write("in.fasta", text);
    // One of them is used again for another sequence, which is reported.
    let ended = bench.run("in.fasta --model $MODEL --out emb --residues files -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let warnings = ended.err.matches("warning: ").count();
    assert_eq!(
        (warnings, ended.err.lines().count()),
        (1, 2),
        "{}",
        ended.err
    );
    assert_eq!(bench.names("."), ["emb", "in.fasta"]);
    let index = bench.text("emb/index.tsv");
    let files: Vec<_> = rows(&index).iter().map(|row| row[5].to_owned()).collect();
    assert_eq!(files[6], "000000/x.npy");
    let mut folded: Vec<_> = files.iter().map(|file| file.to_lowercase()).collect();
    folded.sort();
    folded.dedup();
    assert_eq!(folded.len(), 12);
    for (row, file) in files.iter().enumerate() {
        let name = file.strip_prefix("000000/").unwrap();
        assert!(!name.contains('/') && !name.starts_with('.') && name.len() <= 200);
        let own = bench.matrix(&format!("emb/residues.layer2/{file}"));
        assert_eq!(own.dim(), (3, 32), "row {row}");
    }
    assert_eq!(bench.names("emb/residues.layer2/000000").len(), 12);
    assert_eq!(rows(&index)[2][1], "../../x");
    assert_eq!(rows(&index)[10][1], long);
}

#[test]
fn sub_folders_hold_a_thousand_files() {
    let bench = Bench::new();
    let text: String = (0..1001)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 4)))
        .collect();
    bench.write("in.fasta", text);
    bench.embed("in.fasta --model $MODEL --out emb --residues files");
    assert_eq!(bench.names("emb/residues.layer2"), ["000000", "000001"]);
    assert_eq!(bench.names("emb/residues.layer2/000000").len(), 1000);
    assert_eq!(bench.names("emb/residues.layer2/000001"), ["r1000.npy"]);
}

#[test]
fn missing_parent_folders_are_created() {
    let bench = bench();
    for place in ["deep/er/emb", "with space/ü ñ/", "./dots/../emb2", "-dash"] {
        let mut command = bench.command();
        let model = crate::common::fixture("esm2_hd16");
        command
            .args(["run", "in.fasta", "-q", "--model"])
            .arg(model);
        command.arg(format!("--out={place}"));
        std::fs::create_dir_all(bench.path("dots")).unwrap();
        let ended = ended(&mut command);
        assert_eq!(ended.code, 0, "{place}: {}", ended.err);
        assert!(exists(&bench.path(place).join("run.json")), "{place}");
    }
    let first: Array2<f32> = read_npy(bench.path("deep/er/emb/mean.layer2.npy")).unwrap();
    let other: Array2<f32> = read_npy(bench.path("with space/ü ñ/mean.layer2.npy")).unwrap();
    assert_eq!(first, other);
}
