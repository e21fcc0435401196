//! The output folder from outside: what it refuses, what it leaves behind, and what `inspect` sees.

use esm_embed::output::*;
use esm_embed::product::Product;
use ndarray::Array2;
use ndarray_npy::read_npy;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const SEQUENCES: [(&str, &str); 5] = [
    ("P1", "MKT"),
    ("p1", "MKTAY"),
    ("../../etc/passwd", "AG"),
    ("P1", "MKT"),
    ("CON", "AG"),
];

fn layout(residues: Residues) -> Layout {
    Layout {
        layers: vec![1, 6],
        pools: vec![Pool::Mean, Pool::Max],
        residues,
        dtype: OutDtype::F32,
        dim: 2,
        include: Include::default(),
    }
}

/// Residue rows of a sequence: the letter and its position.
fn residue_rows(layer: usize, sequence: &str) -> Vec<f32> {
    let row = |(i, letter): (usize, u8)| [f32::from(letter) + layer as f32 / 4.0, i as f32];
    sequence.bytes().enumerate().flat_map(row).collect()
}

/// Enters everything, then writes rows in reverse order, as batches do.
fn write(folder: &mut OutputFolder, sequences: &[(&str, &str)]) {
    let layout = folder.layout().clone();
    let (ledger, rows) = folder.split();
    let mut todo = Vec::new();
    for (id, sequence) in sequences {
        let entry = Entry {
            id: id.as_bytes(),
            description: b"a \"b\"",
            length: sequence.len() as u64,
            sequence: key(sequence.as_bytes()),
            ..Entry::default()
        };
        let entered = ledger.enter(&entry).unwrap();
        if entered.duplicate_of.is_none() {
            todo.push((entered.place, sequence));
        }
    }
    for (place, sequence) in todo.iter().rev() {
        for (number, &layer) in layout.layers.iter().enumerate() {
            for &pool in &layout.pools {
                let values = [sequence.len() as f32, number as f32];
                let product = Product::Pooled { layer, pool };
                rows.write(product, place, &values).unwrap();
            }
            let product = Product::Residues { layer };
            if rows.has(product) {
                let values = residue_rows(number, sequence);
                rows.write(product, place, &values[..]).unwrap();
            }
        }
    }
}

fn make(dir: &Path, residues: Residues, force: bool) -> Manifest {
    let mut folder = OutputFolder::create(dir, layout(residues), force).unwrap();
    write(&mut folder, &SEQUENCES);
    folder
        .finish(json!({"out": "emb"}), json!({"model": {"name": "tiny"}}))
        .unwrap()
}

fn refused(dir: &Path, force: bool) -> String {
    let before = tree(dir);
    let error = OutputFolder::create(dir, layout(Residues::Packed), force).unwrap_err();
    assert_eq!(tree(dir), before, "a refusal changes nothing");
    error.to_string()
}

/// Every path below a folder, with the bytes of files.
fn tree(dir: &Path) -> BTreeSet<(PathBuf, Option<Vec<u8>>)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            found.insert((
                path.clone(),
                kind.is_file().then(|| fs::read(&path).unwrap()),
            ));
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

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
    assert!(
        text.contains("\nmodel:\n  name: tiny\nrecords: 5 (15 residues)\n"),
        "{text}"
    );
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
    folder.finish(json!(null), json!(null)).unwrap();
    let mean: Array2<f32> = read_npy(home.path().join("mean.layer1.npy")).unwrap();
    assert_eq!(mean.dim(), (0, 2));
    let report = inspect(home.path(), true).unwrap();
    assert!(report.is_sound(), "{report}");
}

