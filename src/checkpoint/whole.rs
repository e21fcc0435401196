//! Whether a file is whole and what its name says: a look at its ends, without a digest.
//!
//! This finds the page of a login portal saved as weights and the file that was cut short, also where
//! no digest is known. It reads a few kilobytes of a checkpoint of any size.

use std::collections::HashMap;
use std::path::Path;

use serde::de::IgnoredAny;

use super::error::CheckpointError;
use super::file::WeightFile;
use super::torch_zip::{self, ZipError};
use super::{json, safetensors};

/// Bytes of the file at `path`, which is to be what `name` says.
///
/// # Errors
/// What it is instead.
pub(crate) fn check_whole(path: &Path, name: &str) -> Result<u64, CheckpointError> {
    let file = WeightFile::open(path)?;
    if name.ends_with(".json") {
        json::read::<HashMap<String, IgnoredAny>>(path)?;
    } else if name.ends_with(".safetensors") {
        safetensors::read(&file)?;
    } else if torch_zip::looks_like(file.start()) {
        torch_zip::directory(&file).map_err(|error| match error {
            ZipError::File(error) => error,
            ZipError::Damaged(found) | ZipError::Packed(found) => file.damaged(found),
        })?;
    }
    Ok(file.length() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, content: &[u8]) -> Result<u64, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        check_whole(&path, name).map_err(|error| error.to_string())
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
        assert_eq!(check("model.safetensors", &whole), Ok(whole.len() as u64));
        assert_eq!(check("config.json", b"{\"a\": [1]}"), Ok(10));
        assert_eq!(check("vocab.txt", b"<cls>\n<pad>\n"), Ok(12));
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        zip.start_file("a/data.pkl", stored).unwrap();
        let zip = zip.finish().unwrap().into_inner();
        assert_eq!(check("a.bin", &zip), Ok(zip.len() as u64));
        assert_eq!(check("a.bin", b"\x80\x02legacy pickle"), Ok(15));
    }

    #[test]
    fn every_cut_of_a_safetensors_file_is_seen() {
        let whole = safetensors();
        for length in 0..whole.len() {
            let cut = check("model.safetensors", &whole[..length]);
            assert!(cut.is_err(), "{length}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(check("model.safetensors", &longer).is_err());
    }

    #[test]
    fn pages_and_cut_files_are_named() {
        for name in [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "vocab.txt",
        ] {
            let page = check(name, b"\n<!DOCTYPE HTML><title>Sign in</title>");
            assert!(page.unwrap_err().contains("is a web page"), "{name}");
        }
        assert!(check("config.json", b"{\"a\": [1").is_err());
        assert!(check("config.json", b"[1]").is_err());
        assert!(check("a.bin", b"PK\x03\x04 and then nothing").is_err());
        assert!(check("model.safetensors", &[0xff; 64]).is_err());
        assert!(check_whole(Path::new("/"), "config.json").is_err());
    }
}
