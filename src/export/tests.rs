//! Every format, read back.

mod home;
mod refused;

use super::hdf5::tests::Hdf5File;
use super::*;
use crate::output::{Residues, Storage, header};
use crate::product::Product;
use crate::sha256::sha256_of;
use ::safetensors::SafeTensors;
use home::*;
use std::fs;
use std::io::Read;
use std::path::Path;

#[test]
fn h5_has_a_dataset_for_each_record() {
    for (residues, storage) in [
        (Residues::Packed, Storage::Packed),
        (Residues::Files, Storage::Files),
    ] {
        let home = home(residues, OutDtype::F32);
        let rows = home.folder.array(Product::Residues { layer: 2 }).unwrap();
        assert_eq!(rows.storage, storage);
        for (array, with_residues, shape) in [
            (None, false, vec![3]),
            (None, true, vec![3, 3]),
            (Some("logits"), false, vec![3, 2]),
            (Some("contacts"), false, vec![3, 3]),
            (Some("bos.layer1"), true, vec![3, 3]),
        ] {
            let mut export = home.export(Format::H5);
            export.array = array.map(str::to_owned);
            export.residues = with_residues;
            export.dtype = Some(OutDtype::F16);
            let exported = home.write(&export).unwrap();
            let file = Hdf5File(fs::read(home.out()).unwrap());
            let expected = home.expected(&exported.arrays[0], OutDtype::F16);
            for (row, name) in ["a_b", "dup", "dup_2", "unnamed", "__metadata__"]
                .iter()
                .enumerate()
            {
                let dataset = file.dataset(name).unwrap();
                assert_eq!(dataset.bytes, expected[row], "{name}");
                assert_eq!(dataset.id.as_deref(), Some(RECORDS[row].0));
            }
            assert_eq!(file.dataset("a_b").unwrap().shape, shape);
        }
    }
}

#[test]
fn keys_are_ids_rows_or_hashes() {
    let home = home(Residues::None, OutDtype::F32);
    let mut export = home.export(Format::H5);
    export.keys = Some(Keys::Row);
    home.write(&export).unwrap();
    let file = Hdf5File(fs::read(home.out()).unwrap());
    assert_eq!(
        file.dataset("4").unwrap().id.as_deref(),
        Some("__metadata__")
    );

    export.keys = Some(Keys::Hash);
    // The first and the fourth have the same sequence.
    assert_eq!(home.write(&export).unwrap().repeated, 1);
    let file = Hdf5File(fs::read(home.out()).unwrap());
    for (sequence, id) in [
        ("MKV_3", "a/b"),
        ("M-kV*_5", "dup"),
        ("WW_2", "dup"),
        ("J_1", "__metadata__"),
    ] {
        let dataset = file.dataset(&sha256_of(sequence)).unwrap();
        assert_eq!(dataset.id.as_deref(), Some(id));
    }

    let fasta = home.dir.path().join("in.fasta");
    let moved = home.dir.path().join("moved.fasta");
    fs::rename(&fasta, &moved).unwrap();
    assert_eq!(
        home.why(&export),
        "/in.fasta: cannot be opened: No such file or directory (os error 2)\n\
         hint: give the FASTA files of the run with `fasta`, in their order"
    );
    export.fasta = vec![moved.clone()];
    home.write(&export).unwrap();
    fs::write(&moved, FASTA.replace("WW", "WV")).unwrap();
    assert_eq!(
        home.why(&export),
        "/moved.fasta: is not the file that the run read\n\
         hint: give the FASTA files of the run with `fasta`, in their order"
    );
    export.fasta = vec![moved.clone(), moved];
    assert!(
        home.why(&export)
            .starts_with("/moved.fasta: is one of 2 FASTA files; the run read 1")
    );
}

