use half::bf16;
use proptest::prelude::*;

use super::*;

const VALUES: [f32; 6] = [0.0, -1.5, 65504.0, 6.0e-8, 0.333, -0.0];

fn file_of(bytes: &[u8]) -> (tempfile::TempDir, WeightFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    std::fs::write(&path, bytes).unwrap();
    let file = WeightFile::open(&path).unwrap();
    (folder, file)
}

fn resolved(shape: [usize; 2], strides: [usize; 2], offset: usize) -> Resolved {
    Resolved {
        tensor: "w".into(),
        file: 0,
        dtype: FloatType::F32,
        offset,
        shape,
        strides,
        part: None,
        vector: false,
        zero_row: None,
        added: None,
    }
}

/// The numbers 0, 1, 2, … after one odd byte, so that nothing is aligned.
fn counting(count: usize) -> (tempfile::TempDir, WeightFile) {
    let mut bytes = vec![0xaa];
    bytes.extend((0..count).flat_map(|i| (i as f32).to_le_bytes()));
    file_of(&bytes)
}

#[test]
fn every_dtype_gives_the_nearest_f32() {
    let f32s: Vec<u8> = VALUES.iter().flat_map(|x| x.to_le_bytes()).collect();
    let f16s: Vec<u8> = VALUES
        .iter()
        .flat_map(|x| f16::from_f32(*x).to_le_bytes())
        .collect();
    let bf16s: Vec<u8> = VALUES
        .iter()
        .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
        .collect();
    let mut out = [0.0; 6];
    assert!(decode(FloatType::F32, &f32s, &mut out));
    assert_eq!(out.map(f32::to_bits), VALUES.map(f32::to_bits));
    assert!(decode(FloatType::F16, &f16s, &mut out));
    assert_eq!(
        out.map(f32::to_bits),
        VALUES.map(|x| f16::from_f32(x).to_f32().to_bits())
    );
    assert_eq!(out[3], 5.9604645e-8);
    assert!(decode(FloatType::Bf16, &bf16s, &mut out));
    assert_eq!(
        out.map(f32::to_bits),
        VALUES.map(|x| bf16::from_f32(x).to_f32().to_bits())
    );
    assert_eq!(out[4], 0.33203125);
}

#[test]
fn nan_and_infinity_are_located() {
    let mut bytes: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, f32::NEG_INFINITY, 6.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let (_folder, file) = file_of(&bytes);
    let matrix = resolved([2, 3], [3, 1], 0);
    let weight = Weight {
        resolved: &matrix,
        file: &file,
        adapter: None,
    };
    let mut out = [0.0; 3];
    weight.read_row(0, &mut out).unwrap();
    match weight.read_row(1, &mut out) {
        Err(CheckpointError::NonFinite {
            row: 1,
            column: 1,
            value,
            ..
        }) => {
            assert_eq!(value, f32::NEG_INFINITY)
        }
        other => panic!("{other:?}"),
    }
    bytes.truncate(2);
    bytes.copy_from_slice(&f16::NAN.to_le_bytes());
    assert!(!decode(FloatType::F16, &bytes, &mut out[..1]));
    assert!(!decode(
        FloatType::Bf16,
        &bf16::INFINITY.to_le_bytes(),
        &mut out[..1]
    ));
}

