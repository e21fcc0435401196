//! What is already in the output folder where a run puts its files.

use crate::output::array::Array;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::{Layout, RUN_JSON, is_file_name, is_folder_name};
use crate::output::manifest::Listed;
use std::path::Path;

/// Refuses anything that is where this run will put its files.
pub(crate) fn check_targets(
    dir: &Path,
    layout: &Layout,
    replaces: bool,
) -> Result<(), OutputError> {
    let arrays = layout.file_arrays();
    let folders: Vec<String> = arrays.iter().map(Array::location).collect();
    for name in layout.names() {
        let path = dir.join(&name);
        match disk::kind(&path).map_err(|e| OutputError::io("reading", &path, e))? {
            None => {}
            Some(_) if !replaces => {
                return Err(OutputError::Exists {
                    dir: dir.to_path_buf(),
                    found: name,
                });
            }
            // A file is replaced by moving the new one over it, and so is a link; a folder cannot
            // be, and only a real folder takes new files.
            Some(kind) if kind.is_dir() != folders.contains(&name) => {
                return Err(OutputError::InTheWay { path });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The files of the finished run in `dir`, all of them names that a run gives.
pub(crate) fn read_listed(dir: &Path) -> Result<Listed, OutputError> {
    let foreign = |what: String| OutputError::ForeignManifest {
        path: dir.join(RUN_JSON),
        what,
    };
    let listed = Listed::read(dir).map_err(|e| foreign(e.to_string()))?;
    let strange = listed
        .files()
        .find(|name| !is_file_name(name))
        .or_else(|| listed.folders().find(|name| !is_folder_name(name)));
    match strange {
        Some(name) => Err(foreign(format!("it lists {name:?}, which no run writes"))),
        None => Ok(listed),
    }
}
