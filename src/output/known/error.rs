//! Why values of another folder cannot be copied.

use crate::output::error::OutputError;
use crate::output::read::ReadError;
use crate::printable;
use std::io;
use std::path::{Path, PathBuf};

/// Why values of another folder cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The folder is the one to write.
    #[error("{}: `known` names the folder to write\nhint: leave it out of `known`", dir.display())]
    IsOut {
        /// The folder.
        dir: PathBuf,
    },

    /// Its values are not those that this run would compute.
    #[error(
        "{}: its values cannot be copied, because this run computes others: {}\n\
         hint: leave it out of `known`, or give the options with which it was written",
        dir.display(),
        differences.join("; ")
    )]
    Differs {
        /// The folder.
        dir: PathBuf,
        /// What differs, with both values.
        differences: Vec<String>,
    },

    /// Some of its values were computed in another format, and it is not known which.
    #[error(
        "{}: some of its records were computed in {format}, with numbers too large for f16, and the folder \
         does not say which\nhint: leave it out of `known`",
        dir.display()
    )]
    InFallback {
        /// The folder.
        dir: PathBuf,
        /// The format.
        format: &'static str,
    },

    /// One of its files is not what its `run.json` says.
    #[error(
        "{}: {}\nhint: leave this folder out of `known`: nothing of it was copied that is damaged",
        path.display(),
        printable::text(what)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },

    /// The folder does not have its sequences, and they cannot be read again.
    #[error(
        "{}: {}\n\
         hint: an output of a whole input does not have its sequences, so they are read again from the FASTA \
         files that its run.json names: put them there, or leave the folder out of `known`",
        dir.display(),
        printable::text(what)
    )]
    Sequences {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with them.
        what: String,
    },

    /// The folder cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),

    /// The values cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl KnownError {
    pub(super) fn io(doing: &str, path: &Path, cause: io::Error) -> Self {
        Self::Output(OutputError::io(doing.to_owned(), path, cause))
    }
}
