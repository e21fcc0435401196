//! Folders that hold something already: outputs, links, other files, and runs in progress.

use crate::support::*;
use esm_embed::output::*;
use esm_embed::run_record::{Asked, Resolved};
use std::fs;
use std::os::unix::fs::symlink;

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
            "the old run stays until the end"
        );
        output
            .finish(Asked::default(), Resolved::default())
            .unwrap();

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
            // The folder with somebody's file looks like one of this run.
            assert_eq!(report.problem_count, 1);
            assert_eq!(report.problems[0].file, "residues.layer6");
        } else {
            assert!(report.is_sound(), "{report}");
        }
    }
}

#[test]
fn force_removes_nothing_that_a_foreign_manifest_lists() {
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
    output
        .finish(Asked::default(), Resolved::default())
        .unwrap();
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

    // In place of a file it is refused, or replaced with `force`; its target stays.
    symlink(home.path().join("precious"), dir.join("mean.layer6.npy")).unwrap();
    assert!(refused(&dir, false).contains("already holds mean.layer6.npy"));
    make(&dir, Residues::Packed, true);
    assert_eq!(
        fs::read_to_string(home.path().join("precious")).unwrap(),
        "mine"
    );
    assert!(inspect(&dir, true).unwrap().is_sound());

    // In place of a folder of residues it is refused.
    symlink(&elsewhere, dir.join("residues.layer6")).unwrap();
    let error = OutputFolder::create(&dir, layout(Residues::Files), true).unwrap_err();
    assert!(matches!(error, OutputError::InTheWay { .. }), "{error}");
    assert!(names(&elsewhere).is_empty());

    // A dangling link is not a folder to write into; a link to a folder is.
    symlink(home.path().join("nowhere"), home.path().join("broken")).unwrap();
    let error = OutputFolder::create(&home.path().join("broken"), layout(Residues::None), false)
        .unwrap_err();
    assert!(matches!(error, OutputError::NotAFolder { .. }), "{error}");
    symlink(&elsewhere, home.path().join("good")).unwrap();
    make(&home.path().join("good"), Residues::None, false);
    assert!(elsewhere.join("run.json").exists());
}

#[test]
fn files_that_appear_during_a_run_are_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let mut folder = OutputFolder::create(home.path(), layout(Residues::Packed), false).unwrap();
    write(&mut folder, &SEQUENCES);
    fs::write(home.path().join("mean.layer1.npy"), "mine").unwrap();
    let error = folder
        .finish(Asked::default(), Resolved::default())
        .unwrap_err();
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
fn force_does_not_take_the_folder_from_a_running_run() {
    let home = tempfile::tempdir().unwrap();
    let first = OutputFolder::create(home.path(), layout(Residues::Packed), false).unwrap();
    assert_eq!(
        refused(home.path(), true),
        format!(
            "another run is writing into {}\n\
             hint: wait until it has finished\n\
             hint: choose another folder with `out`",
            home.path().display()
        )
    );
    drop(first);
    make(home.path(), Residues::Packed, true);
    assert!(names(home.path()).contains(&"run.json".to_owned()));
}

#[test]
fn checking_a_target_creates_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("emb");
    for existing in [Existing::Refuse, Existing::Replace, Existing::Resume] {
        let target = Target::examine(&dir, &layout(Residues::Packed), existing).unwrap();
        assert!(matches!(target.state(), State::Fresh));
        assert!(!dir.exists());
    }
}
