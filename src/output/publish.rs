//! Moves the files of a finished run from the working folder to their place, `run.json` last.

use super::checksum::ListReader;
use super::disk;
use super::error::OutputError;
use super::layout::{RUN_JSON, is_file_name, is_folder_name};
use super::log::Log;
use super::manifest::{Listed, Manifest};
use std::io;
use std::path::Path;

/// Replaces the run that `old` lists by the one in `partial`.
///
/// The order keeps every moment honest: `run.json` of the old run goes first and that of the new
/// one comes last, so in between the folder does not look complete.
pub(super) fn publish(
    dir: &Path,
    partial: &Path,
    manifest: &Manifest,
    old: &Listed,
) -> Result<(), OutputError> {
    let bytes = manifest
        .to_bytes()
        .map_err(|e| OutputError::io("encoding", Path::new(RUN_JSON), e))?;
    let run_json = partial.join(RUN_JSON);
    let mut log = Log::create(run_json.clone())?;
    log.write(&bytes)?;
    log.close()?;
    sync_file(&run_json)?;
    sync_folder(partial)?;

    remove_run(dir, old)?;

    for folder in &manifest.folders {
        move_folder(&partial.join(&folder.name), &dir.join(&folder.name))?;
    }
    for file in &manifest.files {
        rename(&partial.join(&file.name), &dir.join(&file.name))?;
    }
    sync_folder(dir)?;
    rename(&run_json, &dir.join(RUN_JSON))?;
    sync_folder(dir)?;
    // The run is complete now. What may be left of the working folder, such as a file that a
    // network file system holds back, does not change that, and `inspect` tells of it.
    let _ = std::fs::remove_dir_all(partial);
    Ok(())
}

/// Removes what a run listed, its `run.json` first: from then on the folder does not look complete.
pub(super) fn remove_run(dir: &Path, old: &Listed) -> Result<(), OutputError> {
    remove(&dir.join(RUN_JSON))?;
    sync_folder(dir)?;
    for folder in old.folders().filter(|name| is_folder_name(name)) {
        remove_folder(dir, folder)?;
    }
    for file in old.files().filter(|name| is_file_name(name)) {
        remove(&dir.join(file))?;
    }
    Ok(())
}

/// Removes the files of a folder of per-record files that its list of checksums names, and the
/// folders that this leaves empty.
fn remove_folder(dir: &Path, folder: &str) -> Result<(), OutputError> {
    let path = dir.join(folder);
    if !is_real_folder(&path)? {
        return Ok(());
    }
    let list = dir.join(format!("{folder}.sha256"));
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
        // A link in the place of a sub-folder would lead out of the output folder.
        if is_real_folder(&path.join(&listed.sub))? {
            remove(&path.join(&listed.sub).join(&listed.name))?;
        }
    }
    remove_if_empty(&path.join(&last));
    remove_if_empty(&path);
    Ok(())
}

/// Moves a folder; where one of that name holds files of somebody else, its files beside those.
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

/// Removes a folder unless something is in it, which then is not of a run and stays.
fn remove_if_empty(path: &Path) {
    let _ = std::fs::remove_dir(path);
}

fn is_real_folder(path: &Path) -> Result<bool, OutputError> {
    disk::is_real_folder(path).map_err(|e| OutputError::io("reading", path, e))
}

fn sync_folder(path: &Path) -> Result<(), OutputError> {
    disk::sync_folder(path).map_err(|e| OutputError::io("syncing", path, e))
}

fn sync_file(path: &Path) -> Result<(), OutputError> {
    disk::open_regular(path)
        .and_then(|file| file.sync_all())
        .map_err(|e| OutputError::io("syncing", path, e))
}
