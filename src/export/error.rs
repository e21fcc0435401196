//! What can go wrong with an export, and what to do about it.

use crate::fasta::FastaError;
use crate::output::ReadError;
use crate::printable;
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The output folder cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),

    /// The run has no such array.
    #[error(
        "{} has no {}{}",
        dir.display(),
        what,
        match arrays.as_slice() {
            [] => String::new(),
            names => format!("\nhint: it has {}", printable::text(&names.join(", "))),
        }
    )]
    NoArray {
        /// The output folder.
        dir: PathBuf,
        /// What is missing; with hints.
        what: String,
        /// The arrays that it has.
        arrays: Vec<String>,
    },

    /// The format cannot hold what is asked for.
    #[error("{0}")]
    Unfit(String),

    /// A number is too large for f16.
    #[error(
        "{}: the values of record {:?} do not fit f16\nhint: use `dtype=f32`",
        dir.display(),
        printable::name(id)
    )]
    TooLarge {
        /// The output folder.
        dir: PathBuf,
        /// The identifier of the record.
        id: Vec<u8>,
    },

    /// The sequences of the run are needed, and are not there.
    #[error(
        "{}: {what}\nhint: give the FASTA files of the run with `fasta`, in their order",
        path.display()
    )]
    Sequences {
        /// A FASTA file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },

    /// A FASTA file cannot be read.
    #[error(transparent)]
    Fasta(#[from] FastaError),

    /// Something is at the place of the output.
    #[error(
        "{} already exists\nhint: choose another place with `out`\nhint: replace it with `force`",
        path.display()
    )]
    Exists {
        /// The output.
        path: PathBuf,
    },

    /// The output cannot be put there.
    #[error("{} {what}\nhint: choose another place with `out`", path.display())]
    UnfitPlace {
        /// The output.
        path: PathBuf,
        /// Why it cannot.
        what: &'static str,
    },

    /// Another export writes there.
    #[error(
        "{} is being written by another export\nhint: wait for it, or choose another place with `out`",
        path.display()
    )]
    Busy {
        /// The output.
        path: PathBuf,
    },

    /// It was asked to stop.
    #[error("stopped")]
    Stopped,

    /// The output cannot be written.
    #[error("writing {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ExportError {
    /// An error in writing this file.
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}
