//! What can go wrong with an output folder, and what to do about it.

use crate::output::folder_files::PARTIAL;
use crate::printable;
use std::io;
use std::path::{Path, PathBuf};

/// Why an output folder could not be opened, written or finished.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder holds a finished run, or a file that this run would write.
    #[error(
        "{} already holds {found}, and existing output is not overwritten\n\
         hint: choose another folder with `out`, or rename or remove this one",
        dir.display()
    )]
    Exists {
        /// The output folder.
        dir: PathBuf,
        /// The file or folder that was found in it.
        found: String,
    },

    /// The folder holds `.partial`, the working folder of an unfinished run.
    #[error(
        "{} holds .partial, the working folder of a run that did not finish or is still running\n\
         hint: resume that run with `resume`\n\
         hint: choose another folder with `out`",
        dir.display()
    )]
    Unfinished {
        /// The output folder.
        dir: PathBuf,
    },

    /// The folder holds a run that this one cannot resume.
    #[error(
        "{} holds {}, which this run cannot resume: {}\n\
         hint: {}\n\
         hint: choose another folder with `out`, or rename or remove this one",
        dir.display(),
        if *finished { "the output of another run" } else { "the unfinished work of another run" },
        printable::text(&differences.join("; ")),
        match other_version {
            None => "give the same input, model and options again".into(),
            Some(version) => format!("resume it with esm-embed {}", printable::text(version)),
        },
    )]
    OtherRun {
        /// The output folder.
        dir: PathBuf,
        /// Whether that run is complete.
        finished: bool,
        /// How it differs from this run.
        differences: Vec<String>,
        /// The version that began it, if that one computes other bits.
        other_version: Option<String>,
    },

    /// The input is not that of the interrupted run.
    #[error(
        "the input up to this record differs from that of the interrupted run, whose work was not \
         touched\n\
         hint: give the same input again\n\
         hint: choose another folder with `out`"
    )]
    OtherInput,

    /// The work in a folder is damaged, or was left by another version.
    #[error(
        "{}: {what}, so the run cannot be resumed\n\
         hint: choose another folder with `out`, or rename or remove this one",
        path.display()
    )]
    NotResumable {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },

    /// Another process is writing into the folder.
    #[error(
        "another run is writing into {}\n\
         hint: wait until it has finished\n\
         hint: choose another folder with `out`",
        dir.display()
    )]
    Busy {
        /// The output folder.
        dir: PathBuf,
    },

    /// A symbolic link is where the working folder has to be made.
    #[error(
        "{} is a symbolic link, and nothing is written through links inside an output folder\n\
         hint: remove the link or choose another folder with `out`",
        path.display()
    )]
    Symlink {
        /// The link.
        path: PathBuf,
    },

    /// The output path names something that is not a folder.
    #[error("{} is not a folder\nhint: choose another folder with `out`", path.display())]
    NotAFolder {
        /// The path as given.
        path: PathBuf,
    },

    /// Something that no earlier run wrote is where a file has to go.
    #[error(
        "{} is in the way; no earlier run wrote it, so it is not touched\n\
         hint: move it away or choose another folder with `out`",
        path.display()
    )]
    InTheWay {
        /// The path in the way.
        path: PathBuf,
    },

    /// An existing `run.json` cannot be trusted to say which files may be replaced.
    #[error(
        "{}: {what}, and only files that an earlier run lists there may be replaced\n\
         hint: remove that file by hand or choose another folder with `out`",
        path.display()
    )]
    ForeignManifest {
        /// The `run.json` or checksum list.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },

    /// A value to be written is NaN or infinite.
    #[error(
        "{file}, record in row {row}{position}: the value is {value}, and only finite values are \
         written\n\
         hint: use `dtype=f32`, which has a wider range than f16\n\
         hint: leave this record out"
    )]
    NotFinite {
        /// Name of the output file.
        file: String,
        /// Row of the record in `index.tsv`.
        row: u64,
        /// Where in the record the value is: `, residue 5, column 3`.
        position: String,
        /// The value.
        value: f32,
    },

    /// A finite value is too large for 16-bit storage.
    #[error(
        "{file}, record in row {row}{position}: {value} does not fit f16, whose largest value is \
         65504\n\
         hint: use `out_dtype=f32`"
    )]
    HalfOverflow {
        /// Name of the output file.
        file: String,
        /// Row of the record in `index.tsv`.
        row: u64,
        /// Where in the record the value is: `, residue 5, column 3`.
        position: String,
        /// The value.
        value: f32,
    },

    /// The number of values is not that of the array of the record.
    #[error(
        "{file}, record in row {row}: got {found} values for an array of {expected}\n\
         hint: please report this as a bug"
    )]
    Shape {
        /// Name of the output file.
        file: String,
        /// Row of the record in `index.tsv`.
        row: u64,
        /// Values of the array.
        expected: u64,
        /// Values that were given.
        found: u64,
    },

    /// Something was to be written that is not in the layout.
    #[error("this output folder has no {what}\nhint: please report this as a bug")]
    NotInLayout {
        /// What was to be written.
        what: String,
    },

    /// A position in a file does not fit 64 bits.
    #[error("{file}, record in row {row}: the file would have more than 2^64 bytes")]
    TooLarge {
        /// Name of the output file.
        file: String,
        /// Row of the record in `index.tsv`.
        row: u64,
    },

    /// A file lacks values at the end of the run.
    #[error(
        "{file} has {found} bytes instead of {expected}: values are missing, so the run is not \
         finished; its work stays in .partial"
    )]
    Incomplete {
        /// Name of the output file.
        file: String,
        /// Bytes of the whole file.
        expected: u64,
        /// Bytes there.
        found: u64,
    },

    /// A call of the operating system failed.
    #[error("{action} {}: {cause}{}", path.display(), remedy(cause, path))]
    Io {
        /// What was being done, such as `writing 5120 bytes to`.
        action: String,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
}