#[test]
fn rows_are_written_from_many_threads() {
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
    folder.finish(json!({}), json!({})).unwrap();
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
            .contains("run.json: is missing and .partial is there"),
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
    let error = folder.finish(json!({}), json!({})).unwrap_err();
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
fn records_left_out_are_listed() {
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
    let manifest = folder.finish(json!({}), json!({})).unwrap();
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

#[test]
fn existing_outputs_are_refused_and_other_files_are_not() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    fs::write(
        dir.join("mean.layer5.npy"),
        "of a layer that is not asked for",
    )
    .unwrap();
    for name in [
        "run.json",
        "index.tsv",
        "ids.npy",
        "skipped.tsv",
        "max.layer6.npy",
        "residues.layer1.npy",
    ] {
        fs::write(dir.join(name), "mine").unwrap();
        let error = refused(dir, false);
        assert!(error.contains(&format!("already holds {name}")), "{error}");
        assert!(error.contains("rename or remove this one"), "{error}");
        assert!(!error.contains("--force"), "{error}");
        fs::remove_file(dir.join(name)).unwrap();
    }
    make(dir, Residues::Packed, false);
    assert_eq!(fs::read_to_string(dir.join("notes.txt")).unwrap(), "mine");
    assert_eq!(
        fs::read_to_string(dir.join("mean.layer5.npy")).unwrap(),
        "of a layer that is not asked for"
    );
    assert!(refused(dir, false).contains("already holds run.json"));

    let file = dir.join("notes.txt");
    let error = OutputFolder::create(&file, layout(Residues::None), false).unwrap_err();
    assert!(matches!(error, OutputError::NotAFolder { .. }));
}

#[test]
fn force_replaces_exactly_the_files_of_the_old_run() {
    for (old, new) in [
        (Residues::Files, Residues::Files),
        (Residues::Files, Residues::Packed),
        (Residues::Packed, Residues::Files),
    ] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("emb");
        make(&dir, old, false);
        fs::write(dir.join("notes.txt"), "mine").unwrap();
        let folder = dir.join("residues.layer6/000000");
        if old == Residues::Files {
            fs::write(folder.join("mine.txt"), "mine").unwrap();
        }
        let before = fs::read(dir.join("run.json")).unwrap();

        let mut layout = layout(new);
        layout.pools = vec![Pool::Bos];
        let mut output = OutputFolder::create(&dir, layout, true).unwrap();
        write(&mut output, &SEQUENCES[1..]);
        assert_eq!(
            fs::read(dir.join("run.json")).unwrap(),
            before,
            "until the end the old run stands"
        );
        output.finish(json!({}), json!({})).unwrap();

        assert!(!dir.join("mean.layer6.npy").exists());
        assert!(!dir.join(".partial").exists());
        assert_eq!(fs::read_to_string(dir.join("notes.txt")).unwrap(), "mine");
        if old == Residues::Files {
            assert_eq!(fs::read_to_string(folder.join("mine.txt")).unwrap(), "mine");
            assert!(!folder.join("P1.npy").exists());
            assert_eq!(dir.join("residues.layer1").exists(), new == Residues::Files);
        }
        let report = inspect(&dir, true).unwrap();
        if (old, new) == (Residues::Files, Residues::Packed) {
            // The folder that keeps somebody's file looks like one of this run.
            assert_eq!(report.problem_count, 1);
            assert_eq!(report.problems[0].file, "residues.layer6");
        } else {
            assert!(report.is_sound(), "{report}");
        }
    }
}

#[test]
fn force_removes_nothing_on_the_word_of_a_foreign_manifest() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("emb");
    fs::create_dir(&dir).unwrap();
    fs::write(home.path().join("precious"), "mine").unwrap();
    fs::write(dir.join("thesis.doc"), "mine").unwrap();
    for text in [
        r#"{"files": [{"name": "../precious"}]}"#,
        r#"{"files": [{"name": "/etc/passwd"}]}"#,
        r#"{"files": [{"name": "thesis.doc"}]}"#,
        r#"{"files": [], "folders": [{"name": ".."}]}"#,
        r#"{"files": [{"name": "mean.layer6.npy/../../precious"}]}"#,
        "not json",
    ] {
        fs::write(dir.join("run.json"), text).unwrap();
        let error = refused(&dir, true);
        assert!(
            error.contains("run.json: ") && error.contains("by hand"),
            "{error}"
        );
    }
    // A list of checksums that names files elsewhere removes nothing.
    fs::write(
        dir.join("run.json"),
        r#"{"files": [], "folders": [{"name": "residues.layer1"}]}"#,
    )
    .unwrap();
    fs::create_dir_all(dir.join("residues.layer1")).unwrap();
    symlink(home.path(), dir.join("residues.layer1/000000")).unwrap();
    fs::write(home.path().join("x.npy"), "mine").unwrap();
    let digest = "0".repeat(64);
    let list = format!(
        "{digest}  residues.layer1/000000/x.npy\n{digest}  residues.layer1/../../precious\n"
    );
    fs::write(dir.join("residues.layer1.sha256"), list).unwrap();
    let layout = Layout {
        layers: vec![6],
        ..layout(Residues::Packed)
    };
    let mut output = OutputFolder::create(&dir, layout, true).unwrap();
    write(&mut output, &SEQUENCES);
    output.finish(json!({}), json!({})).unwrap();
    for path in [
        home.path().join("precious"),
        home.path().join("x.npy"),
        dir.join("thesis.doc"),
    ] {
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "mine",
            "{}",
            path.display()
        );
    }
}

