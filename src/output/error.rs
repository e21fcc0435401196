//! What can go wrong with an output folder, each with its remedy.

use crate::output::layout::PARTIAL;
use crate::printable;
use std::io;
use std::path::{Path, PathBuf};

/// Why an output folder could not be opened, written or finished.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder holds a finished run, or a file that this run would write.
    #[error(
        "{} already holds {found}, and an existing output is not touched: choose another folder \
         with --out, or rename or remove this one",
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
        "{} holds .partial, the working folder of a run that did not finish or is still running: \
         resume it with --resume, or choose another folder with --out",
        dir.display()
    )]
    Unfinished {
        /// The output folder.
        dir: PathBuf,
    },

    /// The folder holds another run than the one that is to be continued.
    #[error(
        "{} holds {}, which --resume does not continue: {}. Give the same input, model and \
         options again, or choose another folder with --out, or rename or remove this one",
        dir.display(),
        if *finished { "the output of another run" } else { "the unfinished work of another run" },
        printable::text(&differences.join("; ")),
    )]
    OtherRun {
        /// The output folder.
        dir: PathBuf,
        /// Whether that run is complete.
        finished: bool,
        /// How it differs from the run that was asked for.
        differences: Vec<String>,
    },

    /// The input, read again, is not that of the interrupted run.
    #[error(
        "the input up to this record is not the input of the interrupted run, whose work was not \
         touched: give the same input again, or choose another folder with --out"
    )]
    OtherInput,

    /// The work in a folder is damaged, or was left by another version.
    #[error(
        "{}: {what}, so that --resume cannot continue it: choose another folder with --out, or \
         rename or remove this one",
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
        "another run is writing into {} and is left alone: wait until it has ended, or choose \
         another folder with --out",
        dir.display()
    )]
    Busy {
        /// The output folder.
        dir: PathBuf,
    },

    /// A symbolic link stands where the working folder has to be made.
    #[error(
        "{} is a symbolic link: nothing is written through links inside an output folder; \
         remove the link or choose another folder with --out",
        path.display()
    )]
    Symlink {
        /// The link.
        path: PathBuf,
    },

    /// The output path names something that is not a folder.
    #[error("{} is not a folder: choose another place with --out", path.display())]
    NotAFolder {
        /// The path as given.
        path: PathBuf,
    },

    /// Something that no earlier run wrote is where a file has to go, and may not be removed.
    #[error(
        "{} is in the way, and no earlier run wrote it, so it is left alone: move it away or \
         choose another folder with --out",
        path.display()
    )]
    InTheWay {
        /// The path in the way.
        path: PathBuf,
    },

    /// An existing `run.json` cannot be trusted to say which files may be replaced.
    #[error(
        "{}: {what}, and only files that an earlier run lists there may be replaced: remove that \
         file by hand or choose another folder with --out",
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
        "{file}, record in row {row}{position}: the value is {value}; nothing that is \
         not finite is written: compute with --dtype f32 (or bf16 instead of f16), or leave \
         this record out"
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
        "{file}, record in row {row}{position}: {value} does not fit into f16, whose \
         largest value is 65504: write with --out-dtype f32"
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

    /// The number of values handed over is not that of the rows they are for.
    #[error(
        "{file}, record in row {row}: {found} values were handed over for {expected}; this is \
         a fault of the program: please report it with the command that was run"
    )]
    Shape {
        /// Name of the output file.
        file: String,
        /// Row of the record in `index.tsv`.
        row: u64,
        /// Values that the rows hold.
        expected: u64,
        /// Values handed over.
        found: u64,
    },

    /// A product or file that the layout does not hold was to be written.
    #[error(
        "this output folder holds no {what}; this is a fault of the program: please report it \
         with the command that was run"
    )]
    NotInLayout {
        /// What was asked for.
        what: String,
    },

    /// A place in a file cannot be counted in 64 bits.
    #[error("{file}, record in row {row}: the file would be larger than 2^64 bytes")]
    TooLarge {
        /// Name of the output file.
        file: String,
        /// Row of the record in `index.tsv`.
        row: u64,
    },

    /// A file does not hold all rows when the run is to be finished.
    #[error(
        "{file} holds {found} bytes where {expected} are due: rows are missing, so the run is \
         not finished; its work stays in .partial"
    )]
    Incomplete {
        /// Name of the output file.
        file: String,
        /// Bytes due.
        expected: u64,
        /// Bytes there.
        found: u64,
    },

    /// The operating system refused something.
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
    /// Wraps what the operating system said about `action` on `path`.
    pub(super) fn io(action: impl Into<String>, path: &Path, cause: io::Error) -> Self {
        Self::Io {
            action: action.into(),
            path: path.to_path_buf(),
            cause,
        }
    }
}

/// What to do about an error of the operating system, and what it left, as an ending to its
/// message.
fn remedy(cause: &io::Error, path: &Path) -> String {
    use io::ErrorKind as Kind;
    use rustix::io::Errno;
    let what = match cause.kind() {
        Kind::StorageFull => "the file system is full: make room or choose another one with --out",
        Kind::QuotaExceeded => {
            "the disk quota is used up: make room or choose another file system with --out"
        }
        Kind::FileTooLarge => {
            "the file system or a limit (see `ulimit -f`) allows no larger file: lift the limit or \
             choose another file system with --out"
        }
        Kind::ReadOnlyFilesystem | Kind::PermissionDenied => {
            "choose a folder you may write to with --out"
        }
        Kind::NotFound => {
            "the output folder seems to have been moved or removed while the run was going: run \
             again and leave it alone"
        }
        Kind::NotADirectory => {
            "a part of this path is not a folder: choose another place with --out"
        }
        _ if cause.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
            "the disk or the network to it failed: check it or choose another one with --out"
        }
        _ if cause.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            "raise the limit on open files (`ulimit -n`) or ask for fewer layers and pools"
        }
        _ => return String::new(),
    };
    let in_partial = path.components().any(|part| part.as_os_str() == PARTIAL);
    let kept = if in_partial {
        ". No file of a finished run was touched; the work so far stays in .partial"
    } else {
        ""
    };
    format!("; {what}{kept}")
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
            "writing 5120 bytes to emb/.partial/x.npy: No space left on device (os error 28); the file \
             system is full: make room or choose another one with --out. No file of a finished \
             run was touched; the work so far stays in .partial"
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
            assert!(text.ends_with("with --out"), "{text}");
        }
    }

    #[test]
    fn a_file_on_the_way_to_the_folder_has_a_remedy() {
        let cause = io::Error::from_raw_os_error(rustix::io::Errno::NOTDIR.raw_os_error());
        assert_eq!(
            OutputError::io("reading", Path::new("a.fasta/emb"), cause).to_string(),
            "reading a.fasta/emb: Not a directory (os error 20); a part of this path is not a folder: \
             choose another place with --out"
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
            "residues.layer6.npy, record in row 3, residue 7, column 12: 70000 does not fit into \
             f16, whose largest value is 65504: write with --out-dtype f32"
        );
    }
}
