//! Makes the files of a finished run durable, reads them back and computes their checksums.

use crate::output::append_file::AppendFile;
use crate::output::array::{Array, checksum_list};
use crate::output::checksum::{ChecksumLine, pieces, sha256};
use crate::output::counts::Counts;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::{Layout, Tables};
use crate::output::manifest::{FileEntry, FolderEntry};
use crate::output::place::PlaceReader;
use crate::threads::Threads;
use std::fs::File;
use std::path::Path;

/// What `run.json` says about files.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    pub(crate) files: Vec<FileEntry>,
    pub(crate) folders: Vec<FolderEntry>,
}

/// Syncs every file of the run below `partial` and computes its checksum.
pub(crate) fn seal(
    partial: &Path,
    layout: &Layout,
    counts: &Counts,
    tables: Tables,
    threads: &Threads,
) -> Result<Sealed, OutputError> {
    let arrays = layout.file_arrays();
    if !arrays.is_empty() {
        disk::sync_tree(partial).map_err(|e| OutputError::io("syncing", partial, e))?;
    }
    let folders = threads.map(arrays.len(), |i| match arrays.get(i) {
        Some(array) => seal_folder(partial, array, counts.records, threads).map(Some),
        None => Ok(None),
    })?;

    let files = layout.files(counts, tables);
    // Syncs of several files overlap; the checksum of one large file keeps all threads busy.
    let synced = threads.map(files.len(), |i| match files.get(i) {
        Some((name, _)) => open_synced(&partial.join(name)).map(Some),
        None => Ok(None),
    })?;
    let files = files
        .into_iter()
        .zip(synced.into_iter().flatten())
        .map(|((name, array), file)| seal_file(partial, &file, name, array, counts, threads))
        .collect::<Result<_, _>>()?;
    Ok(Sealed {
        files,
        folders: folders.into_iter().flatten().collect(),
    })
}

fn open_synced(path: &Path) -> Result<File, OutputError> {
    let file = disk::open_regular(path).map_err(|e| OutputError::io("opening", path, e))?;
    file.sync_all()
        .map_err(|e| OutputError::io("syncing", path, e))?;
    Ok(file)
}

fn seal_file(
    partial: &Path,
    file: &File,
    name: String,
    array: Option<Array>,
    counts: &Counts,
    threads: &Threads,
) -> Result<FileEntry, OutputError> {
    let path = partial.join(&name);
    let reading = |e| OutputError::io("reading", &path, e);
    let bytes = file.metadata().map_err(reading)?.len();
    let pieces = pieces(bytes);
    let sha256 = sha256(file, bytes, pieces, threads).map_err(reading)?;
    Ok(FileEntry {
        name,
        bytes,
        sha256,
        pieces,
        shape: array.map(|array| array.packed_shape(array.elements(counts))),
        dtype: array.map(|array| array.dtype),
    })
}

/// Writes the list of checksums of one folder of per-record files, in the order of rows.
fn seal_folder(
    partial: &Path,
    array: &Array,
    records: u64,
    threads: &Threads,
) -> Result<FolderEntry, OutputError> {
    let folder = array.location();
    let checksums = checksum_list(&folder);
    let places = PlaceReader::open(partial, true)?;
    let mut list = AppendFile::create(partial.join(&checksums))?;
    let mut total = 0;
    for row in 0..records {
        let name = places.get(row)?.file.unwrap_or_default();
        let sub = Layout::sub_folder(row);
        let path = partial.join(&folder).join(&sub).join(&name);
        let file = disk::open_regular(&path).map_err(|e| OutputError::io("opening", &path, e))?;
        disk::sync_small_file(&file).map_err(|e| OutputError::io("syncing", &path, e))?;
        let reading = |e| OutputError::io("reading", &path, e);
        let bytes = file.metadata().map_err(reading)?.len();
        let sha256 = sha256(&file, bytes, None, threads).map_err(reading)?;
        list.write(ChecksumLine { sha256, sub, name }.line(&folder).as_bytes())?;
        total += bytes;
    }
    list.close()?;
    Ok(FolderEntry {
        name: folder,
        files: records,
        bytes: total,
        checksums,
    })
}
