//! Torch files: zip archives of stored entries.

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// How the name of an archive's pickle ends.
pub const PICKLE: &str = "/data.pkl";

/// Names and bytes of an archive's entries.
pub fn entries(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|i| {
            let mut entry = archive.by_index(i).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

/// An archive of these entries, with the bytes of its pickle replaced by `pickle`.
pub fn with_pickle(entries: &[(String, Vec<u8>)], pickle: &[u8]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        writer.start_file(name.as_str(), options).unwrap();
        let bytes = if name.ends_with(PICKLE) {
            pickle
        } else {
            bytes
        };
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
