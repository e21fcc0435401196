//! The output: written beside its place and renamed, so that it exists completely or not at all.

use super::{ExportError, Format};
use crate::output::{remove_if_there, sync_folder};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// Ending of what is not complete.
const NEW: &str = ".new";

/// Refuses what is at the place of the output, unless it may be replaced.
pub(super) fn check(out: &Path, format: Format, force: bool) -> Result<(), ExportError> {
    let Ok(metadata) = fs::symlink_metadata(out) else {
        return match out.file_name() {
            Some(_) => Ok(()),
            None => Err(foreign(out, "is not a name for a file")),
        };
    };
    if !force {
        return Err(ExportError::Exists {
            path: out.to_path_buf(),
        });
    }
    match (format, metadata.is_dir()) {
        (Format::Pt, true) => check_folder(out),
        (Format::Pt, false) => Err(foreign(out, "is not a folder")),
        (_, false) => Ok(()),
        (_, true) => Err(foreign(out, "is a folder")),
    }
}

/// Refuses a folder with anything but files of `pt`.
fn check_folder(out: &Path) -> Result<(), ExportError> {
    for entry in fs::read_dir(out).map_err(ExportError::io(out))? {
        let entry = entry.map_err(ExportError::io(out))?;
        let is_file = entry.file_type().map_err(ExportError::io(out))?.is_file();
        if !is_file || entry.path().extension().is_none_or(|ending| ending != "pt") {
            return Err(foreign(
                out,
                "has other files than those of an export to pt",
            ));
        }
    }
    Ok(())
}

fn foreign(out: &Path, what: &str) -> ExportError {
    ExportError::Foreign {
        path: out.to_path_buf(),
        what: what.to_owned(),
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

/// A file that is not complete. It is removed when it is dropped.
pub(super) struct NewFile {
    out: PathBuf,
    beside: PathBuf,
}

impl NewFile {
    /// Begins a file, in a folder that is made if it is not there.
    pub(super) fn create(out: &Path) -> Result<(Self, File), ExportError> {
        let new = Self {
            out: out.to_path_buf(),
            beside: beside(out, NEW),
        };
        if let Some(folder) = out.parent() {
            fs::create_dir_all(folder).map_err(ExportError::io(folder))?;
        }
        let failed = ExportError::io(&new.beside);
        // Of a run that was killed.
        remove_if_there(&new.beside).map_err(&failed)?;
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&new.beside);
        let file = file.map_err(failed)?;
        Ok((new, file))
    }

    /// Puts the complete file into its place.
    pub(super) fn finish(self, file: BufWriter<File>) -> Result<(), ExportError> {
        let place = || {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&self.beside, &self.out)?;
            sync_parent(&self.out)
        };
        place().map_err(ExportError::io(&self.out))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After it was renamed, there is nothing to remove.
        let _ = fs::remove_file(&self.beside);
    }
}

/// A folder of files that is not complete. It is removed when it is dropped.
pub(super) struct NewFolder {
    out: PathBuf,
    beside: PathBuf,
}

impl NewFolder {
    /// Begins a folder, in one that is made if it is not there.
    pub(super) fn create(out: &Path) -> Result<Self, ExportError> {
        let new = Self {
            out: out.to_path_buf(),
            beside: beside(out, NEW),
        };
        if fs::symlink_metadata(&new.beside).is_ok() {
            // Of a run that was killed, or else nothing is removed.
            check_folder(&new.beside)?;
            fs::remove_dir_all(&new.beside).map_err(ExportError::io(&new.beside))?;
        }
        fs::create_dir_all(&new.beside).map_err(ExportError::io(&new.beside))?;
        Ok(new)
    }

    /// The folder to write into.
    pub(super) fn path(&self) -> &Path {
        &self.beside
    }

    /// Puts the complete folder into its place.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        let place = || {
            sync_folder(&self.beside)?;
            let old = beside(&self.out, ".old");
            let replaces = fs::symlink_metadata(&self.out).is_ok();
            if replaces {
                // Of a run that was killed between the next two steps.
                if fs::symlink_metadata(&old).is_ok() && check_folder(&old).is_ok() {
                    fs::remove_dir_all(&old)?;
                }
                fs::rename(&self.out, &old)?;
            }
            fs::rename(&self.beside, &self.out)?;
            sync_parent(&self.out)?;
            match replaces {
                true => fs::remove_dir_all(&old),
                false => Ok(()),
            }
        };
        place().map_err(ExportError::io(&self.out))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // After it was renamed, there is nothing to remove.
        let _ = fs::remove_dir_all(&self.beside);
    }
}
