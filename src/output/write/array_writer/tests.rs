//! Values are written to their places or refused.

use super::*;
use crate::output::layout::{Include, Residues};
use crate::output::npy;
use crate::output::write::array_file::CHUNK;
use crate::product::{OutDtype, Pool};

/// The last is not in the layout.
const LAYERS: [usize; 3] = [1, 6, 7];

fn writer(dir: &Path, residues: Residues, dtype: OutDtype) -> ArrayWriter {
    let layout = Layout {
        layers: LAYERS[..2].to_vec(),
        pools: vec![Pool::Mean, Pool::Bos],
        residues,
        dtype,
        dim: 2,
        include: Include::default(),
    };
    ArrayWriter::create(dir, &layout).unwrap()
}

/// The product of the layer with this number.
fn pooled(number: usize, pool: Pool) -> Product {
    let layer = LAYERS[number];
    Product::Pooled { layer, pool }
}

fn residues(number: usize) -> Product {
    let layer = LAYERS[number];
    Product::Residues { layer }
}

fn counts(records: u64, residues: u64) -> Counts {
    Counts {
        records,
        residues,
        ..Counts::default()
    }
}

fn place(row: u64, residue_offset: u64, length: u64) -> Place {
    Place {
        row,
        residue_offset,
        length,
        file: Some(format!("r{row}.npy")),
    }
}

#[test]
fn rows_are_written_to_their_places_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path(), Residues::Packed, OutDtype::F16);
    for row in [2, 0, 1] {
        for layer in 0..2 {
            let value = (row as f32) + 10.0 * layer as f32;
            writer
                .write(pooled(layer, Pool::Mean), &place(row, 0, 0), &[value, 0.5])
                .unwrap();
            writer
                .write(pooled(layer, Pool::Bos), &place(row, 0, 0), &[-value, 0.5])
                .unwrap();
        }
    }
    for layer in 0..2 {
        writer
            .write(residues(layer), &place(1, 1, 2), &[3.0, 4.0, 5.0, 6.0])
            .unwrap();
        writer
            .write(residues(layer), &place(0, 0, 1), &[1.0, 2.0])
            .unwrap();
        writer.write(residues(layer), &place(2, 3, 0), &[]).unwrap();
    }
    writer.close(&counts(3, 3)).unwrap();
    let bytes = std::fs::read(dir.path().join("bos.layer6.npy")).unwrap();
    assert_eq!(bytes[..128], npy::header(OutDtype::F16, &[3, 2]).unwrap());
    // -10, 0.5, -11, 0.5, -12, 0.5
    assert_eq!(
        bytes[128..],
        [
            0x00, 0xc9, 0x00, 0x38, 0x80, 0xc9, 0x00, 0x38, 0x00, 0xca, 0x00, 0x38
        ]
    );
    let bytes = std::fs::read(dir.path().join("residues.layer1.npy")).unwrap();
    assert_eq!(
        bytes[128..],
        [
            0x00, 0x3c, 0x00, 0x40, 0x00, 0x42, 0x00, 0x44, 0x00, 0x45, 0x00, 0x46
        ]
    );
}

#[test]
fn unfit_values_are_named_and_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path(), Residues::Packed, OutDtype::F16);
    let error = writer
        .write(residues(0), &place(4, 0, 2), &[1.0, 2.0, 3.0, 1e6])
        .unwrap_err();
    assert!(error.to_string().starts_with(
        "residues.layer1.npy, record in row 4, residue 2, column 1: 1000000 does not fit f16"
    ));
    let error = writer
        .write(pooled(1, Pool::Bos), &place(5, 0, 0), &[f32::NAN, 0.0])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("bos.layer6.npy, record in row 5, column 0: the value is NaN")
    );
    for name in ["residues.layer1.npy", "bos.layer6.npy"] {
        assert_eq!(std::fs::metadata(dir.path().join(name)).unwrap().len(), 0);
    }
}

#[test]
fn wrong_shapes_layers_and_pools_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path(), Residues::Packed, OutDtype::F32);
    let shape = writer.write(residues(0), &place(0, 0, 2), &[1.0; 3]);
    assert!(matches!(
        shape,
        Err(OutputError::Shape {
            expected: 4,
            found: 3,
            ..
        })
    ));
    assert!(matches!(
        writer.write(pooled(0, Pool::Mean), &place(0, 0, 0), &[]),
        Err(OutputError::Shape { .. })
    ));
    assert!(matches!(
        writer.write(pooled(0, Pool::Max), &place(0, 0, 0), &[1.0; 2]),
        Err(OutputError::NotInLayout { .. })
    ));
    assert!(matches!(
        writer.write(pooled(2, Pool::Mean), &place(0, 0, 0), &[1.0; 2]),
        Err(OutputError::NotInLayout { .. })
    ));
    let far = writer.write(pooled(0, Pool::Mean), &place(u64::MAX, 0, 0), &[1.0; 2]);
    assert!(matches!(far, Err(OutputError::TooLarge { .. })));
}

