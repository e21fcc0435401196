//! The folder of a plan: an input that was read once, and its records shared out.
//!
//! | | |
//! |---|---|
//! | `plan.json` | [`PlanFacts`]: settings, inputs, counts, checksums; written last |
//! | `shards.tsv` | [`ShardFacts`]: what each shard holds, and where its records are in the index |
//! | `index` | the records of one shard after the other, in the order of the input: [`record`] has the bytes |
//! | `input-N.gzi` | the blocks of the N-th input, if it is a bgzip file, in the format of `bgzip --index` |
//! | `input-N.fasta` | the N-th input decompressed, if it was written again |
//!
//! A task that embeds one shard reads `plan.json`, `shards.tsv` and its part of the index, and then only
//! its own records of the input: each is compared with the [`Content`] that the plan recorded.
//!
//! Everything is written in `.partial/` and moved to its place when it is complete; a folder without a
//! `plan.json` is not a plan.

mod assignment;
mod blocks;
mod builder;
mod error;
mod facts;
mod fields;
mod folder;
pub mod record;
mod section;
mod shards;
mod sorting;

pub use assignment::CostModel;
pub use blocks::Blocks;
pub use builder::{Builder, Built, Embedded, Found, Reused, Work, bytes_for_records};
pub use error::PlanError;
pub use facts::{Counts, PlanFacts, PlanFile, PlannedInput, Settings, Stored};
pub use folder::{PlanFolder, ReadInput};
pub use record::{Content, Fate, PlannedRecord};
pub use section::{Section, SectionReader};
pub use shards::ShardFacts;

use crate::sha256::sha256_of;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What was planned.
pub const PLAN_JSON: &str = "plan.json";
/// The shards.
pub const SHARDS_TSV: &str = "shards.tsv";
/// The records of the shards.
pub const INDEX: &str = "index";

/// Largest `plan.json` or `shards.tsv` that is read: 100,000 shards have 20 MB.
const MOST_BYTES: u64 = 256 << 20;

/// A plan in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The folder.
    pub dir: PathBuf,
    /// What was planned.
    pub facts: PlanFacts,
}

impl Plan {
    /// Reads `plan.json`.
    ///
    /// # Errors
    /// The file does not exist, is damaged, or was written by a newer program.
    pub fn open(dir: &Path) -> Result<Plan, PlanError> {
        let path = dir.join(PLAN_JSON);
        let bytes = match read_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.exists() => {
                return Err(PlanError::NoFolder {
                    path: dir.to_path_buf(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PlanError::NotAPlan {
                    dir: dir.to_path_buf(),
                    is_unfinished: dir.join(crate::output::PARTIAL).is_dir(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(PlanError::NotAFolder {
                    path: dir.to_path_buf(),
                });
            }
            bytes => bytes.map_err(|cause| PlanError::io("reading", &path, cause))?,
        };
        Ok(Plan {
            dir: dir.to_path_buf(),
            facts: PlanFacts::parse(&bytes, &path)?,
        })
    }

    /// What the shards hold.
    ///
    /// # Errors
    /// `shards.tsv` is missing or damaged.
    pub fn shards(&self) -> Result<Vec<ShardFacts>, PlanError> {
        let path = self.dir.join(SHARDS_TSV);
        let bytes = self.read_listed(SHARDS_TSV)?;
        let shards = std::str::from_utf8(&bytes).ok().and_then(shards::parse);
        let shards = shards.filter(|shards| shards.len() as u64 == self.facts.shards);
        shards.ok_or_else(|| PlanError::Damaged {
            path,
            what: "is not what `plan` writes".into(),
        })
    }

    /// The records of a shard, counted from 1.
    ///
    /// # Errors
    /// The plan has no such shard, or its files are missing or damaged.
    pub fn section(&self, shard: u64) -> Result<Section, PlanError> {
        let path = self.dir.join(INDEX);
        let mut shards = self.shards()?.into_iter();
        let facts = shards.find(|facts| facts.number == shard);
        let facts = facts.ok_or_else(|| PlanError::NoShard {
            dir: self.dir.clone(),
            shards: self.facts.shards,
            asked: shard,
        })?;
        let file = File::open(&path).map_err(|cause| PlanError::io("opening", &path, cause))?;
        let found = file
            .metadata()
            .map_err(|cause| PlanError::io("reading", &path, cause))?;
        let planned = self.listed(INDEX)?.bytes;
        if found.len() != planned {
            return Err(PlanError::Damaged {
                path,
                what: format!(
                    "has {}, but the plan has {}",
                    crate::numerals::count(found.len(), "byte"),
                    crate::numerals::grouped(planned)
                ),
            });
        }
        let section = Section::new(path, file, facts, self.facts.firsts());
        section.check()?;
        Ok(section)
    }

    /// The blocks of an input that is stored by bgzip; none for any other.
    ///
    /// # Errors
    /// The file with the blocks is missing or damaged.
    pub fn blocks(&self, input: &PlannedInput) -> Result<Blocks, PlanError> {
        let (Stored::Bgzip, Some(name)) = (input.stored, &input.file) else {
            return Ok(Blocks::default());
        };
        let bytes = self.read_listed(name)?;
        Blocks::read(&mut &bytes[..]).map_err(|_| PlanError::Damaged {
            path: self.dir.join(name),
            what: "is not what `plan` writes".into(),
        })
    }

    fn listed(&self, name: &str) -> Result<&PlanFile, PlanError> {
        let file = self.facts.files.iter().find(|file| file.name == name);
        file.ok_or_else(|| PlanError::Damaged {
            path: self.dir.join(PLAN_JSON),
            what: format!("does not list {name}"),
        })
    }

    /// The bytes of a small file, which have their checksum.
    fn read_listed(&self, name: &str) -> Result<Vec<u8>, PlanError> {
        let file = self.listed(name)?;
        let path = self.dir.join(name);
        let bytes = read_all(&path).map_err(|cause| PlanError::io("reading", &path, cause))?;
        match Some(sha256_of(&bytes)) == file.sha256 {
            true => Ok(bytes),
            false => Err(PlanError::Damaged {
                path,
                what: "does not have the checksum in plan.json".into(),
            }),
        }
    }
}

fn read_all(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