#[test]
fn rows_of_columns_and_of_fused_tensors() {
    let (_folder, file) = counting(24);
    let transposed = resolved([2, 3], [1, 2], 1);
    let weight = Weight {
        resolved: &transposed,
        file: &file,
        adapter: None,
    };
    assert_eq!(weight.to_vec().unwrap(), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    // Two heads of width two: q0 k0 v0 q1 k1 v1, each two rows of two numbers.
    let key = Part {
        number: 1,
        of: 3,
        block: 2,
    };
    let fused = Resolved {
        part: Some(key),
        ..resolved([4, 2], [2, 1], 1)
    };
    let weight = Weight {
        resolved: &fused,
        file: &file,
        adapter: None,
    };
    assert_eq!(
        weight.to_vec().unwrap(),
        [4.0, 5.0, 6.0, 7.0, 16.0, 17.0, 18.0, 19.0]
    );
    let bias = Resolved {
        vector: true,
        part: Some(key),
        ..resolved([1, 4], [12, 1], 1)
    };
    let weight = Weight {
        resolved: &bias,
        file: &file,
        adapter: None,
    };
    assert_eq!(weight.to_vec().unwrap(), [2.0, 3.0, 8.0, 9.0]);
    // All of q, then all of k, then all of v.
    let apart = Resolved {
        part: Some(Part {
            number: 2,
            of: 3,
            block: 4,
        }),
        ..resolved([4, 2], [2, 1], 1)
    };
    let weight = Weight {
        resolved: &apart,
        file: &file,
        adapter: None,
    };
    assert_eq!(
        weight.to_vec().unwrap(),
        [16.0, 17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0]
    );
}

#[test]
fn a_row_that_is_not_there_is_an_error() {
    let (_folder, file) = counting(6);
    let matrix = Resolved {
        zero_row: Some(1),
        ..resolved([2, 3], [3, 1], 1)
    };
    let weight = Weight {
        resolved: &matrix,
        file: &file,
        adapter: None,
    };
    assert!(weight.read_row(2, &mut [0.0; 3]).is_err());
    assert!(weight.read_row(0, &mut [0.0; 2]).is_err());
    assert_eq!(weight.to_vec().unwrap(), [0.0, 1.0, 2.0, 0.0, 0.0, 0.0]);
}

#[test]
fn rows_are_the_same_in_any_order_and_through_any_window() {
    // Rows of 48 kB: a window holds five of them, and the last one fewer.
    let (rows, columns) = (12, 12_000);
    let (_folder, file) = counting(rows * columns);
    let row_major = resolved([rows, columns], [columns, 1], 1);
    let column_major = resolved([columns, rows], [1, columns], 1);
    // Spread over a hundred times as many numbers as it has.
    let sparse = resolved([10, 3], [7, 5_000], 1);
    for (resolved, order) in [
        (&row_major, [0, 1, 2, 3, 4, 5, 11, 10, 0, 7]),
        (&column_major, [0, 1, 2, 11_999, 3, 5_000, 4, 2, 1, 0]),
        (&sparse, [0, 1, 2, 9, 3, 8, 4, 7, 5, 6]),
    ] {
        let weight = Weight {
            resolved,
            file: &file,
            adapter: None,
        };
        let [down, across] = resolved.strides;
        let mut reader = weight.rows();
        let mut out = vec![0.0; resolved.shape[1]];
        for row in order {
            reader.read(row, &mut out).unwrap();
            let wanted = (0..out.len()).map(|column| (row * down + column * across) as f32);
            assert!(wanted.eq(out.iter().copied()), "row {row}");
            assert!(reader.window.len() <= 4 * rows * columns);
        }
    }
}

#[test]
fn a_file_that_is_shortened_is_an_error() {
    let (folder, file) = counting(200_000);
    let matrix = resolved([200, 1000], [1000, 1], 1);
    let weight = Weight {
        resolved: &matrix,
        file: &file,
        adapter: None,
    };
    let mut reader = weight.rows();
    let mut out = [0.0; 1000];
    reader.read(0, &mut out).unwrap();
    let path = folder.path().join("w");
    std::fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(500_000)
        .unwrap();
    for row in [100, 199] {
        let found = reader.read(row, &mut out).unwrap_err().to_string();
        assert!(found.contains("w: changed while it was read"), "{found}");
    }
    reader.read(100, &mut out).unwrap_err();
    reader.read(2, &mut out).unwrap();
    assert_eq!(out[0], 2000.0);
}

proptest! {
    #[test]
    fn any_half_is_converted_exactly(halves in proptest::collection::vec(any::<u16>(), 1..1100)) {
        let bytes: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut out = vec![0.0; halves.len()];
        let finite = decode(FloatType::F16, &bytes, &mut out);
        let wanted: Vec<f32> = halves.iter().map(|x| f16::from_bits(*x).to_f32()).collect();
        prop_assert_eq!(finite, wanted.iter().all(|x| x.is_finite()));
        for (out, wanted) in out.iter().zip(&wanted) {
            prop_assert!(out.to_bits() == wanted.to_bits() || (out.is_nan() && wanted.is_nan()));
        }
    }
}
