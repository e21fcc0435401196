//! The shards of a linked folder, and the values of its records in them.

use super::ReadError;
use super::array_file::open_among;
use super::array_values::{AHEAD, OwnValues, Reading};
use super::record::{Record, Records};
use super::record_index::RecordIndex;
use crate::output::array::{Array, Storage};
use crate::output::counts::Counts;
use crate::output::folder_files::{INDEX_TSV, LINKS_NPY};
use crate::output::link::{Link, LinkReader, LinkTable, Linked, is_relative};
use crate::output::manifest::Manifest;
use crate::output::shard_file;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Bytes that are read ahead of all shards together.
const AHEAD_OF_ALL: usize = 64 << 20;
/// Bytes that are read ahead of each, at least.
const AHEAD_OF_ONE: usize = 1 << 12;

/// The folder of a shard, from 1, which has to be the one that was linked. The error is the predicate
/// of a sentence about the folder.
pub(super) fn open_shard(dir: &Path, whole: &Manifest, number: u64) -> Result<PathBuf, String> {
    let link = usize::try_from(number)
        .ok()
        .and_then(|number| whole.links.get(number.checked_sub(1)?))
        .ok_or("is not listed in run.json")?;
    if !is_relative(&link.path) {
        return Err("is not a relative path, as a merge writes it; it was not opened".into());
    }
    let path = dir.join(&link.path);
    if !path.is_dir() {
        return Err("is not there: the folder was moved or removed".into());
    }
    let read =
        Manifest::read_with_digest(&path).map_err(|error| format!("its run.json {error}"))?;
    let (manifest, digest) = read.ok_or("has no run.json any more")?;
    if digest != link.run_json {
        return Err("its run.json is another one than when it was linked".into());
    }
    let counts = &manifest.counts;
    let is_it = manifest.links.is_empty()
        && manifest.layout == whole.layout
        && (counts.records, counts.residues) == (link.records, link.residues)
        && manifest
            .shard
            .is_some_and(|shard| (shard.number, shard.of) == (number, whole.links.len() as u64));
    match is_it {
        true => Ok(path),
        false => Err(format!(
            "is not shard {number} of {} as run.json describes it",
            whole.links.len()
        )),
    }
}

/// The folders of the shards of a linked folder, in the order of their numbers.
pub(in crate::output) fn shard_folders(
    dir: &Path,
    whole: &Manifest,
) -> Result<Vec<PathBuf>, ReadError> {
    let number = 1..=whole.links.len() as u64;
    let numbered = number.zip(&whole.links);
    let folder = |(number, link): (u64, &Link)| {
        open_shard(dir, whole, number).map_err(|what| ReadError::Shard {
            dir: dir.to_path_buf(),
            number,
            of: whole.links.len() as u64,
            path: dir.join(&link.path),
            what,
        })
    };
    numbered.map(folder).collect()
}

/// The shards of a linked folder.
#[derive(Debug)]
pub(super) struct LinkedShards {
    dir: PathBuf,
    records: u64,
    files: bool,
    table: LinkTable,
    shards: Vec<LinkedShard>,
    /// Whether the files of all arrays and the indices may be open at a time.
    is_kept: bool,
}

#[derive(Debug)]
struct LinkedShard {
    dir: PathBuf,
    /// Only its records and residues.
    counts: Counts,
    index: OnceLock<RecordIndex>,
}

impl LinkedShards {
    /// The shards of a folder, or `None` if its arrays are in the folder itself.
    pub(super) fn open(dir: &Path, whole: &Manifest) -> Result<Option<Self>, ReadError> {
        if whole.links.is_empty() {
            return Ok(None);
        }
        let records = whole.counts.records;
        let folders = shard_folders(dir, whole)?;
        let shard = |(dir, link): (PathBuf, &Link)| LinkedShard {
            dir,
            counts: counts(link),
            index: OnceLock::new(),
        };
        let shards: Vec<_> = folders.into_iter().zip(&whole.links).map(shard).collect();
        let table = LinkTable::open(dir, records).map_err(|what| damaged(dir, what))?;
        // An array and an index for each reading of an array, and an index for looking records up.
        let files = 2 * whole.layout.arrays().len() + 1;
        Ok(Some(Self {
            dir: dir.to_path_buf(),
            records,
            files: whole.layout.has_files(),
            table,
            is_kept: shard_file::fit(shards.len().saturating_mul(files)),
            shards,
        }))
    }

