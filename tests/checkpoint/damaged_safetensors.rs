//! Safetensors files that are truncated, have flipped bits, or lie about their lengths.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use esm_embed::checkpoint::{Checkpoint, CheckpointError};
use tempfile::TempDir;

use crate::support::{copy, encoder, error, header_length};

fn folder() -> (TempDir, PathBuf, Vec<u8>) {
    let folder = copy("esm2_hd16");
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    (folder, path, bytes)
}

/// The header with one text replaced by another of the same length.
fn with_header(from: &str, to: &str) -> String {
    let (folder, path, mut bytes) = folder();
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .unwrap();
    assert_eq!(from.len(), to.len());
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, bytes).unwrap();
    error(folder.path())
}

#[test]
fn a_file_cut_at_any_byte_is_an_error() {
    let (folder, path, bytes) = folder();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let body = 8 + header_length(&bytes);
    let in_body = (body..bytes.len()).step_by(4999).chain([bytes.len() - 1]);
    let mut cuts: Vec<usize> = (0..body).chain(in_body).collect();
    cuts.sort_unstable();
    for cut in cuts.into_iter().rev() {
        file.set_len(cut as u64).unwrap();
        let found = error(folder.path());
        assert!(found.contains("model.safetensors: "), "{cut}: {found}");
    }
}

#[test]
fn a_flipped_bit_of_the_header_never_panics() {
    let (folder, path, bytes) = folder();
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    let mut write = |at: usize, byte: u8| {
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&[byte]).unwrap();
    };
    let mut refused = 0;
    for (at, byte) in bytes.iter().enumerate().take(8 + header_length(&bytes)) {
        write(at, byte ^ 1 << (at % 8));
        match Checkpoint::open(folder.path()) {
            // A name or a place of something that is not needed.
            Ok(checkpoint) => {
                for name in encoder(checkpoint.config()) {
                    let weight = checkpoint.weight(&name).unwrap();
                    assert_eq!(
                        weight.to_vec().unwrap().len(),
                        weight.shape().iter().product::<usize>()
                    );
                }
            }
            Err(error) => {
                assert!(
                    error.to_string().contains("model.safetensors"),
                    "{at}: {error}"
                );
                refused += 1;
            }
        }
        write(at, *byte);
    }
    assert!(refused > 3000, "{refused}");
}

#[test]
fn lengths_are_checked_against_the_file() {
    let (folder, path, bytes) = folder();
    for (length, says) in [
        (1u64 << 63, "claims a header of 9223372036854775808 bytes"),
        (u64::MAX, "claims a header of 18446744073709551615 bytes"),
        (bytes.len() as u64, "claims a header of"),
        (0, "malformed header"),
        (2, "malformed header"),
    ] {
        let mut damaged = bytes.clone();
        damaged[..8].copy_from_slice(&length.to_le_bytes());
        fs::write(&path, damaged).unwrap();
        let found = error(folder.path());
        assert!(found.contains(says), "{found}");
    }
}

#[test]
fn a_wrong_dtype_tag_is_an_error() {
    assert!(with_header(r#""dtype":"F32""#, r#""dtype":"X32""#).contains("malformed header"));
    assert!(with_header(r#""dtype":"F32""#, r#""dtype":"F16""#).contains("contradicts itself"));
    let entry = r#""esm.encoder.emb_layer_norm_after.bias":{"dtype":"F32""#;
    let found = with_header(entry, &entry.replace("F32", "I32"));
    assert!(
        found.contains("is stored as I32\nhint: save it as float32"),
        "{found}"
    );
    assert!(found.contains("the tensor `esm."), "{found}");
}

#[test]
fn a_renamed_tensor_is_missing() {
    let found = with_header(
        "esm.encoder.layer.1.LayerNorm.bias",
        "esm.encoder.layer.1.LayerNorm.bxas",
    );
    assert!(
        found.contains("the tensor `esm.encoder.layer.1.LayerNorm.bias` is missing"),
        "{found}"
    );
}

#[test]
fn frequencies_in_only_some_layers_are_an_error() {
    let name = "layer.1.attention.self.rotary_embeddings.inv_freq";
    let found = with_header(name, "layer.1.attention.self.rotary_embeddings.inv_fxxx");
    assert!(
        found.contains(&format!("the tensor `esm.encoder.{name}` is missing")),
        "{found}"
    );
}

#[test]
fn a_duplicate_name_is_an_error() {
    let (folder, path, bytes) = folder();
    let end = 8 + header_length(&bytes);
    let header = std::str::from_utf8(&bytes[8..end]).unwrap().trim_end();
    let first = header.find(r#""esm."#).unwrap();
    let entry = &header[first..first + header[first..].find('}').unwrap() + 1];
    let doubled = format!("{},{entry}}}", header.strip_suffix('}').unwrap());
    let length = (doubled.len() as u64).to_le_bytes();
    fs::write(&path, [&length, doubled.as_bytes(), &bytes[end..]].concat()).unwrap();
    let found = error(folder.path());
    assert!(found.contains("occurs twice"), "{found}");
}

#[test]
fn offsets_that_overflow_are_an_error() {
    // Eight tensors of 2^61 - 1 bytes each, laid end to end.
    let size = (1u64 << 61) - 1;
    let entries: Vec<String> = (0..8)
        .map(|i| {
            let (start, end) = (i * size, (i + 1) * size);
            format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let (folder, path, _) = folder();
    fs::write(
        &path,
        [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat(),
    )
    .unwrap();
    let found = error(folder.path());
    assert!(found.contains("of only 0"), "{found}");
}

#[test]
fn nan_and_infinity_are_located() {
    for (value, shown) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let (folder, path, mut bytes) = folder();
        let header = 8 + header_length(&bytes);
        let text = String::from_utf8(bytes[8..header].to_vec()).unwrap();
        let name = "esm.encoder.layer.1.output.dense.weight";
        let entry = text.split(&format!(r#""{name}":"#)).nth(1).unwrap();
        let offset = entry.split(r#""data_offsets":["#).nth(1).unwrap();
        let offset: usize = offset.split(',').next().unwrap().parse().unwrap();
        // Row 3, column 70 of 32 × 128.
        let at = header + offset + 4 * (3 * 128 + 70);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let weight = checkpoint.weight("layers.1.fc2.weight").unwrap();
        weight.read_row(2, &mut [0.0; 128]).unwrap();
        let error = weight.to_vec().unwrap_err();
        assert!(matches!(
            error,
            CheckpointError::NonFinite {
                row: 3,
                column: 70,
                ..
            }
        ));
        let found = error.to_string();
        assert!(
            found.contains(&format!(
                "model.safetensors: the tensor `{name}` holds {shown} at row 3, column 70"
            )),
            "{found}"
        );
    }
}
