//! Why an output folder cannot be read.

use crate::output::folder_files::RUN_JSON;
use crate::output::manifest::ManifestError;
use crate::printable;
use std::path::PathBuf;

/// Why an output folder, or something in it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no `run.json`.
    #[error(
        "{} has no {RUN_JSON}: it is not an output folder, or its run did not finish\n{}",
        dir.display(),
        match holds {
            None => "hint: give the folder that a run wrote\n\
                     hint: finish an interrupted run with `resume`".to_owned(),
            Some(folder) => format!(
                "hint: give a folder in it that has one, such as {}\nhint: merge shards first",
                folder.display()
            ),
        }
    )]
    NotComplete {
        /// The folder.
        dir: PathBuf,
        /// A folder in it that has one.
        holds: Option<PathBuf>,
    },

    /// The `run.json` cannot be used.
    #[error("{} {source}\nhint: run again into another folder", dir.join(RUN_JSON).display())]
    Manifest {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: ManifestError,
    },

    /// A shard of a linked folder is not what was linked.
    #[error(
        "{}: shard {number}/{of}, {}, {}\n\
         hint: move its folder back\n\
         hint: merge all shards again with `link` and `force`",
        dir.display(),
        path.display(),
        printable::text(what)
    )]
    Shard {
        /// The linked folder.
        dir: PathBuf,
        /// Number of the shard.
        number: u64,
        /// Number of all shards.
        of: u64,
        /// Its folder.
        path: PathBuf,
        /// What was found, as the predicate of a sentence.
        what: String,
    },

    /// A file does not match the `run.json`.
    #[error(
        "{}: {}\nhint: inspect the folder with `check` to see everything that is damaged",
        path.display(),
        printable::text(what)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}
