//! Opening and syncing files without following links.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ending of a file that is to replace another.
pub(super) const NEW: &str = ".new";

/// Creates a file for reading and writing; anything that exists at `path`, even a link, is an error.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

/// Opens a regular file for reading and writing, or creates it; a link, pipe or device is an error.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)?;
    regular(file)
}

/// Opens a regular file for reading: not a link, and not a pipe or device that would block.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    regular(file)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

/// Whether `path` is a folder and not a link to one; `false` if nothing is there.
pub(super) fn is_real_folder(path: &Path) -> io::Result<bool> {
    Ok(kind(path)?.is_some_and(|kind| kind.is_dir()))
}

/// The type of `path` itself, without following links; `None` if it does not exist.
pub(super) fn kind(path: &Path) -> io::Result<Option<std::fs::FileType>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some network file systems cannot sync a folder and say so with EINVAL.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Makes everything below `folder`, which may be a million small files, durable.
///
/// On Linux this is one call for the whole file system; one call per file could take longer than the
/// run itself. Elsewhere [`sync_small_file`] syncs each file.
pub(super) fn sync_tree(folder: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(File::open(folder)?)?;
    #[cfg(not(target_os = "linux"))]
    sync_folder(folder)?;
    Ok(())
}

/// Makes one of many small files durable where [`sync_tree`] does not sync them all.
pub(super) fn sync_small_file(file: &File) -> io::Result<()> {
    if cfg!(target_os = "linux") {
        Ok(())
    } else {
        file.sync_all()
    }
}

/// How the name begins that such a file has for a moment.
pub(crate) const UNNAMED: &str = ".esm-embed-";

/// A new file without a name, which is deleted when it is closed: on the file system where `out` is
/// or will be, or else in the system's folder for temporary files.
pub(crate) fn unnamed_file(out: &Path) -> io::Result<File> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let make = |folder: &Path| {
        let path = folder.join(format!("{UNNAMED}{}-{number}", std::process::id()));
        let file = create_new(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    };
    let absolute = std::path::absolute(out)?;
    let near = absolute.ancestors().find(|path| path.is_dir());
    match near.map(make) {
        Some(Ok(file)) => Ok(file),
        _ => make(&std::env::temp_dir()),
    }
}

/// Bytes that a user may still write where `dir` is or will be; `None` if that is unknown.
pub(crate) fn free_bytes(dir: &Path) -> Option<u64> {
    let absolute = std::path::absolute(dir).ok()?;
    let there = absolute.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Raises the limit on open files as far as this process may, and returns it.
pub(super) fn lift_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    // If that fails, the limit stays what it is.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Drops the clean pages of a file from memory, so that it is read from the disk again.
///
/// After a failed sync, pages that never reached the disk may count as clean.
pub(super) fn forget_pages(file: &File) {
    // This is only advice: a file system may ignore it. macOS has no such call, and its F_FULLFSYNC,
    // which `sync_all` uses, reports what did not reach the disk.
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Says that small pieces of a file are read anywhere, so that nothing is read ahead of them.
pub(super) fn read_at_random(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Bytes on the disk of all files below a folder, as far as they can be seen.
pub(super) fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        // Blocks of 512 bytes: a file may have holes.
        Ok(metadata) => metadata.blocks().saturating_mul(512),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

/// Bytes on the disk of the files directly in a folder.
pub(super) fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok());
    let files = files.filter(std::fs::Metadata::is_file);
    files.map(|file| file.blocks().saturating_mul(512)).sum()
}

/// Replaces a small file, so that it exists completely or not at all; what a crash of the machine leaves of
/// it does not matter.
pub(super) fn replace_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    remove_if_there(&beside)?;
    create_new(&beside)?.write_all(bytes)?;
    std::fs::rename(&beside, path)
}

/// Where a file is written that is to replace another.
fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(NEW);
    path.with_file_name(name)
}

/// Writes a small file durably, so that it exists completely or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    remove_if_there(&beside)?;
    let mut file = create_new(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Removes a file or link, if it exists.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
