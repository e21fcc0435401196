//! Why shards could not be merged, each with its remedy.

use super::OutputError;
use crate::output::shard::ShardEntry;
use crate::printable;
use std::path::PathBuf;
use thiserror::Error;

/// What keeps shards from being joined.
#[derive(Debug, Error)]
pub enum MergeError {
    /// No folder was given.
    #[error("no shard is given: name the folder of every shard")]
    NoShard,

    /// A folder does not hold a finished and sound output.
    #[error(
        "{}: {what}. Finish the run of this shard with --resume, or write the shard to another \
         folder with --out, then merge",
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
        "{}: is the output of a whole input, not of a shard: leave it out, or give the folders \
         that were written with --shard",
        dir.display()
    )]
    NotAShard {
        /// The folder.
        dir: PathBuf,
    },

    /// A folder was written by another version than this.
    #[error(
        "{}: was written by esm-embed {}, this is {}: merge with the version that wrote the \
         shards",
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
        "{} and {} are not shards of one run: {}. Write one of them to another folder with --out, \
         with the input, model and options of the other",
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
        "shard {}/{} is given twice: {} and {}. Leave one of them out",
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

    /// Shards were not given.
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
        "{}: {what}. The shard is damaged: write it to another folder with --out, then merge",
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
        "{}: holds shard {}/{}, which is to be merged: choose another folder with --out",
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
         running: choose another folder with --out, or rename or remove this one",
        out.display()
    )]
    Unfinished {
        /// The folder to write.
        out: PathBuf,
    },

    /// The disk has no room for the whole.
    #[error(
        "{}: the merged output takes {needed} bytes, but only {free} are free there: make room, \
         or choose another folder with --out",
        out.display()
    )]
    NoRoom {
        /// The folder to write.
        out: PathBuf,
        /// Bytes that the shards take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },

    /// The whole could not be written.
    #[error(transparent)]
    Output(OutputError),
}

impl From<OutputError> for MergeError {
    fn from(error: OutputError) -> Self {
        match error {
            // What a merge has left cannot be gone on with.
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
        "{shard} {} {is} missing: run {it} with --shard, or name {} folder{}",
        names.join(", "),
        if count == 1 { "its" } else { "their" },
        if count == 1 { "" } else { "s" }
    )
}
