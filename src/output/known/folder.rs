//! An output folder whose values are copied.

use super::{DIGEST, KnownError};
use crate::output::array::{Array, Storage, checksum_list};
use crate::output::checksum::{ListReader, pieces, sha256};
use crate::output::disk;
use crate::output::disk_map::Key;
use crate::output::folder_files::{INDEX_TSV, SHARD_TSV};
use crate::output::layout::Layout;
use crate::output::manifest::Manifest;
use crate::output::npy::{self, HEADER_BYTES};
use crate::output::place::Place;
use crate::output::read::finished::FinishedFolder;
use crate::output::read::record::Record;
use crate::output::resume::proof::Proof;
use crate::output::shard::{self, ShardLine};
use crate::output::shard_file::{self, ShardFile};
use crate::output::write::array_writer::ArrayWriter;
use crate::product::{OutDtype, Product, Values};
use crate::sha256::parse;
use crate::threads::Threads;
use half::f16;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A folder with arrays in it, neither linked nor unfinished.
#[derive(Debug)]
pub struct KnownFolder {
    folder: FinishedFolder,
    /// Its arrays of the products to copy.
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    array: Array,
    /// The file of all records.
    packed: Option<ShardFile>,
}

/// A record, and the checksums of its own files in the order of the products.
type RecordAndDigests = (Record, Vec<[u8; DIGEST]>);

impl KnownFolder {
    /// The folders that hold the arrays of an output folder: itself, or those of its shards.
    ///
    /// # Errors
    /// It is not a finished output, or a shard is not there.
    pub fn parts(dir: &Path) -> Result<Vec<FinishedFolder>, KnownError> {
        let folder = FinishedFolder::open(dir)?;
        let shards: Vec<PathBuf> = folder
            .shard_folders()
            .into_iter()
            .map(PathBuf::from)
            .collect();
        if shards.is_empty() {
            return Ok(vec![folder]);
        }
        let open = |dir: &PathBuf| Ok(FinishedFolder::open(dir)?);
        shards.iter().map(open).collect()
    }

    /// Folders for the products of this layout, whose checksums are compared.
    ///
    /// # Errors
    /// One lacks a product or has it in another form; it is damaged.
    pub fn open_all(
        folders: Vec<FinishedFolder>,
        layout: &Layout,
        threads: &Threads,
    ) -> Result<Vec<Self>, KnownError> {
        let files = folders.len().saturating_mul(layout.arrays().len());
        let is_kept = shard_file::fit(files);
        let folders = folders.into_iter();
        folders
            .map(|folder| Self::new(folder, layout, threads, is_kept))
            .collect()
    }

    /// `is_kept`: whether the files of its arrays stay open.
    fn new(
        folder: FinishedFolder,
        layout: &Layout,
        threads: &Threads,
        is_kept: bool,
    ) -> Result<Self, KnownError> {
        let manifest = folder.manifest();
        for (count, format) in [
            (manifest.counts.in_bf16, "bf16"),
            (manifest.counts.in_f32, "f32"),
        ] {
            if count > 0 {
                return Err(KnownError::InFallback {
                    dir: folder.dir().to_path_buf(),
                    format,
                });
            }
        }
        let find = |wanted: Array| {
            let differs = |what: String| KnownError::Differs {
                dir: folder.dir().to_path_buf(),
                differences: vec![what],
            };
            let name = wanted.name();
            let found = folder.array(wanted.product);
            let found = found.ok_or_else(|| differs(format!("it has no {name}")))?;
            let is_stack = matches!(wanted.product, Product::Stacked { .. });
            let is_same = found.dtype == wanted.dtype
                && [1, 2].map(|n| found.record_shape(n)) == [1, 2].map(|n| wanted.record_shape(n))
                && (!is_stack || manifest.layout.layers == layout.layers);
            match is_same {
                true => Ok(*found),
                false => Err(differs(format!("its {name} has another form"))),
            }
        };
        let arrays: Vec<Array> = layout
            .arrays()
            .into_iter()
            .map(find)
            .collect::<Result<_, _>>()?;
        for table in [INDEX_TSV, SHARD_TSV] {
            if manifest.files.iter().any(|file| file.name == table) {
                verified(&folder, table, threads)?;
            }
        }
        let open = |array: Array| {
            let packed = match array.storage {
                Storage::Packed => {
                    let file = verified(&folder, &array.location(), threads)?;
                    let path = folder.dir().join(array.location());
                    let file = ShardFile::new(file, &path, is_kept);
                    let file =
                        file.map_err(|error| damaged(&path, format!("cannot be read: {error}")))?;
                    check_header(&folder, &file, &array)?;
                    Some(file)
                }
                Storage::Files => {
                    verified(&folder, &checksum_list(&array.name()), threads)?;
                    None
                }
            };
            Ok(Source { array, packed })
        };
        let sources: Result<_, KnownError> = arrays.into_iter().map(open).collect();
        Ok(Self {
            sources: sources?,
            folder,
        })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.folder.dir()
    }

