//! Makes the files of a finished run durable and takes their checksums, reading them back.

use crate::output::append_file::AppendFile;
use crate::output::checksum::{Listed, pieces, sha256};
use crate::output::counts::Counts;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::Layout;
use crate::output::manifest::{FileEntry, FolderEntry};
use crate::output::place::PlaceReader;
use crate::output::threads::Threads;
use std::fs::File;
use std::path::Path;

/// What stands in `run.json` about files.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    pub(crate) files: Vec<FileEntry>,
    pub(crate) folders: Vec<FolderEntry>,
}

/// Syncs every file of the run below `partial` and takes its checksum.
pub(crate) fn seal(
    partial: &Path,
    layout: &Layout,
    counts: &Counts,
    is_shard: bool,
    has_ids: bool,
    threads: &Threads,
) -> Result<Sealed, OutputError> {
    let folders = layout.residues_folders();
    if !folders.is_empty() {
        disk::sync_tree(partial).map_err(|e| OutputError::io("syncing", partial, e))?;
    }
    let layers = &layout.layers;
    let folders = threads.map(folders.len(), |i| match layers.get(i) {
        Some(&layer) => seal_folder(partial, layer, counts.records, threads).map(Some),
        None => Ok(None),
    })?;

    let files = layout.files(counts, is_shard, has_ids);
    // Syncs wait for the disk together; the checksum of one large file keeps all threads busy.
    let synced = threads.map(files.len(), |i| match files.get(i) {
        Some((name, _)) => open_synced(&partial.join(name)).map(Some),
        None => Ok(None),
    })?;
    let files = files
        .into_iter()
        .zip(synced.into_iter().flatten())
        .map(|((name, shape), file)| seal_file(partial, &file, name, shape, layout, threads))
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
    shape: Option<[u64; 2]>,
    layout: &Layout,
    threads: &Threads,
) -> Result<FileEntry, OutputError> {
    let path = partial.join(&name);
    let reading = |e| OutputError::io("reading", &path, e);
    let bytes = file.metadata().map_err(reading)?.len();
    let pieces = pieces(bytes);
    let sha256 = sha256(file, bytes, pieces, threads).map_err(reading)?;
    let dtype = shape.map(|_| layout.dtype);
    Ok(FileEntry {
        name,
        bytes,
        sha256,
        pieces,
        shape,
        dtype,
    })
}

/// Writes the list of checksums of one folder of per-record files, in the order of rows.
fn seal_folder(
    partial: &Path,
    layer: usize,
    records: u64,
    threads: &Threads,
) -> Result<FolderEntry, OutputError> {
    let folder = Layout::residues_folder(layer);
    let checksums = Layout::checksum_file(layer);
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
        list.write(Listed { sha256, sub, name }.line(&folder).as_bytes())?;
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
