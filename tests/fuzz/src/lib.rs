//! Shared by the fuzz targets.
//!
//! A target writes its input to files, opens them as the program does, and checks the promises: no
//! panic, memory within bounds, printable messages.

#![warn(missing_docs)]

pub mod archive;
pub mod bases;
pub mod checkpoint;
pub mod fasta;
pub mod memory;
pub mod message;
pub mod seeds;
pub mod work;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A file or folder of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name)
}

/// A folder of this process below `TMPDIR`, which `run.sh` removes.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| tempfile::tempdir().expect("a folder for temporary files"))
        .path()
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = <sha2::Sha256 as sha2::Digest>::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
