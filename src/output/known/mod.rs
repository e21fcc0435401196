//! Values of sequences that other output folders hold already, to be copied instead of computed.
//!
//! The folders are not trusted: the checksum of every file is compared before anything of it is used, so
//! that damage does not spread. What is remembered of each sequence is on disk.

mod error;
mod folder;

pub use error::KnownError;
pub use folder::{KnownFolder, ShardKeys};

use crate::output::disk;
use crate::output::disk_map::{DiskMap, Key};
use crate::output::place::{Place, decode, encode, slot_bytes};
use crate::output::resume::proof::Proof;
use crate::output::write::array_writer::ArrayWriter;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a checksum.
const DIGEST: usize = 32;

/// The sequences of some output folders.
#[derive(Debug)]
pub struct Known {
    folders: Vec<KnownFolder>,
    /// For each sequence, the number of its slot.
    slots: DiskMap,
    /// Folder, row, place, and the checksums of the record's own files.
    places: File,
    /// Where these are, for messages.
    out: PathBuf,
    /// Checksums in each slot.
    digests: usize,
    count: u64,
}

/// Where the values of a sequence are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRecord {
    folder: usize,
    place: Place,
    digests: Vec<[u8; DIGEST]>,
}

/// Collects the sequences of output folders.
#[derive(Debug)]
pub struct KnownBuilder {
    folders: Vec<KnownFolder>,
    slots: DiskMap,
    places: BufWriter<File>,
    out: PathBuf,
    digests: usize,
    count: u64,
}

impl KnownBuilder {
    /// Of these folders, whose sequences are to be added; what is remembered of them is on the file system of
    /// `out`.
    ///
    /// # Errors
    /// There is no place for temporary files.
    pub fn new(folders: Vec<KnownFolder>, out: &Path) -> Result<Self, KnownError> {
        let making = |cause| KnownError::io("making temporary files near", out, cause);
        let digests = folders.iter().map(KnownFolder::own_files).max();
        Ok(Self {
            folders,
            slots: DiskMap::temporary(out),
            places: BufWriter::with_capacity(1 << 16, disk::unnamed_file(out).map_err(making)?),
            out: out.to_path_buf(),
            digests: digests.unwrap_or(0),
            count: 0,
        })
    }

    /// Adds the sequences of a folder. `key` gives the key of each record, in the order of its index.
    ///
    /// # Errors
    /// The folder is damaged; `key` fails.
    pub fn add<E: From<KnownError>>(
        &mut self,
        number: usize,
        mut key: impl FnMut(&crate::output::Record) -> Result<Key, E>,
    ) -> Result<(), E> {
        let Some(folder) = self.folders.get(number) else {
            return Ok(());
        };
        let failed = |cause| KnownError::io("writing temporary files near", &self.out, cause);
        let mut slot = Vec::new();
        for record in folder.records()? {
            let (record, digests) = record?;
            let key = key(&record)?;
            let known = self.slots.get_or_insert(key, self.count).map_err(failed)?;
            if known.is_some() {
                continue;
            }
            let file = record.file.as_deref();
            let place = Place {
                row: record.row,
                residue_offset: record.residue_offset,
                length: record.length,
                file: file.and_then(|path| Some(path.split_once('/')?.1.to_owned())),
            };
            slot.clear();
            slot.extend((number as u64).to_le_bytes());
            slot.extend(place.row.to_le_bytes());
            encode(&place, true, &mut slot);
            digests.iter().for_each(|digest| slot.extend(digest));
            slot.resize(bytes_of_slot(self.digests), 0);
            self.places.write_all(&slot).map_err(failed)?;
            self.count += 1;
        }
        Ok(())
    }

    /// The sequences, to be looked up.
    ///
    /// # Errors
    /// Temporary files cannot be written.
    pub fn finish(self) -> Result<Known, KnownError> {
        let places = self.places.into_inner();
        let places = places.map_err(|error| {
            KnownError::io(
                "writing temporary files near",
                &self.out,
                error.into_error(),
            )
        })?;
        Ok(Known {
            folders: self.folders,
            slots: self.slots,
            places,
            out: self.out,
            digests: self.digests,
            count: self.count,
        })
    }
}

fn bytes_of_slot(digests: usize) -> usize {
    16 + slot_bytes(true) + digests * DIGEST
}

impl Known {
    /// How many sequences there are.
    pub fn sequences(&self) -> u64 {
        self.count
    }

    /// Where the values of a sequence are; `None` if no folder has them.
    ///
    /// # Errors
    /// Temporary files cannot be read.
    pub fn find(&self, key: Key) -> Result<Option<KnownRecord>, KnownError> {
        let failed = |cause| KnownError::io("reading temporary files near", &self.out, cause);
        let Some(number) = self.slots.get(key).map_err(failed)? else {
            return Ok(None);
        };
        let mut slot = vec![0; bytes_of_slot(self.digests)];
        let at = number.saturating_mul(slot.len() as u64);
        self.places.read_exact_at(&mut slot, at).map_err(failed)?;
        let (numbers, rest) = slot.split_at(16);
        let (place, digests) = rest.split_at(slot_bytes(true));
        let (numbers, _) = numbers.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let folder = numbers.next().unwrap_or_default() as usize;
        let row = numbers.next().unwrap_or_default();
        let (digests, _) = digests.as_chunks::<DIGEST>();
        Ok(Some(KnownRecord {
            folder,
            place: decode(row, place, true),
            digests: digests.to_vec(),
        }))
    }

    /// Copies all values of a sequence to a place of the same length.
    ///
    /// # Errors
    /// They cannot be read, are damaged, or cannot be written.
    pub fn copy(
        &self,
        record: &KnownRecord,
        place: &Place,
        rows: &ArrayWriter,
    ) -> Result<Proof, KnownError> {
        let mut proof = Proof::default();
        if let Some(folder) = self.folders.get(record.folder) {
            folder.copy(&record.place, &record.digests, place, rows, &mut proof)?;
        }
        Ok(proof)
    }
}
