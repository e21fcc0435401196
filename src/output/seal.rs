//! Makes the files of a finished run durable and takes their checksums, reading them back.

use super::checksum::{Listed, sha256};
use super::counts::Counts;
use super::disk;
use super::error::OutputError;
use super::layout::Layout;
use super::log::Log;
use super::manifest::{FileEntry, FolderEntry};
use super::place::PlaceReader;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that read at the same time, at most.
const MOST_THREADS: usize = 4;

/// What stands in `run.json` about files.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    pub(super) files: Vec<FileEntry>,
    pub(super) folders: Vec<FolderEntry>,
}

/// Syncs every file of the run below `partial` and takes its checksum.
pub(super) fn seal(
    partial: &Path,
    layout: &Layout,
    counts: &Counts,
    is_shard: bool,
) -> Result<Sealed, OutputError> {
    let folders = layout.residues_folders();
    if !folders.is_empty() {
        disk::sync_tree(partial).map_err(|e| OutputError::io("syncing", partial, e))?;
    }
    let layers = &layout.layers;
    let folders = in_parallel(folders.len(), |i| match layers.get(i) {
        Some(&layer) => seal_folder(partial, layer, counts.records).map(Some),
        None => Ok(None),
    })?;

    let files = layout.files(counts, is_shard);
    let files = in_parallel(files.len(), |i| match files.get(i) {
        Some((name, shape)) => seal_file(partial, name, *shape, layout).map(Some),
        None => Ok(None),
    })?;
    Ok(Sealed {
        files: files.into_iter().flatten().collect(),
        folders: folders.into_iter().flatten().collect(),
    })
}

fn seal_file(
    partial: &Path,
    name: &str,
    shape: Option<[u64; 2]>,
    layout: &Layout,
) -> Result<FileEntry, OutputError> {
    let path = partial.join(name);
    let mut file = disk::open_regular(&path).map_err(|e| OutputError::io("opening", &path, e))?;
    file.sync_all()
        .map_err(|e| OutputError::io("syncing", &path, e))?;
    let (bytes, sha256) = sha256(&mut file).map_err(|e| OutputError::io("reading", &path, e))?;
    let dtype = shape.map(|_| layout.dtype);
    Ok(FileEntry {
        name: name.into(),
        bytes,
        sha256,
        shape,
        dtype,
    })
}

/// Writes the list of checksums of one folder of per-record files, in the order of rows.
fn seal_folder(partial: &Path, layer: usize, records: u64) -> Result<FolderEntry, OutputError> {
    let folder = Layout::residues_folder(layer);
    let checksums = Layout::checksum_file(layer);
    let places = PlaceReader::open(partial, true)?;
    let mut list = Log::create(partial.join(&checksums))?;
    let mut total = 0;
    for row in 0..records {
        let name = places.get(row)?.file.unwrap_or_default();
        let sub = Layout::sub_folder(row);
        let path = partial.join(&folder).join(&sub).join(&name);
        let mut file =
            disk::open_regular(&path).map_err(|e| OutputError::io("opening", &path, e))?;
        disk::sync_small_file(&file).map_err(|e| OutputError::io("syncing", &path, e))?;
        let (bytes, sha256) =
            sha256(&mut file).map_err(|e| OutputError::io("reading", &path, e))?;
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

/// The results of `job(0)` … `job(count - 1)`, in that order, or the first error met.
fn in_parallel<T: Send>(
    count: usize,
    job: impl Fn(usize) -> Result<T, OutputError> + Sync,
) -> Result<Vec<T>, OutputError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return Ok(done);
            }
            match job(i) {
                Ok(result) => done.push((i, result)),
                Err(error) => {
                    next.store(count, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let mut results = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(MOST_THREADS).min(count))
            .map(|_| scope.spawn(work))
            .collect();
        let mut results = work()?;
        for other in others {
            match other.join() {
                Ok(done) => results.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, OutputError>(results)
    })?;
    results.sort_by_key(|(i, _)| *i);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_an_error_is_returned() {
        assert_eq!(in_parallel(100, Ok).unwrap(), (0..100).collect::<Vec<_>>());
        assert!(in_parallel(0, Ok).unwrap().is_empty());
        let failed = in_parallel(100, |i| {
            if i == 50 {
                Err(OutputError::NotInLayout { what: "x".into() })
            } else {
                Ok(i)
            }
        });
        assert!(matches!(failed, Err(OutputError::NotInLayout { .. })));
    }
}