#[test]
fn a_missing_last_row_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path(), Residues::None, OutDtype::F32);
    for layer in 0..2 {
        writer
            .write(pooled(layer, Pool::Mean), &place(1, 0, 0), &[1.0, 2.0])
            .unwrap();
        writer
            .write(
                pooled(layer, Pool::Bos),
                &place(layer as u64, 0, 0),
                &[1.0, 2.0],
            )
            .unwrap();
    }
    let error = writer.close(&counts(2, 9)).unwrap_err();
    assert!(
        matches!(error, OutputError::Incomplete { expected: 144, found: 136, ref file } if file == "bos.layer1.npy")
    );
}

#[test]
fn a_record_is_copied_to_a_later_place() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path(), Residues::Packed, OutDtype::F32);
    // More rows than fit the buffer of the copy.
    let length = CHUNK as u64 / 8 + 3;
    let values: Vec<f32> = (0..length * 2).map(|i| i as f32).collect();
    for layer in 0..2 {
        writer
            .write(residues(layer), &place(0, 0, length), &values[..])
            .unwrap();
        writer
            .write(pooled(layer, Pool::Mean), &place(0, 0, 0), &[7.0, 8.0])
            .unwrap();
        writer
            .write(pooled(layer, Pool::Bos), &place(0, 0, 0), &[9.0, 1.0])
            .unwrap();
    }
    writer
        .copy_record(&place(0, 0, length), &place(1, length, length))
        .unwrap();
    writer.close(&counts(2, 2 * length)).unwrap();
    for name in [
        "mean.layer1.npy",
        "bos.layer6.npy",
        "residues.layer1.npy",
        "residues.layer6.npy",
    ] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        let (first, second) = bytes[128..].split_at((bytes.len() - 128) / 2);
        assert_eq!(first, second);
    }
}

#[test]
fn each_record_has_its_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path(), Residues::Files, OutDtype::F32);
    for layer in 0..2 {
        writer
            .write(residues(layer), &place(1999, 0, 1), &[1.0, 2.0])
            .unwrap();
        // Again, as after a batch that had to be redone.
        writer
            .write(residues(layer), &place(1999, 0, 1), &[3.0, 4.0])
            .unwrap();
    }
    writer
        .write(residues(0), &place(0, 0, 1), &[1.0, 2.0])
        .unwrap();
    let bytes = std::fs::read(dir.path().join("residues.layer6/000001/r1999.npy")).unwrap();
    assert_eq!(bytes[..128], npy::header(OutDtype::F32, &[1, 2]).unwrap());
    assert_eq!(bytes[128..], [0, 0, 0x40, 0x40, 0, 0, 0x80, 0x40]);
    assert!(dir.path().join("residues.layer1/000000/r0.npy").exists());
}

#[test]
fn parts_of_a_record_have_the_bytes_and_the_checksum_of_the_whole() {
    let values: Vec<f32> = (0..10).map(|i| i as f32 / 4.0).collect();
    for storage in [Residues::Packed, Residues::Files] {
        for dtype in [OutDtype::F32, OutDtype::F16] {
            let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let place = place(0, 0, 5);
            let whole = writer(one.path(), storage, dtype);
            let whole = whole.write(residues(0), &place, &values[..]).unwrap();
            let parts = writer(other.path(), storage, dtype);
            let mut record = parts.begin(residues(0), &place).unwrap();
            for part in [&values[..1], &values[1..1], &values[1..8], &values[8..]] {
                record.push(part).unwrap();
            }
            assert_eq!(record.finish().unwrap(), whole);
            let file = match storage {
                Residues::Files => "residues.layer1/000000/r0.npy",
                _ => "residues.layer1.npy",
            };
            let bytes = |dir: &Path| std::fs::read(dir.join(file)).unwrap();
            assert_eq!(bytes(one.path()), bytes(other.path()));
        }
    }
}

#[test]
fn parts_that_do_not_make_up_the_record_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path(), Residues::Files, OutDtype::F16);
    let begin = || writer.begin(residues(1), &place(3, 0, 2)).unwrap();
    let mut record = begin();
    record.push(&[1.0, 2.0, 3.0]).unwrap();
    let unfit = record.push(&[1e6]).unwrap_err().to_string();
    let position = "r3.npy, record in row 3, residue 2, column 1: 1000000 does not fit f16";
    assert!(unfit.contains(position), "{unfit}");
    let more = record.push(&[4.0, 5.0]);
    assert!(matches!(
        more,
        Err(OutputError::Shape {
            expected: 4,
            found: 5,
            row: 3,
            ..
        })
    ));
    let fewer = record.finish();
    assert!(matches!(
        fewer,
        Err(OutputError::Shape {
            expected: 4,
            found: 3,
            row: 3,
            ..
        })
    ));
    // Only the three that were written are in the file.
    let path = dir.path().join("residues.layer6/000000/r3.npy");
    assert_eq!(std::fs::metadata(path).unwrap().len(), 128 + 3 * 2);
    begin().push(&[1.0; 4]).unwrap();
    assert!(writer.begin(residues(2), &place(0, 0, 1)).is_err());
}
