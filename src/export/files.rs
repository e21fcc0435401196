//! The output: written beside its place and renamed, so that it exists completely or not at all.

use super::{ExportError, Format};
use crate::flock::{self, Lock};
use crate::output::{remove_if_there, sync_folder, unfit_for_file};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// Ending of what is not complete.
const NEW: &str = ".new";

/// Refuses what is at the place of the output, unless it may be replaced.
pub(super) fn check(out: &Path, format: Format, force: bool) -> Result<(), ExportError> {
    let out = match format {
        Format::Pt => folder_path(out),
        _ => out,
    };
    let is_folder = out.is_dir();
    let what = match format {
        Format::Pt if is_folder && out.file_name().is_some() => None,
        Format::Pt if out.is_file() => Some("is not a folder, so it is not replaced"),
        _ => unfit_for_file(out),
    };
    if let Some(what) = what {
        return Err(unfit(out, what));
    }
    if !force && fs::symlink_metadata(out).is_ok() {
        return Err(ExportError::Exists {
            path: out.to_path_buf(),
        });
    }
    match is_folder {
        true => check_folder(out),
        false => Ok(()),
    }
}

/// The path of a folder without a `/` at its end, which would follow a link.
fn folder_path(out: &Path) -> &Path {
    out.components().as_path()
}

/// Refuses a folder with anything but files of `pt`.
fn check_folder(out: &Path) -> Result<(), ExportError> {
    for entry in fs::read_dir(out).map_err(ExportError::io(out))? {
        let entry = entry.map_err(ExportError::io(out))?;
        let is_file = entry.file_type().map_err(ExportError::io(out))?.is_file();
        if !is_file || entry.path().extension().is_none_or(|ending| ending != "pt") {
            return Err(unfit(
                out,
                "has other files than those of an export to pt, so it is not replaced",
            ));
        }
    }
    Ok(())
}

fn unfit(out: &Path, what: &'static str) -> ExportError {
    ExportError::UnfitPlace {
        path: out.to_path_buf(),
        what,
    }
}

/// Where the output is written until it is complete.
fn beside(out: &Path, ending: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    out.with_file_name(name)
}

fn sync_parent(out: &Path) -> io::Result<()> {
    match out.parent() {
        Some(folder) if folder.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Locks what is written, so that another export to the same place does not write it too; false if the
/// path names something else by now.
fn lock(file: &File, beside: &Path, out: &Path) -> Result<bool, ExportError> {
    match flock::try_lock(file, beside).map_err(ExportError::io(beside))? {
        Lock::Held | Lock::Unsupported => Ok(true),
        Lock::Replaced => Ok(false),
        Lock::Busy => Err(ExportError::Busy {
            path: out.to_path_buf(),
        }),
    }
}

/// A file that is not complete. It is removed when it is dropped.
pub(super) struct NewFile {
    out: PathBuf,
    beside: PathBuf,
    is_placed: bool,
}

impl NewFile {
    /// Begins a file, in a folder that is made if it is not there.
    pub(super) fn create(out: &Path) -> Result<(Self, File), ExportError> {
        let beside = beside(out, NEW);
        if let Some(folder) = out.parent() {
            fs::create_dir_all(folder).map_err(ExportError::io(folder))?;
        }
        let failed = ExportError::io(&beside);
        let file = loop {
            if fs::symlink_metadata(&beside).is_ok_and(|found| !found.is_file()) {
                remove_if_there(&beside).map_err(&failed)?;
            }
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&beside).map_err(&failed)?;
            if lock(&file, &beside, out)? {
                break file;
            }
        };
        let new = Self {
            out: out.to_path_buf(),
            beside,
            is_placed: false,
        };
        // Of a run that was killed.
        file.set_len(0).map_err(failed)?;
        Ok((new, file))
    }

    /// Puts the complete file into its place.
    pub(super) fn finish(mut self, file: BufWriter<File>) -> Result<(), ExportError> {
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        let file = file.map_err(ExportError::io(&self.out))?;
        let place = || {
            file.sync_all()?;
            fs::rename(&self.beside, &self.out)
        };
        place().map_err(ExportError::io(&self.out))?;
        self.is_placed = true;
        sync_parent(&self.out).map_err(ExportError::io(&self.out))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// A folder of files that is not complete. It is removed when it is dropped.
pub(super) struct NewFolder {
    out: PathBuf,
    beside: PathBuf,
    is_placed: bool,
    /// Holds the lock.
    _open: File,
}

impl NewFolder {
    /// Begins a folder, in one that is made if it is not there.
    pub(super) fn create(out: &Path) -> Result<Self, ExportError> {
        let out = folder_path(out);
        let beside = beside(out, NEW);
        let failed = ExportError::io(&beside);
        let open = loop {
            fs::create_dir_all(&beside).map_err(&failed)?;
            let open = File::open(&beside).map_err(&failed)?;
            if lock(&open, &beside, out)? {
                break open;
            }
        };
        // Of a run that was killed, or else nothing is removed.
        check_folder(&beside)?;
        for entry in fs::read_dir(&beside).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            fs::remove_file(entry.path()).map_err(&failed)?;
        }
        Ok(Self {
            out: out.to_path_buf(),
            beside,
            is_placed: false,
            _open: open,
        })
    }

    /// The folder to write into.
    pub(super) fn path(&self) -> &Path {
        &self.beside
    }

    /// Puts the complete folder into its place.
    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        let old = beside(&self.out, ".old");
        let replaces = fs::symlink_metadata(&self.out).is_ok();
        let place = || {
            sync_folder(&self.beside)?;
            if replaces {
                // Of a run that was killed between the next two steps.
                if fs::symlink_metadata(&old).is_ok() && check_folder(&old).is_ok() {
                    fs::remove_dir_all(&old)?;
                }
                fs::rename(&self.out, &old)?;
            }
            fs::rename(&self.beside, &self.out)
        };
        place().map_err(ExportError::io(&self.out))?;
        self.is_placed = true;
        let end = || {
            sync_parent(&self.out)?;
            match replaces {
                true => fs::remove_dir_all(&old),
                false => Ok(()),
            }
        };
        end().map_err(ExportError::io(&self.out))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_dir_all(&self.beside);
        }
    }
}
