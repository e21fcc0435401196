//! Whether a file can be what its name says: a look at its ends, without a digest.
//!
//! This finds the page of a login portal saved as weights and the file that was cut short, also
//! where no digest is known. It reads a few kilobytes of a checkpoint of any size.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// No JSON file of a checkpoint comes near this.
const MAX_JSON: u64 = 64 << 20;
/// The limit that the safetensors format sets for its header.
const MAX_HEADER: u64 = 100_000_000;
/// A zip archive ends in a record of 22 bytes and a comment of at most 65,535.
const ZIP_END: u64 = 22 + 65_535;

/// A JSON file to parse, of which no more is read than a JSON file of a checkpoint can have.
pub(super) fn open_json(path: &Path) -> io::Result<impl Read> {
    Ok(BufReader::new(File::open(path)?.take(MAX_JSON)))
}

/// Bytes of the file, or what is wrong with it.
pub(super) fn check(path: &Path, name: &str) -> Result<u64, String> {
    let mut file = File::open(path).map_err(|e| format!("it cannot be opened ({e})"))?;
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    let bytes = metadata.len();
    if bytes == 0 {
        return Err("it is empty".to_owned());
    }
    let start = read_start(&mut file)?;
    if is_html(&start) {
        return Err(
            "it holds an HTML page: a login page or proxy answered in the hub's place".to_owned(),
        );
    }
    if name.ends_with(".json") {
        check_json(file, bytes)?;
    } else if name.ends_with(".safetensors") {
        check_safetensors(file, bytes)?;
    } else if start.starts_with(b"PK\x03\x04") {
        check_zip(file, bytes)?;
    }
    Ok(bytes)
}

fn read_start(file: &mut File) -> Result<Vec<u8>, String> {
    let mut start = Vec::new();
    file.take(64)
        .read_to_end(&mut start)
        .and_then(|_| file.rewind())
        .map_err(|e| format!("it cannot be read ({e})"))?;
    Ok(start)
}

fn is_html(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    ["<!doctype html", "<html"].iter().any(|tag| {
        start
            .get(..tag.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(tag.as_bytes()))
    })
}

fn check_json(file: File, bytes: u64) -> Result<(), String> {
    if bytes > MAX_JSON {
        return Err(format!("{bytes} bytes are too many for a JSON file"));
    }
    serde_json::from_reader::<_, HashMap<String, IgnoredAny>>(BufReader::new(file))
        .map(drop)
        .map_err(|e| format!("it is not a JSON object ({e})"))
}

/// The part of a tensor's entry that says where its bytes end.
#[derive(Deserialize)]
struct Entry {
    data_offsets: Option<[u64; 2]>,
}

fn check_safetensors(mut file: File, bytes: u64) -> Result<(), String> {
    let unreadable = |e: io::Error| format!("it cannot be read ({e})");
    let mut length = [0; 8];
    if bytes < 8 {
        return Err(format!("{bytes} bytes are too few for a safetensors file"));
    }
    file.read_exact(&mut length).map_err(unreadable)?;
    let header = u64::from_le_bytes(length);
    if header > MAX_HEADER || header > bytes - 8 {
        return Err(format!(
            "its first 8 bytes announce a header of {header} bytes, and it has {bytes} in all"
        ));
    }
    let entries: HashMap<String, Entry> =
        serde_json::from_reader(BufReader::new(file.take(header)))
            .map_err(|e| format!("its safetensors header cannot be read ({e})"))?;
    let data = entries
        .values()
        .filter_map(|entry| entry.data_offsets)
        .map(|[_, end]| end)
        .max()
        .unwrap_or(0);
    match data.checked_add(8 + header) {
        Some(expected) if expected == bytes => Ok(()),
        expected => Err(format!(
            "its header describes {} bytes, and it has {bytes}",
            expected.unwrap_or(u64::MAX)
        )),
    }
}

fn check_zip(mut file: File, bytes: u64) -> Result<(), String> {
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(bytes.saturating_sub(ZIP_END)))
        .and_then(|_| file.take(ZIP_END).read_to_end(&mut end))
        .map_err(|e| format!("it cannot be read ({e})"))?;
    if end.windows(4).any(|bytes| bytes == b"PK\x05\x06") {
        Ok(())
    } else {
        Err("it is a zip archive without its end: it was cut short".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bytes(name: &str, content: &[u8]) -> Result<u64, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        check(&path, name)
    }

    fn safetensors() -> Vec<u8> {
        let header = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header);
        file.extend_from_slice(&[0; 8]);
        file
    }

    #[test]
    fn whole_files_pass() {
        let whole = safetensors();
        assert_eq!(
            check_bytes("model.safetensors", &whole),
            Ok(whole.len() as u64)
        );
        assert_eq!(check_bytes("config.json", b"{\"a\": [1]}"), Ok(10));
        assert_eq!(check_bytes("vocab.txt", b"<cls>\n<pad>\n"), Ok(12));
        assert_eq!(
            check_bytes("a.bin", b"PK\x03\x04..PK\x05\x06......"),
            Ok(16)
        );
        assert_eq!(check_bytes("a.bin", b"\x80\x02legacy pickle"), Ok(15));
    }

    #[test]
    fn every_cut_of_a_safetensors_file_is_seen() {
        let whole = safetensors();
        for length in 0..whole.len() {
            assert!(
                check_bytes("model.safetensors", &whole[..length]).is_err(),
                "{length}"
            );
        }
        let mut longer = whole;
        longer.push(0);
        assert!(check_bytes("model.safetensors", &longer).is_err());
    }

    #[test]
    fn pages_and_cut_files_are_named() {
        for name in [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "vocab.txt",
        ] {
            let page = check_bytes(name, b"\n<!DOCTYPE HTML><title>Sign in</title>");
            assert!(page.unwrap_err().contains("HTML page"), "{name}");
        }
        assert!(check_bytes("config.json", b"{\"a\": [1").is_err());
        assert!(check_bytes("config.json", b"[1]").is_err());
        assert!(check_bytes("a.bin", b"PK\x03\x04 and then nothing").is_err());
        assert!(check_bytes("model.safetensors", &[0xff; 64]).is_err());
        assert!(check(Path::new("/"), "config.json").is_err());
    }
}
