//! The values of an array: all at once, or record by record.

use super::ReadError;
use super::array_file::{header, open, unreadable};
use super::linked::LinkedValues;
use super::record::Record;
use crate::numerals::count;
use crate::output::array::{Array, Storage};
use crate::output::shard_file::ShardFile;
use crate::product::OutDtype;
use half::f16;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 16;
/// Bytes that are read ahead where the records of an array are read in order.
pub(super) const AHEAD: usize = 1 << 20;

/// The values of an array, record by record in order. Memory holds one record.
#[derive(Debug)]
pub struct ArrayValues(pub(super) Source);

/// Where they are.
#[derive(Debug)]
pub(super) enum Source {
    /// In the folder.
    Own(OwnValues),
    /// In the folders of its shards.
    Linked(LinkedValues),
}

impl ArrayValues {
    /// Replaces `values` with those of a record, row by row: the first record at first, then each
    /// next one.
    ///
    /// # Errors
    /// When the array is damaged, or has a number that is not finite.
    pub fn read(&mut self, record: &Record, values: &mut Vec<f32>) -> Result<(), ReadError> {
        match &mut self.0 {
            Source::Own(own) => own.read(record, values),
            Source::Linked(linked) => linked.read(record, values),
        }
    }
}

/// The values of an array in the folder itself.
#[derive(Debug)]
pub(super) struct OwnValues {
    array: Array,
    path: PathBuf,
    /// The file of a packed array, behind the records that were read.
    packed: Option<BufReader<ShardFile>>,
}

/// How the file of a packed array is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Bytes that are read ahead.
    pub(super) ahead: usize,
    /// Whether it stays open.
    pub(super) is_kept: bool,
}

impl Reading {
    /// A file that is not one of many.
    pub(super) const ALONE: Reading = Reading {
        ahead: AHEAD,
        is_kept: true,
    };
}

impl OwnValues {
    pub(super) fn open(
        dir: &Path,
        array: &Array,
        shape: &[u64],
        reading: Reading,
    ) -> Result<Self, ReadError> {
        let path = dir.join(array.location());
        let packed = match array.storage {
            Storage::Files => None,
            Storage::Packed => {
                let file = open_array(&path, array, shape).and_then(|file| {
                    ShardFile::new(file, &path, reading.is_kept).map_err(unreadable)
                });
                let file = file.map_err(|what| damaged(&path, what))?;
                Some(BufReader::with_capacity(reading.ahead, file))
            }
        };
        Ok(Self {
            array: *array,
            path,
            packed,
        })
    }

    pub(super) fn read(&mut self, record: &Record, values: &mut Vec<f32>) -> Result<(), ReadError> {
        values.clear();
        let shape = self.array.record_shape(record.length);
        match &mut self.packed {
            None => {
                let path = self.path.join(record.file.as_deref().unwrap_or_default());
                let file = open_array(&path, &self.array, &shape);
                file.and_then(|mut file| decode(&mut file, self.array.dtype, &shape, values))
                    .map_err(|what| damaged(&path, what))
            }
            Some(file) => decode(file, self.array.dtype, &shape, values).map_err(|what| {
                let what = format!("record in row {}: {what}", record.row);
                damaged(&self.path, what)
            }),
        }
    }
}

fn damaged(path: &Path, what: String) -> ReadError {
    ReadError::Damaged {
        path: path.to_path_buf(),
        what,
    }
}

/// All values of a file whose array has this shape.
pub(super) fn read(path: PathBuf, array: &Array, shape: &[u64]) -> Result<Vec<f32>, ReadError> {
    let mut values = Vec::new();
    let file = open_array(&path, array, shape);
    file.and_then(|mut file| decode(&mut file, array.dtype, shape, &mut values))
        .map_err(|what| damaged(&path, what))?;
    Ok(values)
}

/// Opens a file behind its header, which has to give this shape.
fn open_array(path: &Path, array: &Array, shape: &[u64]) -> Result<File, String> {
    let mut file = open(path)?;
    let found = header(&mut file, array)?;
    match found == shape {
        true => Ok(file),
        false => Err(format!(
            "its header says shape {found:?}; index.tsv and run.json give {shape:?}"
        )),
    }
}

/// Makes room for this number of values, and returns it.
pub(super) fn reserve(values: &mut Vec<f32>, number: u64) -> Result<usize, String> {
    let count = usize::try_from(number).map_err(|_| "is too large for this machine")?;
    values.try_reserve_exact(count).map_err(|_| {
        format!(
            "there is no memory for its values, {}",
            crate::numerals::bytes(number.saturating_mul(4))
        )
    })?;
    Ok(count)
}

/// Appends the values of an array of this shape, which is that of a real file.
fn decode(
    file: &mut impl Read,
    dtype: OutDtype,
    shape: &[u64],
    values: &mut Vec<f32>,
) -> Result<(), String> {
    let number = shape.iter().fold(1, |n: u64, &size| n.saturating_mul(size));
    let number = reserve(values, number)?;
    let first = values.len();
    let mut left = number.saturating_mul(dtype.bytes() as usize);
    let mut block = vec![0; left.min(BLOCK)];
    while left > 0 {
        let (bytes, _) = block.split_at_mut(left.min(BLOCK));
        file.read_exact(bytes).map_err(unreadable)?;
        match dtype {
            OutDtype::F32 => {
                let (numbers, _) = bytes.as_chunks();
                values.extend(numbers.iter().map(|&number| f32::from_le_bytes(number)));
            }
            OutDtype::F16 => {
                let (numbers, _) = bytes.as_chunks();
                let numbers = numbers.iter().map(|&number| f16::from_le_bytes(number));
                values.extend(numbers.map(f16::to_f32));
            }
        }
        left -= bytes.len();
    }
    let new = values.get(first..).unwrap_or_default();
    match new.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(format!(
            "value {} of {} is not a finite number",
            at.saturating_add(1),
            count(number as u64, "value")
        )),
    }
}