    /// Its `run.json`.
    pub fn manifest(&self) -> &Manifest {
        self.folder.manifest()
    }

    /// Products of which each record has its own file.
    pub(super) fn own_files(&self) -> usize {
        let own = self.sources.iter().filter(|source| source.packed.is_none());
        own.count()
    }

    /// Its records, with the checksums of their own files.
    pub(super) fn records(
        &self,
    ) -> Result<impl Iterator<Item = Result<RecordAndDigests, KnownError>>, KnownError> {
        let own = self.sources.iter().filter(|source| source.packed.is_none());
        let names: Vec<String> = own.map(|source| source.array.name()).collect();
        let mut lists = Vec::new();
        for name in names {
            let list = self.folder.dir().join(checksum_list(&name));
            let reader = ListReader::open(&list, &name);
            let reader =
                reader.map_err(|error| damaged(&list, format!("cannot be read: {error}")))?;
            lists.push((list, reader));
        }
        let records = self.folder.records()?;
        Ok(records.map(move |record| {
            let record = record?;
            let mut digests = Vec::new();
            for (list, reader) in &mut lists {
                let line = reader.next().and_then(Result::ok).flatten();
                let line = line.filter(|line| {
                    let named = format!("{}/{}", line.sub, line.name);
                    record.file.as_deref() == Some(named.as_str())
                });
                let digest = line.and_then(|line| parse(&line.sha256));
                let digest = digest.ok_or_else(|| {
                    let row = record.row;
                    damaged(
                        list,
                        format!("does not list the file of the record in row {row}"),
                    )
                });
                digests.push(digest?);
            }
            Ok((record, digests))
        }))
    }

    /// Copies all values of a record to a place of the same length.
    pub(super) fn copy(
        &self,
        from: &Place,
        digests: &[[u8; DIGEST]],
        to: &Place,
        rows: &ArrayWriter,
        proof: &mut Proof,
    ) -> Result<(), KnownError> {
        let mut digests = digests.iter();
        for Source { array, packed } in &self.sources {
            let dir = self.folder.dir();
            let bytes = match packed {
                Some(file) => packed_bytes(file, &dir.join(array.location()), array, from)?,
                None => {
                    let name = from.file.as_deref().unwrap_or_default();
                    let sub = Layout::sub_folder(from.row);
                    let path = dir.join(array.location()).join(sub).join(name);
                    let digest = digests.next().copied().unwrap_or_default();
                    file_bytes(&path, array, from, &digest)?
                }
            };
            proof.add(write(array, &bytes, to, rows)?);
        }
        Ok(())
    }
}

fn damaged(path: &Path, what: String) -> KnownError {
    KnownError::Damaged {
        path: path.to_path_buf(),
        what,
    }
}