#[test]
fn links_are_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("emb");
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(home.path().join("precious"), "mine").unwrap();

    symlink(&elsewhere, dir.join(".partial")).unwrap();
    for force in [false, true] {
        assert!(refused(&dir, force).contains("is a symbolic link"));
    }
    fs::remove_file(dir.join(".partial")).unwrap();
    fs::write(dir.join(".partial"), "").unwrap();
    assert!(refused(&dir, true).contains("is in the way"));
    fs::remove_file(dir.join(".partial")).unwrap();

    // In the place of a file it is refused, or replaced with --force; its target stays.
    symlink(home.path().join("precious"), dir.join("mean.layer6.npy")).unwrap();
    assert!(refused(&dir, false).contains("already holds mean.layer6.npy"));
    make(&dir, Residues::Packed, true);
    assert_eq!(
        fs::read_to_string(home.path().join("precious")).unwrap(),
        "mine"
    );
    assert!(inspect(&dir, true).unwrap().is_sound());

    // In the place of a folder of residues it is refused.
    symlink(&elsewhere, dir.join("residues.layer6")).unwrap();
    let error = OutputFolder::create(&dir, layout(Residues::Files), true).unwrap_err();
    assert!(matches!(error, OutputError::InTheWay { .. }), "{error}");
    assert!(names(&elsewhere).is_empty());

    // A link that leads nowhere is no folder to write into; one that leads to a folder is.
    symlink(home.path().join("nowhere"), home.path().join("broken")).unwrap();
    let error = OutputFolder::create(&home.path().join("broken"), layout(Residues::None), false)
        .unwrap_err();
    assert!(matches!(error, OutputError::NotAFolder { .. }), "{error}");
    symlink(&elsewhere, home.path().join("good")).unwrap();
    make(&home.path().join("good"), Residues::None, false);
    assert!(elsewhere.join("run.json").exists());
}

#[test]
fn what_appears_while_a_run_goes_on_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let mut folder = OutputFolder::create(home.path(), layout(Residues::Packed), false).unwrap();
    write(&mut folder, &SEQUENCES);
    fs::write(home.path().join("mean.layer1.npy"), "mine").unwrap();
    let error = folder.finish(json!({}), json!({})).unwrap_err();
    assert!(matches!(error, OutputError::Exists { .. }), "{error}");
    assert_eq!(names(home.path()), [".partial", "mean.layer1.npy"]);
    assert_eq!(
        fs::read_to_string(home.path().join("mean.layer1.npy")).unwrap(),
        "mine"
    );
}

#[test]
fn a_second_run_in_the_same_folder_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let _first = OutputFolder::create(home.path(), layout(Residues::Packed), false).unwrap();
    assert!(refused(home.path(), false).contains("still running"));
}

#[test]
fn force_does_not_take_the_folder_from_a_run_that_is_going_on() {
    let home = tempfile::tempdir().unwrap();
    let first = OutputFolder::create(home.path(), layout(Residues::Packed), false).unwrap();
    assert_eq!(
        refused(home.path(), true),
        format!(
            "another run is writing into {} and is left alone: wait until it has ended, or choose \
             another folder with --out",
            home.path().display()
        )
    );
    drop(first);
    make(home.path(), Residues::Packed, true);
    assert!(names(home.path()).contains(&"run.json".to_owned()));
}

#[test]
fn the_check_alone_makes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("emb");
    for existing in [Existing::Refuse, Existing::Replace, Existing::Resume] {
        let target = Target::examine(&dir, &layout(Residues::Packed), existing).unwrap();
        assert!(matches!(target.state(), State::Fresh));
        assert!(!dir.exists());
    }
}

