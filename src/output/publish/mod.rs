//! Moves the files of a finished run from the working folder to their places, `run.json` last.
//!
//! Each step can be repeated after a crash, so the two folders show how far the run got:
//!
//! | in `.partial` | in the output folder | |
//! |---|---|---|
//! | `run.json` | `run.json` | sealed; the run that is to be replaced is still complete |
//! | `run.json`, `replaced.json` | | files of that run are being removed |
//! | `run.json` | | files are being moved |
//! | | `run.json` | complete |

pub(crate) mod occupied;
pub(crate) mod seal;

use crate::output::array::checksum_list;
use crate::output::checksum::ListReader;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::{RUN_JSON, is_file_name, is_folder_name};
use crate::output::lock::LOCK;
use crate::output::manifest::{Listed, Manifest};
use crate::output::resume::run_identity::BEGUN_JSON;
use std::io;
use std::path::Path;

/// Name in the working folder of the `run.json` of the run that is being replaced.
const REPLACED_JSON: &str = "replaced.json";

/// Seals the run in `partial` with its `run.json`, and moves its files.
pub(crate) fn publish(
    dir: &Path,
    partial: &Path,
    manifest: &Manifest,
    replaces: bool,
) -> Result<(), OutputError> {
    let run_json = partial.join(RUN_JSON);
    let bytes = manifest
        .to_bytes()
        .map_err(|e| OutputError::io("encoding", &run_json, e))?;
    disk::replace(&run_json, &bytes).map_err(|e| OutputError::io("writing", &run_json, e))?;
    carry_out(dir, partial, manifest, replaces)
}

/// Moves the files of a sealed run that are not in their places yet.
///
/// `run.json` of an older run is moved away first and the new one arrives last, so in between the
/// folder does not look complete.
pub(crate) fn carry_out(
    dir: &Path,
    partial: &Path,
    manifest: &Manifest,
    replaces: bool,
) -> Result<(), OutputError> {
    check_names(partial, manifest)?;
    if !replaces {
        check_free(dir, partial, manifest)?;
    }
    let (old, replaced) = (dir.join(RUN_JSON), partial.join(REPLACED_JSON));
    if is_there(&old)? {
        rename(&old, &replaced)?;
        sync_folder(partial)?;
        sync_folder(dir)?;
    }
    if is_there(&replaced)? {
        remove_old(dir, &Listed::read_file(&replaced).unwrap_or_default())?;
        sync_folder(dir)?;
        remove(&replaced)?;
        sync_folder(partial)?;
    }

    for folder in &manifest.folders {
        let from = partial.join(&folder.name);
        if is_real_folder(&from)? {
            move_folder(&from, &dir.join(&folder.name))?;
        }
    }
    for file in &manifest.files {
        let from = partial.join(&file.name);
        let to = dir.join(&file.name);
        if is_there(&from)? {
            rename(&from, &to)?;
        }
        check_moved(&to, file.bytes)?;
    }
    sync_folder(dir)?;

    // Without this file, what is left in the working folder does not count as work.
    remove(&partial.join(BEGUN_JSON))?;
    remove_rest(partial);
    sync_folder(partial)?;
    rename(&partial.join(RUN_JSON), &dir.join(RUN_JSON))?;
    sync_folder(dir)
}

/// Removes the files of a run that was interrupted while it was published, and is to be discarded:
/// those that it had moved, and those of an older run that it was about to remove.
pub(crate) fn take_back(dir: &Path, partial: &Path) -> Result<(), OutputError> {
    if is_there(&dir.join(RUN_JSON))? {
        // It had moved nothing: the older run is complete.
        return Ok(());
    }
    let (sealed, replaced) = (partial.join(RUN_JSON), partial.join(REPLACED_JSON));
    let sealed = Listed::read_file(&sealed).unwrap_or_default();
    let replaced = Listed::read_file(&replaced).unwrap_or_default();
    remove_old(dir, &replaced)?;
    let is_moved = |name: &str| Ok::<_, OutputError>(!is_there(&partial.join(name))?);
    for folder in sealed.folders().filter(|name| is_folder_name(name)) {
        if is_moved(folder)? {
            // Its list has been moved as well, or is still in the working folder.
            let list = checksum_list(folder);
            if is_there(&partial.join(&list))? {
                rename(&partial.join(&list), &dir.join(&list))?;
            }
            remove_folder(dir, folder)?;
        }
    }
    for file in sealed.files().filter(|name| is_file_name(name)) {
        if is_moved(file)? {
            remove(&dir.join(file))?;
        }
    }
    sync_folder(dir)
}

/// Refuses a `run.json` with names that no run writes.
fn check_names(partial: &Path, manifest: &Manifest) -> Result<(), OutputError> {
    let folders = &manifest.folders;
    if manifest.files.iter().all(|file| is_file_name(&file.name))
        && folders.iter().all(|folder| is_folder_name(&folder.name))
    {
        return Ok(());
    }
    Err(OutputError::NotResumable {
        path: partial.join(RUN_JSON),
        what: "lists files that no run writes".into(),
    })
}

