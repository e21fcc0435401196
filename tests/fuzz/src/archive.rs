//! Torch files, which are zip archives of stored entries, and tar archives of `.nemo`.

use std::fs::File;
use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// How the name of an archive's pickle ends.
pub const PICKLE: &str = "/data.pkl";

/// Names and bytes of the entries of an archive in a file.
pub fn entries(path: &Path) -> Vec<(String, Vec<u8>)> {
    entries_of(File::open(path).unwrap())
}

/// Names and bytes of an archive's entries.
pub fn entries_of(archive: impl Read + Seek) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(archive).unwrap();
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

/// An entry of a tar archive, whose header states `size`, in octal digits or any other bytes.
pub fn tar_entry(name: &str, kind: u8, content: &[u8], size: &str) -> Vec<u8> {
    let mut header = [0; 512];
    for (at, text) in [
        (0, name),
        (100, "0000644"),
        (124, size),
        (148, "        "),
        (257, "ustar"),
    ] {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut all = [&header[..], content].concat();
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

/// A tar archive of these files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries = files
        .iter()
        .map(|(name, content)| tar_entry(name, b'0', content, &format!("{:011o}", content.len())));
    let mut all: Vec<u8> = entries.flatten().collect();
    all.extend([0; 1024]);
    all
}

/// The file with this name in a sound tar archive without long names.
pub fn tar_file(archive: &[u8], name: &str) -> Vec<u8> {
    let mut at = 0;
    loop {
        let header = &archive[at..at + 512];
        let size = str::from_utf8(&header[124..135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let content = &archive[at + 512..at + 512 + size];
        let found = header.split(|byte| *byte == 0).next().unwrap();
        if found.strip_prefix(b"./").unwrap_or(found) == name.as_bytes() {
            return content.to_vec();
        }
        at += 512 + size.next_multiple_of(512);
    }
}
