//! What a run leaves in its folder: arrays, tables, and nothing that looks finished too early.

use crate::support::*;
use esm_embed::output::*;
use esm_embed::product::Product;
use esm_embed::run_record::{Asked, Resolved};
use ndarray::Array2;
use ndarray_npy::read_npy;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_packed_run() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a/b/emb");
    let manifest = make(&dir, Residues::Packed, false);
    assert_eq!(
        names(&dir),
        [
            "ids.npy",
            "index.tsv",
            "max.layer1.npy",
            "max.layer6.npy",
            "mean.layer1.npy",
            "mean.layer6.npy",
            "residues.layer1.npy",
            "residues.layer6.npy",
            "run.json"
        ]
    );
    assert_eq!(
        fs::read_to_string(dir.join("index.tsv")).unwrap(),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n\
         0\tP1\t3\t0\t\ta \"b\"\n\
         1\tp1\t5\t3\t\ta \"b\"\n\
         2\t../../etc/passwd\t2\t8\t\ta \"b\"\n\
         3\tP1\t3\t10\tduplicate_of=0\ta \"b\"\n\
         4\tCON\t2\t13\tduplicate_of=2\ta \"b\"\n"
    );
    let mean: Array2<f32> = read_npy(dir.join("mean.layer6.npy")).unwrap();
    assert_eq!(
        mean,
        ndarray::array![[3.0, 1.0], [5.0, 1.0], [2.0, 1.0], [3.0, 1.0], [2.0, 1.0]]
    );
    let residues: Array2<f32> = read_npy(dir.join("residues.layer6.npy")).unwrap();
    let expected: Vec<f32> = SEQUENCES
        .iter()
        .flat_map(|(_, s)| residue_rows(1, s))
        .collect();
    assert_eq!(residues, Array2::from_shape_vec((15, 2), expected).unwrap());
    assert_eq!(
        manifest.counts,
        Counts {
            records: 5,
            residues: 15,
            unique_sequences: 3,
            duplicates: 2,
            ..Counts::default()
        }
    );
    let report = inspect(&dir, true).unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.manifest, Some(manifest));
    let text = report.to_string();
    for lines in [
        "\nmodel:\n  repository: tiny\n",
        "\nrecords: 5 (15 residues)\n",
    ] {
        assert!(text.contains(lines), "{text}");
    }
    assert!(
        text.contains("\n  residues.layer6.npy: [15, 2] f32, 248 bytes\n"),
        "{text}"
    );
}

#[test]
fn a_run_with_a_file_for_each_record() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("emb");
    let manifest = make(&dir, Residues::Files, false);
    let given = [
        "P1.npy",
        "p1-f64551fcd6f07823.npy",
        "_._.._etc_passwd-3754d6cb3a38e118.npy",
        "P1-",
        "_CON-",
    ];
    let index = fs::read_to_string(dir.join("index.tsv")).unwrap();
    for ((line, name), (_, sequence)) in index.lines().skip(1).zip(given).zip(SEQUENCES) {
        let file = line.split('\t').nth(5).unwrap();
        assert!(file.starts_with(&format!("000000/{name}")), "{file}");
        for (layer, folder) in ["residues.layer1", "residues.layer6"].iter().enumerate() {
            let rows: Array2<f32> = read_npy(dir.join(folder).join(file)).unwrap();
            let expected = residue_rows(layer, sequence);
            assert_eq!(
                rows,
                Array2::from_shape_vec((sequence.len(), 2), expected).unwrap()
            );
        }
    }
    let list = fs::read_to_string(dir.join("residues.layer6.sha256")).unwrap();
    assert_eq!(list.lines().count(), 5);
    assert!(
        list.lines()
            .next()
            .unwrap()
            .ends_with("  residues.layer6/000000/P1.npy")
    );
    assert_eq!(manifest.folders[1].files, 5);
    assert_eq!(manifest.folders[1].bytes, 5 * 128 + 15 * 8);
    let report = inspect(&dir, true).unwrap();
    assert!(report.is_sound(), "{report}");
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let home = tempfile::tempdir().unwrap();
    for residues in [Residues::Packed, Residues::Files, Residues::None] {
        let (first, second) = (home.path().join("first"), home.path().join("second"));
        make(&first, residues, true);
        make(&second, residues, true);
        let relative = |dir: &Path| -> BTreeSet<_> {
            let cut = |(path, bytes): (PathBuf, _)| {
                (path.strip_prefix(dir).unwrap().to_path_buf(), bytes)
            };
            tree(dir).into_iter().map(cut).collect()
        };
        assert_eq!(relative(&first), relative(&second));
    }
}