/// Refuses to move a file over one that appeared during the run.
fn check_free(dir: &Path, partial: &Path, manifest: &Manifest) -> Result<(), OutputError> {
    let files = manifest.files.iter().map(|file| &file.name);
    let folders = manifest.folders.iter().map(|folder| &folder.name);
    let run_json = RUN_JSON.to_owned();
    for name in files.chain(folders).chain([&run_json]) {
        if is_there(&partial.join(name))? && is_there(&dir.join(name))? {
            return Err(OutputError::Exists {
                dir: dir.to_path_buf(),
                found: name.clone(),
            });
        }
    }
    Ok(())
}

/// Removes the files of the run that is replaced.
fn remove_old(dir: &Path, old: &Listed) -> Result<(), OutputError> {
    for folder in old.folders().filter(|name| is_folder_name(name)) {
        remove_folder(dir, folder)?;
    }
    for file in old.files().filter(|name| is_file_name(name)) {
        remove(&dir.join(file))?;
    }
    Ok(())
}

/// Checks that a file in its place has the size that it was sealed with.
fn check_moved(path: &Path, bytes: u64) -> Result<(), OutputError> {
    let metadata =
        std::fs::symlink_metadata(path).map_err(|e| OutputError::io("reading", path, e))?;
    if metadata.is_file() && metadata.len() == bytes {
        return Ok(());
    }
    Err(OutputError::Incomplete {
        file: path.to_string_lossy().into_owned(),
        expected: bytes,
        found: metadata.len(),
    })
}

/// Removes what the run no longer needs. What cannot be removed does no harm.
fn remove_rest(partial: &Path) {
    let Ok(entries) = std::fs::read_dir(partial) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == RUN_JSON || name == LOCK {
            continue;
        }
        let _ = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => std::fs::remove_dir_all(entry.path()),
            false => std::fs::remove_file(entry.path()),
        };
    }
}

/// Removes a finished run, `run.json` first, so that the folder does not look complete any more.
pub(crate) fn remove_run(dir: &Path, run: &Listed) -> Result<(), OutputError> {
    remove(&dir.join(RUN_JSON))?;
    sync_folder(dir)?;
    remove_old(dir, run)
}

/// Removes the files of a folder of per-record files that its list of checksums names, and then the
/// empty folders.
fn remove_folder(dir: &Path, folder: &str) -> Result<(), OutputError> {
    let path = dir.join(folder);
    if !is_real_folder(&path)? {
        return Ok(());
    }
    let list = dir.join(checksum_list(folder));
    let lines = match ListReader::open(&list, folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.map_err(|e| OutputError::io("opening", &list, e))?,
    };
    let mut last = String::new();
    for listed in lines {
        let Some(listed) = listed.map_err(|e| OutputError::io("reading", &list, e))? else {
            continue;
        };
        if listed.sub != last {
            remove_if_empty(&path.join(&last));
            last.clone_from(&listed.sub);
        }
        // A link instead of a sub-folder would lead out of the output folder.
        if is_real_folder(&path.join(&listed.sub))? {
            remove(&path.join(&listed.sub).join(&listed.name))?;
        }
    }
    remove_if_empty(&path.join(&last));
    remove_if_empty(&path);
    Ok(())
}

/// Moves a folder. If the target exists, with files that no run wrote, its files are added to them.
fn move_folder(from: &Path, to: &Path) -> Result<(), OutputError> {
    if disk::kind(to)
        .map_err(|e| OutputError::io("reading", to, e))?
        .is_none()
    {
        rename(from, to)?;
        return Ok(());
    }
    if !is_real_folder(to)? {
        return Err(OutputError::InTheWay {
            path: to.to_path_buf(),
        });
    }
    let reading = |e| OutputError::io("reading", from, e);
    for entry in std::fs::read_dir(from).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(reading)?.is_dir() {
            move_folder(&entry.path(), &target)?;
        } else {
            rename(&entry.path(), &target)?;
        }
    }
    sync_folder(to)
}

fn rename(from: &Path, to: &Path) -> Result<(), OutputError> {
    std::fs::rename(from, to).map_err(|e| OutputError::io("moving a finished file to", to, e))
}

fn remove(path: &Path) -> Result<(), OutputError> {
    disk::remove_if_there(path).map_err(|e| OutputError::io("removing", path, e))
}

/// Removes a folder if it is empty; anything in it was not written by a run and stays.
fn remove_if_empty(path: &Path) {
    let _ = std::fs::remove_dir(path);
}

fn is_real_folder(path: &Path) -> Result<bool, OutputError> {
    disk::is_real_folder(path).map_err(|e| OutputError::io("reading", path, e))
}

fn is_there(path: &Path) -> Result<bool, OutputError> {
    let kind = disk::kind(path).map_err(|e| OutputError::io("reading", path, e))?;
    Ok(kind.is_some())
}

fn sync_folder(path: &Path) -> Result<(), OutputError> {
    disk::sync_folder(path).map_err(|e| OutputError::io("syncing", path, e))
}
