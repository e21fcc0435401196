//! Files of pictures: written beside their place and renamed, so that each exists completely or not at
//! all.

use super::PlotError;
use crate::output;
use std::fs;
use std::path::{Path, PathBuf};

/// Whether existing files are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They are an error.
    Keep,
    /// They are replaced.
    Replace,
}

/// The folder beside an output folder for what is made of it: `emb-map` for `emb/`. None for a path
/// without a name, such as `/` or `..`.
pub fn beside(dir: &Path, ending: &str) -> Option<PathBuf> {
    let named = match dir.file_name() {
        Some(_) => dir.to_path_buf(),
        // The folder `.` has a name, too.
        None if dir.components().all(|part| part.as_os_str() == ".") => {
            std::path::absolute(dir).ok()?
        }
        None => return None,
    };
    let mut name = named.file_name()?.to_owned();
    name.push(ending);
    Some(named.with_file_name(name))
}

/// Refuses a file that exists, unless it is to be replaced and is a file that can be.
pub(super) fn check(path: &Path, existing: Existing) -> Result<(), PlotError> {
    if let Some(what) = output::unfit_for_file(path) {
        return Err(PlotError::Unfit {
            path: path.to_path_buf(),
            what,
        });
    }
    match existing == Existing::Keep && fs::symlink_metadata(path).is_ok() {
        true => Err(PlotError::Exists {
            path: path.to_path_buf(),
        }),
        false => Ok(()),
    }
}

/// Refuses a name that is that of a file, or of standard output.
pub(super) fn check_is_folder(dir: &Path) -> Result<(), PlotError> {
    let endings = ["png", "svg", "pdf", "html", "tsv"];
    let ending = dir.extension().and_then(|ending| ending.to_str());
    let is_name_of_file = dir.as_os_str() == "-" || ending.is_some_and(|e| endings.contains(&e));
    match !dir.is_dir() && (is_name_of_file || dir.exists()) {
        true => Err(PlotError::NotAFolder {
            out: dir.to_path_buf(),
        }),
        false => Ok(()),
    }
}

/// Makes a folder, if it is not there.
pub(super) fn make_folder(dir: &Path) -> Result<(), PlotError> {
    fs::create_dir_all(dir).map_err(|error| PlotError::io(dir, error))
}

/// Writes a file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), PlotError> {
    output::replace(path, bytes).map_err(|error| PlotError::io(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_no_folders() {
        let home = tempfile::tempdir().unwrap();
        let dir = |name: &str| home.path().join(name);
        fs::write(dir("file"), "").unwrap();
        fs::create_dir(dir("old.png")).unwrap();
        for name in ["file", "map.png", "map.html", "a/map.svg"] {
            let error = check_is_folder(&dir(name)).unwrap_err().to_string();
            let says = "/NAME` is the name of a file, and pictures are written into a folder\nhint: give a folder";
            assert!(error.ends_with(&says.replace("NAME", name)), "{error}");
        }
        assert!(check_is_folder(Path::new("-")).is_err());
        for name in ["new", "new/", "old.png", "esm2.650M", "."] {
            assert!(check_is_folder(&dir(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_folder_beside_another() {
        let beside = |dir: &str| super::beside(Path::new(dir), "-map");
        assert_eq!(beside("emb/"), Some("emb-map".into()));
        assert_eq!(beside("/a/b.c"), Some("/a/b.c-map".into()));
        assert_eq!(beside(".."), None);
        assert_eq!(beside("a/.."), None);
        assert_eq!(beside("/"), None);
        let here = std::env::current_dir().unwrap();
        let name = here.file_name().unwrap().to_str().unwrap();
        assert_eq!(
            beside("."),
            Some(here.with_file_name(format!("{name}-map")))
        );
    }
}
