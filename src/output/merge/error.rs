//! Why shards could not be merged, and what to do about it.

use super::OutputError;
use crate::numerals::bytes;
use crate::output::read::ReadError;
use crate::output::shard::ShardEntry;
use crate::printable;
use std::path::PathBuf;
use thiserror::Error;

/// What keeps shards from being joined.
#[derive(Debug, Error)]
pub enum MergeError {
    /// No folder was given.
    #[error("no shards were given\nhint: name the folder of every shard")]
    NoShard,

    /// A folder does not hold a finished and sound output.
    #[error(
        "{}: {what}\n\
         hint: resume the run of this shard with `resume`\n\
         hint: run this shard again into another folder with `out`",
        dir.display()
    )]
    NotSound {
        /// The folder.
        dir: PathBuf,
        /// What `inspect` found.
        what: String,
    },

    /// A folder holds the output of a whole input.
    #[error(
        "{} is the output of a whole input, not of a shard\n\
         hint: leave it out, or give the folders that were written with `shard`",
        dir.display()
    )]
    NotAShard {
        /// The folder.
        dir: PathBuf,
    },

    /// A folder was written by another version of this program.
    #[error(
        "{} was written by esm-embed {}, but this is {}\n\
         hint: merge with the version that wrote the shards",
        dir.display(),
        printable::text(found),
        env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// The folder.
        dir: PathBuf,
        /// The version that wrote it.
        found: String,
    },

    /// Two folders are not shards of one input, model and set of options.
    #[error(
        "{} and {} are not shards of one run: {}\n\
         hint: run one of them again, with the input, model and options of the other, into another \
         folder with `out`",
        first.display(),
        second.display(),
        differences.join("; ")
    )]
    Differ {
        /// The folder of the lower number.
        first: PathBuf,
        /// The other folder.
        second: PathBuf,
        /// Each thing that differs, with both values.
        differences: Vec<String>,
    },

    /// One shard was given twice.
    #[error(
        "shard {}/{} is given twice: {} and {}\nhint: leave one of them out",
        shard.number,
        shard.of,
        first.display(),
        second.display()
    )]
    Doubled {
        /// The shard.
        shard: ShardEntry,
        /// A folder that holds it.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },

    /// Shards are missing.
    #[error("{}", missing_text(numbers, *count, *of))]
    Missing {
        /// The first of them.
        numbers: Vec<u64>,
        /// How many there are.
        count: u64,
        /// Number of all shards.
        of: u64,
    },

    /// A file of a shard is not what its `run.json` says.
    #[error(
        "{}: {what}\n\
         hint: the shard is damaged: run it again into another folder with `out`, then merge",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },

    /// The folder to write is that of a shard.
    #[error(
        "{} holds shard {}/{}, which is to be merged\nhint: choose another folder with `out`",
        dir.display(),
        shard.number,
        shard.of
    )]
    OutIsShard {
        /// The folder.
        dir: PathBuf,
        /// The shard in it.
        shard: ShardEntry,
    },

    /// The folder to write holds the working folder of a run or a merge.
    #[error(
        "{} holds .partial, the working folder of a run or merge that did not finish or is still \
         running\n\
         hint: choose another folder with `out`, or rename or remove this one",
        out.display()
    )]
    Unfinished {
        /// The folder to write.
        out: PathBuf,
    },

    /// The shards of a linked folder are to be removed.
    #[error(
        "{} is a linked folder, which needs its shards\n\
         hint: give the folders of the shards instead, and remove the linked folder afterwards\n\
         hint: leave `move` out",
        dir.display()
    )]
    RemovesLinked {
        /// The linked folder.
        dir: PathBuf,
    },

    /// The path of a shard cannot be written into `run.json`.
    #[error(
        "{}: its path is not UTF-8, which run.json cannot hold\n\
         hint: rename the folder, or merge without `link`",
        dir.display()
    )]
    Unlinkable {
        /// The folder of the shard.
        dir: PathBuf,
    },

    /// A linked folder cannot be taken apart into its shards.
    #[error(transparent)]
    Linked(#[from] ReadError),

    /// The disk lacks space for the merged output.
    #[error(
        "{}: the merged output needs {}, but only {} are free\n\
         hint: free some space, or choose a folder on another file system with `out`",
        out.display(),
        bytes(*needed),
        bytes(*free)
    )]
    NoRoom {
        /// The folder to write.
        out: PathBuf,
        /// Bytes that the shards take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },

    /// The merged output could not be read or written.
    #[error(transparent)]
    Output(OutputError),
}

impl From<OutputError> for MergeError {
    fn from(error: OutputError) -> Self {
        match error {
            // An interrupted merge cannot be resumed.
            OutputError::Unfinished { dir } => Self::Unfinished { out: dir },
            error => Self::Output(error),
        }
    }
}

fn missing_text(numbers: &[u64], count: u64, of: u64) -> String {
    let mut names: Vec<String> = numbers.iter().map(|n| format!("{n}/{of}")).collect();
    match count.saturating_sub(numbers.len() as u64) {
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    let (shard, is, it) = match count {
        1 => ("shard", "is", "it"),
        _ => ("shards", "are", "them"),
    };
    format!(
        "{shard} {} {is} missing\nhint: run {it} with `shard`, or name {} folder{}",
        names.join(", "),
        if count == 1 { "its" } else { "their" },
        if count == 1 { "" } else { "s" }
    )
}