#[test]
fn safetensors_are_those_that_the_crate_reads() {
    let home = home(Residues::Packed, OutDtype::F16);
    let mut export = home.export(Format::Safetensors);
    home.write(&export).unwrap();
    let bytes = fs::read(home.out()).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let expected = home.expected("mean.layer2", OutDtype::F16);
    for (row, name) in ["a/b", "dup", "dup_2", "unnamed", "__metadata___2"]
        .iter()
        .enumerate()
    {
        assert_eq!(
            tensors.tensor(name).unwrap().data(),
            expected[row],
            "{name}"
        );
    }
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = metadata.metadata().clone().unwrap();
    assert_eq!(metadata["model_name"], "esm2_8m");
    assert_eq!(
        (metadata["layer"].as_str(), metadata["revision"].as_str()),
        ("2", "abc")
    );

    (export.keys, export.residues) = (Some(Keys::Hash), true);
    assert_eq!(home.write(&export).unwrap().repeated, 1);
    let bytes = fs::read(home.out()).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let expected = home.expected("residues.layer2", OutDtype::F16);
    assert_eq!(tensors.len(), 4);
    assert_eq!(
        tensors.tensor(&sha256_of("J_1")).unwrap().data(),
        expected[4]
    );
    assert_eq!(tensors.tensor(&sha256_of("WW_2")).unwrap().shape(), [2, 3]);
}

#[test]
fn csv_reads_back_to_the_same_bits() {
    let home = home(Residues::None, OutDtype::F32);
    home.write(&home.export(Format::Csv)).unwrap();
    let text = fs::read_to_string(home.out()).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("id,d0,d1,d2"));
    for (row, line) in lines.enumerate() {
        let (id, rest) = line.split_once(',').unwrap();
        assert_eq!(id.trim_matches('"'), RECORDS[row].0);
        let bytes: Vec<u8> = rest
            .split(',')
            .flat_map(|n| n.parse::<f32>().unwrap().to_le_bytes())
            .collect();
        assert_eq!(bytes, home.expected("mean.layer2", OutDtype::F32)[row]);
    }
    assert_eq!(text.lines().count(), 6);
}

/// The members of an archive, whose numbers begin at a multiple of 64 where that is promised.
fn members(path: &Path, aligned: bool) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|at| {
            let mut member = archive.by_index(at).unwrap();
            if aligned {
                assert_eq!(member.data_start().unwrap() % 64, 0);
            }
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).unwrap();
            (member.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

#[test]
fn npz_has_the_array_and_the_ids() {
    let home = home(Residues::Files, OutDtype::F32);
    let mut export = home.export(Format::Npz);
    for residues in [false, true] {
        export.residues = residues;
        home.write(&export).unwrap();
        let members = members(&home.out(), false);
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        let (array, shape, expected) = match residues {
            false => (
                "mean.layer2.npy",
                [5, 3],
                vec!["ids.npy", "mean.layer2.npy"],
            ),
            true => (
                "residues.layer2.npy",
                [12, 3],
                vec!["ids.npy", "lengths.npy", "residues.layer2.npy"],
            ),
        };
        assert_eq!(names, expected);
        assert_eq!(
            members[0].1,
            fs::read(home.folder.dir().join("ids.npy")).unwrap()
        );
        let mut bytes = header(OutDtype::F32, &shape).unwrap().to_vec();
        bytes.extend(
            home.expected(array.strip_suffix(".npy").unwrap(), OutDtype::F32)
                .concat(),
        );
        assert_eq!(members.last().unwrap().1, bytes);
        if residues {
            let lengths = &members[1].1;
            assert!(lengths.starts_with(
                b"\x93NUMPY\x01\0v\0{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }"
            ));
            let expected: Vec<u8> = RECORDS
                .iter()
                .flat_map(|(_, _, n)| n.to_le_bytes())
                .collect();
            assert_eq!(lengths[128..], expected);
        }
    }
}

#[test]
fn pt_has_a_file_for_each_record() {
    let home = home(Residues::Packed, OutDtype::F32);
    let mut export = home.export(Format::Pt);
    export.residues = true;
    let exported = home.write(&export).unwrap();
    let arrays = [
        "mean.layer1",
        "bos.layer1",
        "residues.layer1",
        "mean.layer2",
        "bos.layer2",
        "residues.layer2",
        "contacts",
    ];
    assert_eq!(exported.arrays, arrays);
    let mut names: Vec<_> = fs::read_dir(home.out())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "__metadata__.pt",
            "a_b one-8953e6c90111d171.pt",
            "dup-9eb6203435cb3e00.pt",
            "dup.pt",
            "unnamed-e3b0c44298fc1c14.pt",
        ]
    );
    let members = members(&home.out().join("dup.pt"), true);
    assert_eq!(members[0].0, "archive/data.pkl");
    let pickle = String::from_utf8_lossy(&members[0].1).into_owned();
    let keys = [
        "label",
        "representations",
        "mean_representations",
        "bos_representations",
        "contacts",
    ];
    let places: Vec<usize> = keys.iter().map(|key| pickle.find(key).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    for (at, name) in arrays.iter().enumerate() {
        let (member, bytes) = &members[2 + at];
        assert_eq!(member, &format!("archive/data/{at}"));
        assert_eq!(bytes, &home.expected(name, OutDtype::F32)[1], "{name}");
    }

    // A folder with anything else is not replaced.
    fs::write(home.out().join("notes.txt"), "mine").unwrap();
    assert!(
        home.why(&export)
            .starts_with("/out has other files than those of an export to pt")
    );
    assert!(home.out().join("notes.txt").exists());
}