#[test]
fn an_empty_run_is_a_run() {
    let home = tempfile::tempdir().unwrap();
    let folder = OutputFolder::create(home.path(), layout(Residues::Files), false).unwrap();
    folder
        .finish(Asked::default(), Resolved::default())
        .unwrap();
    let mean: Array2<f32> = read_npy(home.path().join("mean.layer1.npy")).unwrap();
    assert_eq!(mean.dim(), (0, 2));
    let report = inspect(home.path(), true).unwrap();
    assert!(report.is_sound(), "{report}");
}

#[test]
fn rows_are_written_by_many_threads() {
    let home = tempfile::tempdir().unwrap();
    let layout = Layout {
        layers: vec![0],
        pools: vec![Pool::Mean],
        ..layout(Residues::Files)
    };
    let mut folder = OutputFolder::create(home.path(), layout, false).unwrap();
    let mean = Product::Pooled {
        layer: 0,
        pool: Pool::Mean,
    };
    let residues = Product::Residues { layer: 0 };
    let (ledger, rows) = folder.split();
    std::thread::scope(|scope| {
        for i in 0..2500_u32 {
            let id = format!("r{i}");
            let entry = Entry {
                id: id.as_bytes(),
                length: 1,
                sequence: key(id.as_bytes()),
                ..Entry::default()
            };
            let place = ledger.enter(&entry).unwrap().place;
            let job = move || {
                rows.write(mean, &place, &[i as f32, 1.0]).unwrap();
                rows.write(residues, &place, &[i as f32, 2.0]).unwrap();
            };
            if i % 100 == 0 {
                scope.spawn(job);
            } else {
                job();
            }
        }
    });
    folder
        .finish(Asked::default(), Resolved::default())
        .unwrap();
    let mean: Array2<f32> = read_npy(home.path().join("mean.layer0.npy")).unwrap();
    assert!((0..2500).all(|i| mean[(i, 0)] == i as f32));
    assert_eq!(
        names(&home.path().join("residues.layer0")),
        ["000000", "000001", "000002"]
    );
    assert_eq!(
        names(&home.path().join("residues.layer0/000001")).len(),
        1000
    );
    assert!(inspect(home.path(), true).unwrap().is_sound());
}

#[test]
fn without_finish_nothing_looks_complete() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("emb");
    let mut folder = OutputFolder::create(&dir, layout(Residues::Packed), false).unwrap();
    write(&mut folder, &SEQUENCES);
    drop(folder);
    assert_eq!(names(&dir), [".partial"]);
    let report = inspect(&dir, false).unwrap();
    assert!(!report.is_sound() && report.unfinished);
    assert!(
        report
            .to_string()
            .contains("run.json: is missing but .partial exists"),
        "{report}"
    );

    assert!(refused(&dir, false).contains("holds .partial, the working folder of a run"));
    make(&dir, Residues::Packed, true);
    assert!(inspect(&dir, true).unwrap().is_sound());
}

#[test]
fn missing_rows_are_not_finished() {
    let home = tempfile::tempdir().unwrap();
    let mut folder = OutputFolder::create(home.path(), layout(Residues::None), false).unwrap();
    let (ledger, _) = folder.split();
    ledger
        .enter(&Entry {
            id: b"P1",
            length: 3,
            ..Entry::default()
        })
        .unwrap();
    let error = folder
        .finish(Asked::default(), Resolved::default())
        .unwrap_err();
    assert!(
        matches!(
            error,
            OutputError::Incomplete {
                expected: 136,
                found: 128,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(names(home.path()), [".partial"]);
}

#[test]
fn skipped_records_are_listed() {
    let home = tempfile::tempdir().unwrap();
    let mut folder = OutputFolder::create(home.path(), layout(Residues::Packed), false).unwrap();
    let skip = Skip {
        ordinal: 0,
        file: b"x.fa",
        line: 3,
        record: 2,
        id: b"q",
        reason: "no residues",
    };
    folder.split().0.skip(&skip).unwrap();
    write(&mut folder, &SEQUENCES[..1]);
    let manifest = folder
        .finish(Asked::default(), Resolved::default())
        .unwrap();
    assert_eq!(manifest.files[1].name, "skipped.tsv");
    assert!(inspect(home.path(), true).unwrap().is_sound());
    fs::write(
        home.path().join("skipped.tsv"),
        "file\tline\trecord\tid\treason\n",
    )
    .unwrap();
    let report = inspect(home.path(), false).unwrap().to_string();
    assert!(
        report.contains(
            "skipped.tsv: has 1 line; run.json says 1 record, which makes 2 lines with the header"
        ),
        "{report}"
    );
}