    /// The folders of the shards.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.dir.as_path())
    }

    /// The folder that holds the values of a record, and the record there.
    pub(super) fn stored(&self, record: &Record) -> Result<(&Path, Record), ReadError> {
        let linked = self.table.get(record.row);
        let linked = linked.map_err(|what| damaged(&self.dir, what))?;
        let shard = self.shard(linked)?;
        let index = shard.index(self.files, self.is_kept)?;
        let there = index.record(u64::from(linked.row))?;
        same(record, &there, &shard.dir)?;
        Ok((&shard.dir, there))
    }

    fn shard(&self, linked: Linked) -> Result<&LinkedShard, ReadError> {
        let at = (linked.shard as usize).checked_sub(1);
        let shard = at.and_then(|at| self.shards.get(at));
        shard.ok_or_else(|| damaged(&self.dir, "names a shard that does not exist".into()))
    }

    /// The values of an array, record by record in the order of the whole.
    pub(super) fn values(&self, array: &Array) -> Result<LinkedValues, ReadError> {
        let links = LinkReader::open(&self.dir, self.records, self.shards.len());
        let ahead = AHEAD_OF_ALL.checked_div(self.shards.len()).unwrap_or(AHEAD);
        let shards = self.shards.iter().map(|shard| ShardValues {
            dir: shard.dir.clone(),
            counts: shard.counts,
            open: None,
        });
        Ok(LinkedValues {
            dir: self.dir.clone(),
            array: *array,
            reading: Reading {
                ahead: ahead.clamp(AHEAD_OF_ONE, AHEAD),
                is_kept: self.is_kept,
            },
            links: links.map_err(|what| damaged(&self.dir, what))?,
            shards: shards.collect(),
        })
    }
}

impl LinkedShard {
    /// Its index, which is read when it is first needed.
    fn index(&self, files: bool, is_kept: bool) -> Result<&RecordIndex, ReadError> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let path = self.dir.join(INDEX_TSV);
        let index = match open_among(&path, is_kept) {
            Ok(file) => RecordIndex::new(file, path, files)?,
            Err(what) => return Err(ReadError::Damaged { path, what }),
        };
        Ok(self.index.get_or_init(|| index))
    }
}

fn counts(link: &Link) -> Counts {
    Counts {
        records: link.records,
        residues: link.residues,
        ..Counts::default()
    }
}

fn damaged(dir: &Path, what: String) -> ReadError {
    ReadError::Damaged {
        path: dir.join(LINKS_NPY),
        what,
    }
}

/// Checks that a record of the whole is the one in the shard.
fn same(whole: &Record, shard: &Record, dir: &Path) -> Result<(), ReadError> {
    if whole.id == shard.id && whole.length == shard.length {
        return Ok(());
    }
    Err(ReadError::Damaged {
        path: dir.join(INDEX_TSV),
        what: format!(
            "row {} is not the record in row {} of the linked folder",
            shard.row, whole.row
        ),
    })
}

/// The values of an array, record by record in the order of the whole.
#[derive(Debug)]
pub(super) struct LinkedValues {
    dir: PathBuf,
    array: Array,
    reading: Reading,
    links: LinkReader,
    shards: Vec<ShardValues>,
}

#[derive(Debug)]
struct ShardValues {
    dir: PathBuf,
    counts: Counts,
    /// Opened for its first record. The names of files are in the index of the shard.
    open: Option<(OwnValues, Option<Records>)>,
}

impl LinkedValues {
    /// Replaces `values` with those of the next record.
    pub(super) fn read(&mut self, record: &Record, values: &mut Vec<f32>) -> Result<(), ReadError> {
        let dir = &self.dir;
        let linked = self.links.next().map_err(|what| damaged(dir, what))?;
        let at = linked.and_then(|linked| (linked.shard as usize).checked_sub(1));
        let shard = at.and_then(|at| self.shards.get_mut(at));
        let Some(shard) = shard else {
            return Err(damaged(dir, "has fewer rows than index.tsv".into()));
        };
        shard.read(&self.array, self.reading, record, values)
    }
}

impl ShardValues {
    /// The files of the shard, opened for its first record.
    fn open(
        &self,
        array: &Array,
        reading: Reading,
    ) -> Result<(OwnValues, Option<Records>), ReadError> {
        let shape = array.packed_shape(array.elements(&self.counts));
        let own = OwnValues::open(&self.dir, array, &shape, reading)?;
        let records = match array.storage {
            Storage::Packed => None,
            Storage::Files => {
                let path = self.dir.join(INDEX_TSV);
                let records = match open_among(&path, reading.is_kept) {
                    Ok(file) => Records::new(file, path, true)?,
                    Err(what) => return Err(ReadError::Damaged { path, what }),
                };
                Some(records)
            }
        };
        Ok((own, records))
    }

    fn read(
        &mut self,
        array: &Array,
        reading: Reading,
        record: &Record,
        values: &mut Vec<f32>,
    ) -> Result<(), ReadError> {
        if self.open.is_none() {
            self.open = Some(self.open(array, reading)?);
        }
        match &mut self.open {
            None => Ok(()),
            Some((own, None)) => own.read(record, values),
            Some((own, Some(records))) => {
                let there = records.next().transpose()?.unwrap_or_default();
                same(record, &there, &self.dir)?;
                own.read(&there, values)
            }
        }
    }
}