#[test]
fn a_pickle_is_the_one_that_torch_reads() {
    let tensor = pickle::Tensor {
        file: 1,
        dtype: OutDtype::F32,
        shape: vec![2, 3],
    };
    let layers = pickle::Value::ByLayer(vec![(33, pickle::Value::Tensor(&tensor))]);
    let value = pickle::Value::ByText(vec![("label", pickle::Value::Text("é")), ("r", layers)]);
    let expected: &[u8] = b"\x80\x02}(X\x05\0\0\0labelX\x02\0\0\0\xc3\xa9X\x01\0\0\0r}(J\x21\0\0\0\
        ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x001\
        X\x03\0\0\0cpuJ\x06\0\0\0tQJ\0\0\0\0(J\x02\0\0\0J\x03\0\0\0t(J\x03\0\0\0J\x01\0\0\0t\
        \x89ccollections\nOrderedDict\n)RtRuu.";
    assert_eq!(pickle::encode(&value), expected);
}

#[test]
fn skbio_has_the_letters_of_the_embedded_residues() {
    let home = home(Residues::Packed, OutDtype::F32);
    let mut export = home.export(Format::Skbio);
    export.residues = true;
    home.write(&export).unwrap();
    let file = Hdf5File(fs::read(home.out()).unwrap());
    let letters = file.dataset("id").unwrap();
    assert_eq!(
        (letters.bytes.as_slice(), letters.shape),
        (&b"MKVMKVWWMKVX"[..], vec![12])
    );
    let ends: Vec<u8> = [3_i64, 6, 8, 11, 12]
        .iter()
        .flat_map(|end| end.to_le_bytes())
        .collect();
    assert_eq!(file.dataset("idptr").unwrap().bytes, ends);
    let rows = file.dataset("embedding").unwrap();
    assert_eq!(
        rows.bytes,
        home.expected("residues.layer2", OutDtype::F32).concat()
    );
    assert_eq!(rows.shape, [12, 3]);
    assert_eq!(file.dataset("embedding_ptr"), None);

    export.residues = false;
    home.write(&export).unwrap();
    let file = Hdf5File(fs::read(home.out()).unwrap());
    let ends: Vec<u8> = (1_i64..=5).flat_map(i64::to_le_bytes).collect();
    assert_eq!(file.dataset("embedding_ptr").unwrap().bytes, ends);
    assert_eq!(file.dataset("embedding").unwrap().shape, [5, 3]);
}

#[test]
fn parquet_is_the_table_that_its_readers_read() {
    let home = home(Residues::None, OutDtype::F32);
    home.write(&home.export(Format::Parquet)).unwrap();
    let bytes = fs::read(home.out()).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let numbers = home.expected("mean.layer2", OutDtype::F32).concat();
    assert!(bytes.windows(numbers.len()).any(|part| part == numbers));
    // tests/consumers/export.py reads such files with pandas, polars and DuckDB.
    assert_eq!(
        sha256_of(&bytes),
        "a9b6f4cac79a113f0e81f0e094dc1f0f5bb55edb192257cdaa02a8fe3f65eb56"
    );
}