impl OutputError {
    /// Whether it says that the folder holds something else, which stays as it is.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Exists { .. }
                | Self::Unfinished { .. }
                | Self::OtherRun { .. }
                | Self::OtherInput
                | Self::NotResumable { .. }
                | Self::Busy { .. }
                | Self::Symlink { .. }
                | Self::NotAFolder { .. }
                | Self::InTheWay { .. }
                | Self::ForeignManifest { .. }
        )
    }

    /// Wraps what the operating system said about `action` on `path`.
    pub(super) fn io(action: impl Into<String>, path: &Path, cause: io::Error) -> Self {
        Self::Io {
            action: action.into(),
            path: path.to_path_buf(),
            cause,
        }
    }
}

/// What an error of the operating system leaves behind, and what to do about it, as the end of its
/// message.
fn remedy(cause: &io::Error, path: &Path) -> String {
    use io::ErrorKind as Kind;
    use rustix::io::Errno;
    let hint = match cause.kind() {
        Kind::StorageFull => {
            "free some space, or choose a folder on another file system with `out`"
        }
        Kind::QuotaExceeded => {
            "the disk quota is used up: remove files, or choose a folder on another file system \
             with `out`"
        }
        Kind::FileTooLarge => {
            "the file system or a limit (see `ulimit -f`) does not allow a larger file: raise the \
             limit, or choose a folder on another file system with `out`"
        }
        Kind::ReadOnlyFilesystem | Kind::PermissionDenied => {
            "choose a folder that you may write to with `out`"
        }
        Kind::NotFound => {
            "the output folder was moved or removed during the run: run again and leave it in place"
        }
        Kind::NotADirectory => {
            "a part of this path is not a folder: choose another folder with `out`"
        }
        _ if cause.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
            "the disk or the network to it failed: check it, or choose a folder on another one with \
             `out`"
        }
        _ if cause.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            "raise the limit on open files (`ulimit -n`), or write fewer layers and pools"
        }
        _ => return String::new(),
    };
    let in_partial = path.components().any(|part| part.as_os_str() == PARTIAL);
    let kept = if in_partial {
        "; finished output is untouched, and the work so far stays in .partial"
    } else {
        ""
    };
    format!("{kept}\nhint: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_file_amount_and_what_stays() {
        let cause = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let error = OutputError::io(
            "writing 5120 bytes to",
            Path::new("emb/.partial/x.npy"),
            cause,
        );
        assert_eq!(
            error.to_string(),
            "writing 5120 bytes to emb/.partial/x.npy: No space left on device (os error 28); \
             finished output is untouched, and the work so far stays in .partial\n\
             hint: free some space, or choose a folder on another file system with `out`"
        );
    }

    #[test]
    fn quota_and_input_output_errors_have_a_remedy() {
        for errno in [rustix::io::Errno::DQUOT, rustix::io::Errno::IO] {
            let cause = io::Error::from_raw_os_error(errno.raw_os_error());
            let text = OutputError::io("syncing", Path::new("emb/.partial"), cause).to_string();
            assert!(text.contains("stays in .partial"), "{text}");
            let cause = io::Error::from_raw_os_error(errno.raw_os_error());
            let text = OutputError::io("syncing", Path::new("emb"), cause).to_string();
            assert!(text.ends_with("with `out`"), "{text}");
        }
    }

    #[test]
    fn a_file_on_the_way_to_the_folder_has_a_remedy() {
        let cause = io::Error::from_raw_os_error(rustix::io::Errno::NOTDIR.raw_os_error());
        assert_eq!(
            OutputError::io("reading", Path::new("a.fasta/emb"), cause).to_string(),
            "reading a.fasta/emb: Not a directory (os error 20)\n\
             hint: a part of this path is not a folder: choose another folder with `out`"
        );
    }

    #[test]
    fn a_value_is_named_by_file_row_residue_and_column() {
        let error = OutputError::HalfOverflow {
            file: "residues.layer6.npy".into(),
            row: 3,
            position: ", residue 7, column 12".into(),
            value: 70000.0,
        };
        assert_eq!(
            error.to_string(),
            "residues.layer6.npy, record in row 3, residue 7, column 12: 70000 does not fit f16, \
             whose largest value is 65504\n\
             hint: use `out_dtype=f32`"
        );
    }
}