/// Opens a file whose size and checksum are those in `run.json`.
fn verified(folder: &FinishedFolder, name: &str, threads: &Threads) -> Result<File, KnownError> {
    let path = folder.dir().join(name);
    let entry = folder
        .manifest()
        .files
        .iter()
        .find(|file| file.name == name);
    let entry = entry.ok_or_else(|| damaged(&path, "is not listed in run.json".into()))?;
    let unreadable = |error| damaged(&path, format!("cannot be read: {error}"));
    let file = disk::open_regular(&path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let found = match bytes == entry.bytes {
        true => sha256(&file, bytes, pieces(bytes), threads).map_err(unreadable)?,
        false => {
            return Err(damaged(
                &path,
                format!("has {bytes} bytes; run.json says {}", entry.bytes),
            ));
        }
    };
    match found == entry.sha256 {
        true => Ok(file),
        false => {
            let what = format!("its SHA-256 is {found}; run.json says {}", entry.sha256);
            Err(damaged(&path, what))
        }
    }
}

/// Checks that the header of a packed array is that of its counts.
fn check_header(
    folder: &FinishedFolder,
    file: &ShardFile,
    array: &Array,
) -> Result<(), KnownError> {
    let path = folder.dir().join(array.location());
    let mut header = [0; HEADER_BYTES];
    let read = file.read_exact_at(&mut header, 0);
    let expected = npy::header(array.dtype, &folder.packed_shape(array));
    match read.is_ok() && Some(header) == expected {
        true => Ok(()),
        false => Err(damaged(&path, "its header does not match run.json".into())),
    }
}

/// The bytes of the values of a record in the file of all.
fn packed_bytes(
    file: &ShardFile,
    path: &Path,
    array: &Array,
    place: &Place,
) -> Result<Vec<u8>, KnownError> {
    let span = array.start(place).zip(array.record_bytes(place.length));
    let span = span.and_then(|(start, bytes)| Some((start, usize::try_from(bytes).ok()?)));
    let (start, bytes) = span.ok_or_else(|| damaged(path, "is too large".into()))?;
    let mut values = vec![0; bytes];
    let read = file.read_exact_at(&mut values, start);
    read.map_err(|error| damaged(path, format!("cannot be read: {error}")))?;
    Ok(values)
}

/// The bytes of the values in a record's own file, which has to have this checksum.
fn file_bytes(
    path: &Path,
    array: &Array,
    place: &Place,
    digest: &[u8; DIGEST],
) -> Result<Vec<u8>, KnownError> {
    let unreadable = |error| damaged(path, format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let mut file = disk::open_regular(path).map_err(unreadable)?;
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if Sha256::digest(&bytes).as_slice() != digest {
        return Err(damaged(
            path,
            "its SHA-256 is not the one that run.json stands for".into(),
        ));
    }
    let header = npy::header(array.dtype, &array.record_shape(place.length));
    match bytes.split_at_checked(HEADER_BYTES) {
        Some((found, values)) if header.is_some_and(|header| header == found) => {
            Ok(values.to_vec())
        }
        _ => Err(damaged(path, "its header is not that of the record".into())),
    }
}

/// Writes the values of a record.
fn write(
    array: &Array,
    bytes: &[u8],
    place: &Place,
    rows: &ArrayWriter,
) -> Result<crate::output::Written, KnownError> {
    let written = match array.dtype {
        OutDtype::F32 => {
            let (numbers, _) = bytes.as_chunks();
            let floats: Vec<f32> = numbers.iter().map(|&n| f32::from_le_bytes(n)).collect();
            rows.write(array.product, place, Values::F32(&floats))
        }
        OutDtype::F16 => {
            let (numbers, _) = bytes.as_chunks();
            let halves: Vec<f16> = numbers.iter().map(|&n| f16::from_le_bytes(n)).collect();
            rows.write(array.product, place, Values::F16(&halves))
        }
    };
    Ok(written?)
}

/// The keys of the sequences of a shard, in the order of its index.
#[derive(Debug)]
pub struct ShardKeys {
    path: PathBuf,
    reader: BufReader<File>,
}

impl ShardKeys {
    /// Opens the table of a shard, whose checksum was compared.
    ///
    /// # Errors
    /// It is not there, or is not that of a shard.
    pub fn open(dir: &Path) -> Result<Self, KnownError> {
        let path = dir.join(SHARD_TSV);
        let file = disk::open_regular(&path);
        let file = file.map_err(|error| damaged(&path, format!("cannot be read: {error}")))?;
        let mut keys = Self {
            reader: BufReader::with_capacity(1 << 16, file),
            path,
        };
        match keys.line()?.as_slice() == shard::COLUMNS.trim_end().as_bytes() {
            true => Ok(keys),
            false => Err(keys.strange()),
        }
    }

    fn line(&mut self) -> Result<Vec<u8>, KnownError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(shard::LONGEST_LINE as u64);
        let read = limited.read_until(b'\n', &mut line);
        match (read, line.pop()) {
            (Ok(_), Some(b'\n')) => Ok(line),
            _ => Err(self.strange()),
        }
    }

    fn strange(&self) -> KnownError {
        damaged(&self.path, "is not what a run writes".into())
    }

    /// The key of the next record with rows.
    ///
    /// # Errors
    /// No such record is left, or its line cannot be read.
    pub fn next_key(&mut self) -> Result<Key, KnownError> {
        loop {
            let line = self.line()?;
            let line = ShardLine::parse(&line).ok_or_else(|| self.strange())?;
            if let Some((key, _)) = line.embedded {
                return Ok(key);
            }
        }
    }
}
