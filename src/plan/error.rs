//! Why a plan cannot be made or used.

use crate::numerals::{count, grouped};
use crate::output::OutputError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a plan cannot be made or used.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The folder has no `plan.json`.
    #[error(
        "{}: is not a plan: it has no plan.json{}\nhint: give the folder that `esm-embed plan` wrote",
        .dir.display(),
        match .is_unfinished {
            true => ", only the unfinished work of a plan that ended early, which has to be made again",
            false => "",
        }
    )]
    NotAPlan {
        /// The folder.
        dir: PathBuf,
        /// Whether planning began there and was interrupted.
        is_unfinished: bool,
    },
    /// There is nothing.
    #[error("{}: does not exist\nhint: give the folder that `esm-embed plan` wrote", .path.display())]
    NoFolder {
        /// The path.
        path: PathBuf,
    },
    /// The path is that of a file.
    #[error("{}: is not a folder\nhint: give the folder that `esm-embed plan` wrote", .path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The plan was written by a newer program.
    #[error(
        "{}: has format {found}, which only a newer esm-embed reads\n\
         hint: use the esm-embed that made the plan",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A file of the plan is not what was written.
    #[error("{}: {what}\nhint: make the plan again with `force`", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The plan has other shards.
    #[error(
        "{}: the plan has {}, so there is no shard {asked}",
        .dir.display(),
        count(*.shards, "shard")
    )]
    NoShard {
        /// The folder.
        dir: PathBuf,
        /// Shards of the plan.
        shards: u64,
        /// The shard that was asked for.
        asked: u64,
    },
    /// The folder holds a plan, or something else.
    #[error(
        "{}: already {}\nhint: choose another folder with `out`{}",
        .dir.display(),
        match .is_plan {
            true => "holds a plan",
            false => "holds something other than a plan",
        },
        match .is_plan {
            true => ", or use `force` to replace the plan",
            false => "",
        }
    )]
    Exists {
        /// The folder.
        dir: PathBuf,
        /// Whether it holds a plan.
        is_plan: bool,
    },
    /// Another process is making a plan in the folder.
    #[error(
        "{}: another process is making a plan there\n\
         hint: wait for it, or choose another folder with `out`",
        .dir.display()
    )]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// The working folder cannot be made.
    #[error(transparent)]
    Output(OutputError),
    /// The shards of the plan are not those that were asked for.
    #[error(
        "`shard={number}/{of}`: the plan in {} has {}\nhint: use `shard={number}/{shards}`",
        .dir.display(),
        count(*.shards, "shard")
    )]
    OtherShards {
        /// The folder.
        dir: PathBuf,
        /// Shards of the plan.
        shards: u64,
        /// The shard that was asked for.
        number: u64,
        /// How many shards were asked for.
        of: u64,
    },
    /// A shard is embedded with another setting than was planned.
    #[error(
        "the plan in {} was made with `{setting}={planned}`, and this run has `{setting}={asked}`\n\
         hint: use `{setting}={planned}`, or plan again with `{setting}={asked}`",
        .dir.display()
    )]
    OtherSetting {
        /// The folder.
        dir: PathBuf,
        /// The setting.
        setting: &'static str,
        /// Its value in the plan.
        planned: String,
        /// Its value now.
        asked: String,
    },
    /// The model has another alphabet.
    #[error(
        "the plan in {} was made for the alphabet of {planned}, and this model has that of {asked}\n\
         hint: plan again with this `model`",
        .dir.display()
    )]
    OtherAlphabet {
        /// The folder.
        dir: PathBuf,
        /// The alphabet of the plan.
        planned: String,
        /// That of the model.
        asked: String,
    },
    /// Another number of files.
    #[error(
        "the plan in {} has {}, but {} given\n\
         hint: give every planned file in the order of the plan, or none of them",
        .dir.display(),
        count(*.planned as u64, "FASTA file"),
        match .given {
            1 => "1 is".to_owned(),
            given => format!("{given} are"),
        }
    )]
    OtherInputs {
        /// The folder.
        dir: PathBuf,
        /// Files of the plan.
        planned: usize,
        /// Files given.
        given: usize,
    },
    /// A planned file is not there.
    #[error(
        "{}: was planned and cannot be opened: {cause}\n\
         hint: if it was moved, give its new path: `esm-embed run NEW.fasta --plan …`",
        .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// A planned file has another size.
    #[error(
        "{}: is not the planned file: it has {}, and had {} when it was planned\n\
         hint: plan again\n\
         hint: if the planned file was moved, give its new path: `esm-embed run NEW.fasta --plan …`",
        .path.display(),
        count(*.found, "byte"),
        grouped(*.planned)
    )]
    OtherSize {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// Its bytes when it was planned.
        planned: u64,
    },
    /// A record is not the planned one.
    #[error(
        "{}, line {line}: is not the planned file: {what}\n\
         hint: plan again\n\
         hint: if the planned file was moved, give its new path: `esm-embed run NEW.fasta --plan …`",
        .path.display()
    )]
    OtherRecord {
        /// The file.
        path: PathBuf,
        /// Line of the header.
        line: u64,
        /// What is different.
        what: &'static str,
    },
    /// The operating system reports an error.
    #[error("{doing} {} failed: {cause}", .path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// With this file.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
}

impl PlanError {
    /// The same of a file in the folder of the plan.
    pub fn of_copy(self) -> PlanError {
        match self {
            PlanError::Missing { path, cause } => PlanError::Damaged {
                what: format!("cannot be opened: {cause}"),
                path,
            },
            PlanError::OtherSize {
                path,
                found,
                planned,
            } => PlanError::Damaged {
                what: format!(
                    "has {}, but the plan has {}",
                    count(found, "byte"),
                    grouped(planned)
                ),
                path,
            },
            other => other,
        }
    }

    /// An error of the operating system.
    pub fn io(doing: &'static str, path: &Path, cause: io::Error) -> PlanError {
        PlanError::Io {
            doing,
            path: path.to_path_buf(),
            cause,
        }
    }
}
