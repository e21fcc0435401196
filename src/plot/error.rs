//! What can go wrong with a picture, and what to do about it.

use crate::numerals::count;
use crate::output::ReadError;
use crate::printable;
use std::io;
use std::path::{Path, PathBuf};

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The output folder cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),

    /// The run wrote no contacts.
    #[error(
        "{} has no contacts, only {}\nhint: run again with `include=contacts`, into another folder",
        dir.display(),
        printable::text(&arrays.join(", "))
    )]
    NoContacts {
        /// The output folder.
        dir: PathBuf,
        /// The arrays that it has.
        arrays: Vec<String>,
    },

    /// The run has no such pooled array.
    #[error(
        "{} has no {}{}",
        dir.display(),
        match name {
            Some(name) => format!("array {} with one row for each record", printable::name(name)),
            None => "array with one row for each record".to_owned(),
        },
        match pooled.as_slice() {
            [] => "\nhint: run again with `pool=mean`, into another folder".to_owned(),
            names => format!("\nhint: it has {}", printable::text(&names.join(", "))),
        }
    )]
    NoPooled {
        /// The output folder.
        dir: PathBuf,
        /// The array as given.
        name: Option<String>,
        /// The pooled arrays that it has.
        pooled: Vec<String>,
    },

    /// A table of annotations cannot be used.
    #[error(
        "{}: {what}\nhint: `table` is tab-separated text: a line with the names of the columns, then \
         one line for each record, the id first",
        path.display()
    )]
    Table {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },

    /// A table has no such column.
    #[error("{} has no column {}\nhint: its columns are {}", path.display(),
        printable::name(name), printable::text(&columns.join(", ")))]
    NoColumn {
        /// The table.
        path: PathBuf,
        /// The column as given.
        name: String,
        /// The columns that it has.
        columns: Vec<String>,
    },

    /// Several records, and none was chosen.
    #[error(
        "{} has {}\nhint: choose one with `id`, which can be given several times\n\
         hint: draw every record with `all`",
        dir.display(),
        count(*records, "record")
    )]
    NotChosen {
        /// The output folder.
        dir: PathBuf,
        /// Number of its records.
        records: u64,
    },

    /// No record has this identifier.
    #[error(
        "{} has no record {:?}{}",
        dir.display(),
        printable::name(id),
        match similar {
            Some(similar) => format!("\nhint: there is a record {:?}", printable::name(similar)),
            None => "\nhint: index.tsv lists the records in its column id".to_owned(),
        }
    )]
    NoRecord {
        /// The output folder.
        dir: PathBuf,
        /// The identifier as given.
        id: Vec<u8>,
        /// The most similar one, if any is.
        similar: Option<Vec<u8>>,
    },

    /// A file cannot be put there.
    #[error("{} {what}\nhint: choose another place with `out`", path.display())]
    Unfit {
        /// Where it was to be.
        path: PathBuf,
        /// Why it cannot.
        what: &'static str,
    },

    /// The folder to write has the name of a file.
    #[error(
        "`out={}` is the name of a file, and pictures are written into a folder\nhint: give a folder",
        printable::text(&out.to_string_lossy())
    )]
    NotAFolder {
        /// The folder as given.
        out: PathBuf,
    },

    /// A file of this name exists.
    #[error(
        "{} already exists\nhint: choose another place with `out`\nhint: replace it with `force`",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },

    /// A file cannot be written.
    #[error("writing {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl PlotError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
