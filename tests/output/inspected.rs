//! `inspect` finds what is missing, damaged or from another run.

use crate::support::*;
use esm_embed::output::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Damages a fresh output and returns the problems that `inspect` finds, without and with checksums.
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
    assert_eq!(quick, ["run.json: its layout has an array twice"]);
    let [quick, _] = damaged(Residues::Packed, change("{", "["));
    assert!(quick[0].starts_with("run.json: is not what a run writes"));
    let [quick, _] = damaged(Residues::Packed, |dir| {
        fs::remove_file(dir.join("mean.layer1.npy")).unwrap();
        symlink("/etc/passwd", dir.join("mean.layer1.npy")).unwrap();
    });
    assert_eq!(
        quick,
        ["mean.layer1.npy: is a symbolic link, which no run creates; it was not followed"]
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
