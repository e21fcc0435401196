use std::io::{Cursor, Write};

use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

fn archive(entries: &[(&str, &[u8])], large: bool) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(large);
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The entries of an archive in a file.
fn entries(bytes: &[u8]) -> Result<ZipEntries, ZipError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    read(&WeightFile::open(file.path())?)
}

fn damage(bytes: &[u8]) -> String {
    match entries(bytes) {
        Err(ZipError::Damaged(found)) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn entries_of_another_writer_are_found_at_their_bytes() {
    for large in [false, true] {
        let bytes = archive(
            &[("m/data.pkl", b"abc"), ("m/data/0", b"0123456789")],
            large,
        );
        let entries = entries(&bytes).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(&bytes[entries["m/data.pkl"].range.clone()], b"abc");
        assert_eq!(&bytes[entries["m/data/0"].range.clone()], b"0123456789");
        assert_eq!(entries["m/data.pkl"].crc, 0x352441c2);
    }
}

#[test]
fn an_archive_cut_anywhere_is_an_error() {
    let bytes = archive(
        &[("m/data.pkl", b"abc"), ("m/data/0", b"0123456789")],
        false,
    );
    for length in 0..bytes.len() {
        assert!(entries(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn names_that_point_outside_are_errors() {
    for name in [
        "../data.pkl",
        "m/../../x",
        "/etc/passwd",
        "C:/x",
        "m\\x",
        "m/./x",
    ] {
        // Written with a harmless name of the same length: writers refuse the real one.
        let harmless = "x".repeat(name.len());
        let mut bytes = archive(&[(&harmless, b"abc")], false);
        let places: Vec<usize> = (0..bytes.len() - name.len())
            .filter(|at| bytes[*at..].starts_with(harmless.as_bytes()))
            .collect();
        assert_eq!(places.len(), 2);
        for at in places {
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        }
        let found = damage(&bytes);
        assert!(found.contains("points outside"), "{found}");
    }
}

#[test]
fn a_compressed_entry_is_named_and_not_unpacked() {
    let mut bytes = archive(&[("m/data.pkl", b"abc")], false);
    let central = bytes.windows(4).position(|four| four == CENTRAL).unwrap();
    bytes[central + 10] = 8;
    bytes[central + 24..central + 28].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    let found =
        "holds `m/data.pkl` compressed (3 bytes for 2147483647), which torch.save never does";
    match entries(&bytes) {
        Err(ZipError::Packed(says)) => assert_eq!(says, found),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lengths_past_the_file_are_errors() {
    let bytes = archive(&[("m/data.pkl", b"abc")], false);
    let central = bytes.windows(4).position(|four| four == CENTRAL).unwrap();
    let end = bytes.windows(4).position(|four| four == END).unwrap();
    for (at, says) in [
        (central + 42, "where the archive holds no such entry"),
        (end + 12, "past its end"),
        (end + 16, "past its end"),
    ] {
        let mut damaged = bytes.clone();
        damaged[at..at + 4].copy_from_slice(&0x7fff_fff0u32.to_le_bytes());
        let found = damage(&damaged);
        assert!(found.contains(says), "{found}");
    }
    let mut longer = bytes.clone();
    for at in [central + 20, central + 24] {
        longer[at..at + 4].copy_from_slice(&0x7fff_fff0u32.to_le_bytes());
    }
    assert!(damage(&longer).contains("more than there are"));
    let mut many = bytes.clone();
    many[end + 8..end + 12].copy_from_slice(&[0xfe, 0xff, 0xfe, 0xff]);
    assert!(damage(&many).contains("cut off or malformed"));
}

#[test]
fn a_duplicate_name_is_an_error() {
    let mut bytes = archive(&[("m/a", b"abc"), ("m/b", b"abc")], false);
    for at in 0..bytes.len() - 3 {
        if bytes[at..].starts_with(b"m/b") {
            bytes[at + 2] = b'a';
        }
    }
    assert_eq!(damage(&bytes), "holds two entries named `m/a`");
}

proptest! {
    #[test]
    fn any_damage_gives_entries_inside_the_file_or_an_error(
        at in 0usize..250, value: u8, cut in 0usize..250
    ) {
        let mut bytes = archive(&[("m/data.pkl", b"abc"), ("m/data/0", b"0123456789")], true);
        bytes.truncate(bytes.len() - cut.min(bytes.len()) / 16);
        let length = bytes.len();
        bytes[at % length] = value;
        if let Ok(entries) = entries(&bytes) {
            for entry in entries.values() {
                prop_assert!(bytes.get(entry.range.clone()).is_some());
            }
        }
    }
}