/// Damages a fresh output and returns what `inspect` says, quick and with checksums.
fn damaged(residues: Residues, damage: impl Fn(&Path)) -> [Vec<String>; 2] {
    let home = tempfile::tempdir().unwrap();
    make(home.path(), residues, false);
    damage(home.path());
    [false, true].map(|check| {
        let report = inspect(home.path(), check).unwrap();
        assert_eq!(report.problem_count, report.problems.len() as u64);
        report.problems.iter().map(ToString::to_string).collect()
    })
}

fn edit(path: PathBuf, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn inspect_finds_a_missing_file() {
    let [quick, _] = damaged(Residues::Packed, |dir| {
        fs::remove_file(dir.join("max.layer1.npy")).unwrap()
    });
    assert_eq!(quick, ["max.layer1.npy: is missing"]);
}

#[test]
fn inspect_finds_a_wrong_size() {
    let [quick, _] = damaged(Residues::Packed, |dir| {
        edit(dir.join("residues.layer6.npy"), |bytes| bytes.truncate(200));
    });
    assert_eq!(
        quick,
        ["residues.layer6.npy: has 200 bytes; run.json says 248 bytes"]
    );
}

#[test]
fn inspect_finds_a_header_that_disagrees() {
    let [quick, _] = damaged(Residues::Packed, |dir| {
        edit(dir.join("mean.layer6.npy"), |bytes| {
            bytes[..128].copy_from_slice(&header(OutDtype::F32, &[2, 5]).unwrap())
        });
    });
    assert_eq!(
        quick,
        ["mean.layer6.npy: its header says shape [2, 5]; run.json says [5, 2]"]
    );
    let [quick, _] = damaged(Residues::Packed, |dir| {
        edit(dir.join("mean.layer6.npy"), |bytes| {
            bytes[..128].copy_from_slice(&header(OutDtype::F16, &[5, 2]).unwrap())
        });
    });
    assert_eq!(
        quick,
        ["mean.layer6.npy: its header says <f2 numbers; run.json says <f4"]
    );
    let [quick, _] = damaged(Residues::Packed, |dir| {
        edit(dir.join("mean.layer6.npy"), |bytes| bytes[0] = 0)
    });
    assert_eq!(
        quick,
        ["mean.layer6.npy: its first 128 bytes are not the header of an array that a run writes"]
    );
}

#[test]
fn a_changed_value_is_found_by_its_checksum() {
    let [quick, checked] = damaged(Residues::Packed, |dir| {
        edit(dir.join("mean.layer6.npy"), |bytes| bytes[150] ^= 1)
    });
    assert!(quick.is_empty());
    assert_eq!(checked.len(), 1);
    assert!(checked[0].starts_with("mean.layer6.npy: its SHA-256 is "));
}

#[test]
fn inspect_finds_a_damaged_index() {
    let [quick, checked] = damaged(Residues::Packed, |dir| {
        // The length of row 1 from 5 to 4.
        edit(dir.join("index.tsv"), |bytes| {
            let at = bytes.windows(5).position(|w| w == b"p1\t5\t").unwrap();
            bytes[at + 3] = b'4';
        });
    });
    assert_eq!(
        quick,
        ["index.tsv: line 4 is not that of row 2 with residue_offset 7"]
    );
    assert_eq!(checked.len(), 2);
    let [quick, _] = damaged(Residues::Packed, |dir| {
        edit(dir.join("index.tsv"), |bytes| {
            let at = bytes.windows(2).position(|w| w == b"\n4").unwrap();
            bytes.truncate(at + 1);
        });
    });
    assert_eq!(quick.len(), 2);
    assert_eq!(
        quick[1],
        "index.tsv: has 4 records with 13 residues; run.json says 5 with 15"
    );
}

#[test]
fn inspect_finds_damage_in_the_files_of_records() {
    let p1 = "residues.layer6/000000/P1.npy";
    let [quick, _] = damaged(Residues::Files, |dir| {
        fs::remove_file(dir.join(p1)).unwrap()
    });
    assert_eq!(
        quick,
        [
            "residues.layer6/000000/P1.npy: is missing",
            "residues.layer6: its files have 12 residues in 608 bytes; run.json says 15 in 760 bytes"
        ]
    );
    let [quick, checked] = damaged(Residues::Files, |dir| {
        edit(dir.join(p1), |bytes| bytes[130] ^= 1)
    });
    assert!(quick.is_empty());
    assert!(checked[0].starts_with("residues.layer6/000000/P1.npy: its SHA-256 is "));
    let [quick, _] = damaged(Residues::Files, |dir| {
        fs::remove_dir_all(dir.join("residues.layer6")).unwrap()
    });
    assert_eq!(quick, ["residues.layer6: is missing, or a folder in it is"]);
    let [quick, _] = damaged(Residues::Files, |dir| {
        let folder = dir.join("residues.layer6/000000");
        fs::rename(&folder, dir.join("moved")).unwrap();
        symlink(dir.join("moved"), &folder).unwrap();
    });
    assert_eq!(quick, ["residues.layer6: is not a folder"]);
    let [quick, _] = damaged(Residues::Files, |dir| {
        edit(dir.join("residues.layer6.sha256"), |bytes| {
            bytes.extend(format!("{}  residues.layer6/../x.npy\n", "0".repeat(64)).bytes());
        });
    });
    assert_eq!(quick.len(), 3);
    assert_eq!(
        quick[1],
        "residues.layer6.sha256: line 6 does not name the file of the record in row 5"
    );
    assert_eq!(
        quick[2],
        "residues.layer6: residues.layer6.sha256 lists 6 files; run.json says 5 for 5 records"
    );
}

#[test]
fn inspect_finds_files_of_another_run() {
    let [quick, _] = damaged(Residues::Packed, |dir| {
        fs::write(dir.join("mean.layer33.npy"), "").unwrap();
        fs::write(dir.join("notes.txt"), "").unwrap();
    });
    assert_eq!(
        quick,
        ["mean.layer33.npy: is not listed in run.json: it belongs to another run"]
    );
}

#[test]
fn a_hostile_manifest_opens_nothing_outside() {
    let change = |from: &'static str, to: &'static str| {
        move |dir: &Path| {
            let text = fs::read_to_string(dir.join("run.json")).unwrap();
            // The last one: names of arrays are above those of files and folders.
            let (before, after) = text.rsplit_once(from).unwrap();
            fs::write(dir.join("run.json"), [before, to, after].concat()).unwrap();
        }
    };
    let [quick, _] = damaged(
        Residues::Packed,
        change("\"max.layer1.npy\"", "\"../../../etc/passwd\""),
    );
    assert!(
        quick.contains(
            &"../../../etc/passwd: is not a name that a run uses; it was not opened".into()
        )
    );
    assert!(
        quick.contains(
            &"max.layer1.npy: is part of this output, but is not listed in run.json".into()
        )
    );
    let [quick, _] = damaged(
        Residues::Files,
        change("\"name\": \"residues.layer6\"", "\"name\": \"/etc\""),
    );
    assert!(quick.contains(&"/etc: is not a name that a run uses; it was not opened".into()));
    let [quick, _] = damaged(
        Residues::Packed,
        change("\"records\": 5", "\"records\": 18446744073709551615"),
    );
    assert!(!quick.is_empty());
    let [quick, _] = damaged(Residues::Packed, change("\"dim\": 2", "\"dim\": 0"));
    assert!(!quick.is_empty());
    let [quick, _] = damaged(Residues::Packed, change("\"max\"", "\"mean\""));
    assert_eq!(quick, ["run.json: its layout names an array twice"]);
    let [quick, _] = damaged(Residues::Packed, change("{", "["));
    assert!(quick[0].starts_with("run.json: run.json is not what a run writes"));
    let [quick, _] = damaged(Residues::Packed, |dir| {
        fs::remove_file(dir.join("mean.layer1.npy")).unwrap();
        symlink("/etc/passwd", dir.join("mean.layer1.npy")).unwrap();
    });
    assert_eq!(
        quick,
        ["mean.layer1.npy: is a symbolic link, which no run makes; it was not followed"]
    );
}

#[test]
fn inspect_needs_a_folder_with_a_run() {
    let home = tempfile::tempdir().unwrap();
    assert!(inspect(&home.path().join("none"), false).is_err());
    let report = inspect(home.path(), false).unwrap();
    assert_eq!(
        report.problems[0].to_string(),
        "run.json: is missing: this is not an output folder, or its run did not finish"
    );
}
