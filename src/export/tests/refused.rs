//! What is refused, and what is left behind then.

use super::home::*;
use crate::export::*;
use crate::output::Residues;
use std::fs;
use std::ops::ControlFlow;

#[test]
fn what_does_not_go_together_is_explained() {
    let home = home(Residues::None, OutDtype::F32);
    let export = |format, array: Option<&str>| Export {
        array: array.map(str::to_owned),
        ..home.export(format)
    };
    for (export, expected) in [
        (
            export(Format::H5, Some("mean.layer7")),
            "/emb has no array mean.layer7\nhint: it has mean.layer1",
        ),
        (
            export(Format::Csv, Some("logits")),
            "csv has one row for each record, and logits has one for each residue",
        ),
        (
            export(Format::Npz, Some("contacts")),
            "contacts has a matrix for each record, which npz cannot hold",
        ),
        (
            export(Format::Pt, Some("max.layer1")),
            "max.layer1 has no place in the files of extract.py",
        ),
        (
            export(Format::Skbio, Some("logits")),
            "logits is not an embedding",
        ),
        (
            Export {
                residues: true,
                ..export(Format::H5, None)
            },
            "/emb has no residue rows\nhint: run again with `residues=packed`",
        ),
        (
            Export {
                residues: true,
                ..export(Format::Pt, None)
            },
            "/emb has no residue rows\n",
        ),
        (
            Export {
                residues: true,
                ..export(Format::H5, Some("contacts"))
            },
            "contacts has no residue rows of its own\n",
        ),
    ] {
        let why = home.why(&export);
        assert!(why.starts_with(expected), "{why}");
    }
    let mut export = home.export(Format::H5);
    export.force = false;
    fs::write(home.out(), "mine").unwrap();
    assert!(home.why(&export).starts_with("/out already exists\n"));
    assert_eq!(fs::read(home.out()).unwrap(), b"mine");
    export.out = home.folder.dir().to_path_buf();
    export.force = true;
    assert!(
        home.why(&export)
            .starts_with("/emb is a folder, so it is not replaced")
    );
    (export.format, export.keys) = (Format::Csv, Some(Keys::Row));
    assert!(
        export
            .contradiction()
            .unwrap()
            .starts_with("csv has no keys\n")
    );
    (export.format, export.keys, export.dtype) = (Format::Parquet, None, Some(OutDtype::F16));
    assert!(
        export
            .contradiction()
            .unwrap()
            .starts_with("parquet holds 32-bit floats\n")
    );
}

#[test]
fn damage_leaves_nothing_behind() {
    for format in Format::ALL {
        let home = home(Residues::None, OutDtype::F32);
        let path = home.folder.dir().join("mean.layer2.npy");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let why = home.why(&home.export(format));
        assert!(
            why.starts_with(
                "/emb/mean.layer2.npy: record in row 4: value 3 of 3 values is not a finite number"
            ),
            "{why}"
        );
        assert!(!home.out().exists());
    }
}

#[test]
fn numbers_beyond_f16_are_refused() {
    let home = home(Residues::None, OutDtype::F32);
    let path = home.folder.dir().join("mean.layer2.npy");
    let mut bytes = fs::read(&path).unwrap();
    bytes[128 + 12..128 + 16].copy_from_slice(&1e6_f32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let mut export = home.export(Format::Safetensors);
    export.dtype = Some(OutDtype::F16);
    assert_eq!(
        home.why(&export),
        "/emb: the values of record \"dup\" do not fit f16\nhint: use `dtype=f32`"
    );
}

#[test]
fn a_break_ends_an_export_and_leaves_nothing() {
    for format in Format::ALL {
        let home = home(Residues::None, OutDtype::F32);
        let mut stop_at_3 = |done, _| match done {
            3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let error = home.export(format).write(&home.folder, &mut stop_at_3);
        assert!(matches!(error, Err(ExportError::Stopped)), "{format:?}");
        let names = fs::read_dir(home.dir.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["emb", "in.fasta"], "{format:?}");
    }
}
