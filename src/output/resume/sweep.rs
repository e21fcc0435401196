//! Removes files of records that the input of a resumed run does not have.
//!
//! An interrupted run may have written the file of a record without entering it in the journal. If
//! the input is a stream that continues differently after the last entry, no record has that file.

use crate::output::error::OutputError;
use crate::output::layout::Layout;
use crate::output::place::PlaceReader;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;

/// Removes all but the files of `records` records from each folder of per-record files.
pub(crate) fn sweep(partial: &Path, layout: &Layout, records: u64) -> Result<(), OutputError> {
    let arrays = layout.file_arrays();
    if arrays.is_empty() {
        return Ok(());
    }
    let places = PlaceReader::open(partial, true)?;
    for array in arrays {
        let folder = partial.join(array.location());
        for (name, path) in entries(&folder)? {
            match rows_of(&name, records) {
                None => remove(&path)?,
                Some(rows) => {
                    let mut expected = HashSet::new();
                    for row in rows {
                        let name = places.get(row)?.file.unwrap_or_default();
                        expected.insert(OsString::from(name));
                    }
                    for (name, path) in entries(&path)? {
                        if !expected.contains(&name) {
                            remove(&path)?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// The rows whose files belong in the sub-folder `name`, or `None` if there are none.
fn rows_of(name: &OsString, records: u64) -> Option<std::ops::Range<u64>> {
    let number: u64 = name.to_str()?.parse().ok()?;
    let rows = Layout::rows_of_folder(number)?;
    let rows = rows.start..rows.end.min(records);
    (!rows.is_empty() && *name == *Layout::sub_folder(rows.start)).then_some(rows)
}

fn entries(folder: &Path) -> Result<Vec<(OsString, std::path::PathBuf)>, OutputError> {
    let reading = |e| OutputError::io("reading", folder, e);
    let list = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.map_err(reading)?;
        Ok((entry.file_name(), entry.path()))
    };
    std::fs::read_dir(folder)
        .map_err(reading)?
        .map(list)
        .collect()
}

fn remove(path: &Path) -> Result<(), OutputError> {
    let is_folder = std::fs::symlink_metadata(path).map(|m| m.is_dir());
    let removed = match is_folder {
        Ok(true) => std::fs::remove_dir_all(path),
        Ok(false) => std::fs::remove_file(path),
        Err(e) => Err(e),
    };
    removed.map_err(|e| OutputError::io("removing", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_folder_has_its_rows_or_none() {
        let rows = |name: &str| rows_of(&name.into(), 1500);
        assert_eq!(rows("000000"), Some(0..1000));
        assert_eq!(rows("000001"), Some(1000..1500));
        for name in ["000002", "1", "0000001", "", "x", "18446744073709551615"] {
            assert_eq!(rows(name), None, "{name}");
        }
    }
}
