//! Copies the rows of one shard to their places in the whole.

use super::agree::Part;
use super::hashed::Hashed;
use super::{MergeError, Shards};
use crate::output::array::{Array, Storage, checksum_list};
use crate::output::checksum::ListReader;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::npy::{self, HEADER_BYTES};
use crate::output::place::{Place, decode, encode, slot_bytes};
use crate::output::write::folder::OutputFolder;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Name of the list of places in the working folder.
const DESTINATIONS: &str = "destinations";
/// Bytes read at a time of an array.
const BUFFER: usize = 1 << 20;
/// Bytes of places collected before they are written.
const PENDING: usize = 1 << 12;

/// Where the rows of every record of every shard belong, on disk: one shard after the other, each
/// in its own order.
pub(super) struct Destinations {
    path: PathBuf,
    file: File,
    files: bool,
    /// For each shard, the byte where its next place goes, and places not yet written.
    ends: Vec<(u64, Vec<u8>)>,
    starts: Vec<u64>,
}

impl Destinations {
    pub(super) fn create(partial: &Path, files: bool, parts: &[Part]) -> Result<Self, MergeError> {
        let path = partial.join(DESTINATIONS);
        let file = disk::create_new(&path).map_err(|e| OutputError::io("making", &path, e))?;
        let mut at = 0_u64;
        let starts: Vec<u64> = parts
            .iter()
            .map(|part| {
                let start = at;
                let bytes = part.manifest.counts.records.saturating_mul(slot(files));
                at = at.saturating_add(bytes);
                start
            })
            .collect();
        Ok(Self {
            path,
            file,
            files,
            ends: starts.iter().map(|&start| (start, Vec::new())).collect(),
            starts,
        })
    }

    /// Adds the place of the next record of a shard.
    pub(super) fn push(&mut self, shard: usize, place: &Place) -> Result<(), MergeError> {
        if let Some((_, pending)) = self.ends.get_mut(shard) {
            pending.extend(place.row.to_le_bytes());
            encode(place, self.files, pending);
            if pending.len() >= PENDING {
                self.write(shard)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, shard: usize) -> Result<(), MergeError> {
        if let Some((at, pending)) = self.ends.get_mut(shard) {
            self.file
                .write_all_at(pending, *at)
                .map_err(|e| OutputError::io("writing places to", &self.path, e))?;
            *at += pending.len() as u64;
            pending.clear();
        }
        Ok(())
    }

    pub(super) fn close(&mut self) -> Result<(), MergeError> {
        (0..self.ends.len()).try_for_each(|shard| self.write(shard))
    }

    /// The places of one shard, to be read once for each array.
    pub(super) fn of(&self, shard: usize) -> Result<Places, MergeError> {
        let reading = |e| OutputError::io("reading", &self.path, e);
        let file = disk::open_regular(&self.path).map_err(reading)?;
        Ok(Places {
            path: self.path.clone(),
            reader: BufReader::with_capacity(1 << 16, file),
            files: self.files,
            start: self.starts.get(shard).copied().unwrap_or(0),
        })
    }
}

fn slot(files: bool) -> u64 {
    8 + slot_bytes(files) as u64
}

/// The places of one shard's records.
pub(super) struct Places {
    path: PathBuf,
    reader: BufReader<File>,
    files: bool,
    start: u64,
}

impl Places {
    /// Calls `each` with the place of every record.
    fn each(
        &mut self,
        records: u64,
        mut each: impl FnMut(&Place) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let reading = |e| OutputError::io("reading", &self.path, e);
        self.reader
            .seek(SeekFrom::Start(self.start))
            .map_err(reading)?;
        let mut row = [0; 8];
        let mut bytes = vec![0; slot_bytes(self.files)];
        for _ in 0..records {
            self.reader.read_exact(&mut row).map_err(reading)?;
            self.reader.read_exact(&mut bytes).map_err(reading)?;
            each(&decode(u64::from_le_bytes(row), &bytes, self.files))?;
        }
        Ok(())
    }
}

/// Copies every row of a shard, checking the checksum of what is read.
pub(super) fn copy(
    part: &Part,
    mut places: Places,
    folder: &OutputFolder,
    shards: Shards,
) -> Result<(), MergeError> {
    let layout = &part.manifest.layout;
    let counts = &part.manifest.counts;
    let rows = folder.rows();
    for array in layout.arrays() {
        if array.storage == Storage::Files {
            copy_files(part, &mut places, folder, &array, shards)?;
            continue;
        }
        let mut packed = open_packed(part, &array)?;
        places.each(counts.records, |place| {
            Ok(rows.pour(array.product, place, &mut packed)?)
        })?;
        packed.close()?;
    }
    Ok(())
}

/// Opens the file of an array at its first row.
fn open_packed<'a>(part: &'a Part, array: &Array) -> Result<Hashed<'a>, MergeError> {
    let name = array.location();
    let mut file = Hashed::open(part, &name, BUFFER)?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)
        .map_err(|e| part.unreadable(&name, e))?;
    let elements = array.elements(&part.manifest.counts);
    if Some(header) != npy::header(array.dtype, &array.packed_shape(elements)) {
        return Err(file.damaged("its header is not the one that run.json calls for"));
    }
    Ok(file)
}

/// Copies or links the files of single records of one array.
fn copy_files(
    part: &Part,
    places: &mut Places,
    folder: &OutputFolder,
    array: &Array,
    shards: Shards,
) -> Result<(), MergeError> {
    let name = &array.location();
    let list = &checksum_list(name);
    let mut whole = Hashed::open(part, list, BUFFER)?;
    std::io::copy(&mut whole, &mut std::io::sink()).map_err(|e| part.unreadable(list, e))?;
    whole.close()?;
    let mut listed =
        ListReader::open(&part.dir.join(list), name).map_err(|e| part.unreadable(list, e))?;
    places.each(part.manifest.counts.records, |place| {
        let file = listed
            .next()
            .transpose()
            .map_err(|e| part.unreadable(list, e))?
            .flatten()
            .ok_or_else(|| part.damaged(list, "holds a line that no run writes"))?;
        let path = format!("{name}/{}/{}", file.sub, file.name);
        let mut source = Hashed::open_as(part, &path, file.sha256, 1 << 16)?;
        let rows = folder.rows();
        if shards == Shards::Remove
            && rows.link_file(array.product, place, &part.dir.join(&path))?
        {
            std::io::copy(&mut source, &mut std::io::sink())
                .map_err(|e| part.unreadable(&path, e))?;
        } else {
            rows.pour(array.product, place, &mut source)?;
        }
        source.close()
    })
}
