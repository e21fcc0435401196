//! Opens the arrays of an output folder, which is not trusted: never through a link, and only with
//! the header and the size that a run writes.

use crate::numerals::count;
use crate::output::array::Array;
use crate::output::disk;
use crate::output::npy::{HEADER_BYTES, parse_header};
use crate::output::shard_file::ShardFile;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The shape in the header of an array, which has to match the size of the file.
pub(super) fn header(file: &mut File, array: &Array) -> Result<Vec<u64>, String> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact(&mut bytes).map_err(unreadable)?;
    let (dtype, shape) = parse_header(&bytes)
        .ok_or("its first 128 bytes are not the header of an array that a run writes")?;
    if dtype != array.dtype {
        return Err(format!(
            "its header says {} numbers; run.json says {}",
            dtype.descr(),
            array.dtype.descr()
        ));
    }
    let found = file.metadata().map_err(unreadable)?.len();
    let values = shape.iter().fold(1, |n: u64, &size| n.saturating_mul(size));
    let bytes = values
        .saturating_mul(dtype.bytes())
        .saturating_add(HEADER_BYTES as u64);
    if bytes != found {
        return Err(format!(
            "its header says shape {shape:?}, which makes {}; it has {}",
            exact(bytes),
            exact(found)
        ));
    }
    Ok(shape)
}

pub(super) fn open(path: &Path) -> Result<File, String> {
    disk::open_regular(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        _ if matches!(disk::kind(path), Ok(Some(kind)) if kind.is_symlink()) => {
            "is a symbolic link, which no run creates; it was not followed".to_owned()
        }
        _ => unreadable(error),
    })
}

/// Opens one of many files, which stays open only if it is to be `kept`.
pub(super) fn open_among(path: &Path, is_kept: bool) -> Result<ShardFile, String> {
    ShardFile::new(open(path)?, path, is_kept).map_err(unreadable)
}

pub(super) fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}")
}

/// An exact size: two may differ by a single byte.
pub(super) fn exact(bytes: u64) -> String {
    count(bytes, "byte")
}
