//! What is exported: the values of arrays, record by record.

use super::about::About;
use super::arrays::record_shape;
use super::sequences::Sequences;
use super::{ExportError, Progress};
use crate::output::{Array, ArrayValues, FinishedFolder, INDEX_TSV, ReadError, Record, Records};
use crate::product::{OutDtype, Values};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Arrays of an output folder.
pub(super) struct Source<'a> {
    pub(super) folder: &'a FinishedFolder,
    pub(super) arrays: Vec<Array>,
    /// How numbers are stored.
    pub(super) dtype: OutDtype,
    fasta: &'a [PathBuf],
    progress: &'a mut Progress<'a>,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        folder: &'a FinishedFolder,
        arrays: Vec<Array>,
        dtype: OutDtype,
        fasta: &'a [PathBuf],
        progress: &'a mut Progress<'a>,
    ) -> Self {
        Self {
            folder,
            arrays,
            dtype,
            fasta,
            progress,
        }
    }

    /// The array, where there is only one.
    pub(super) fn array(&self) -> Result<Array, ExportError> {
        let first = self.arrays.first().copied();
        first.ok_or_else(|| ExportError::Unfit("there is no array".into()))
    }

    /// Number of records.
    pub(super) fn records(&self) -> u64 {
        self.folder.manifest().counts.records
    }

    /// What is known about the run.
    pub(super) fn about(&self) -> Result<About, ExportError> {
        Ok(About::of(self.folder, &self.array()?))
    }

    /// The records in order, without their values.
    pub(super) fn index(&self) -> Result<Index<'a>, ExportError> {
        Ok(Index {
            folder: self.folder,
            records: self.folder.records()?,
            read: 0,
        })
    }

    /// The sequences of the records.
    pub(super) fn sequences(&self) -> Result<Sequences, ExportError> {
        Sequences::open(self.folder.manifest(), self.fasta)
    }

    /// The records in order, with their values.
    pub(super) fn rows(&mut self) -> Result<Rows<'a, '_>, ExportError> {
        let values: Result<_, _> = self
            .arrays
            .iter()
            .map(|one| self.folder.values(one))
            .collect();
        Ok(Rows {
            index: self.index()?,
            values: values?,
            arrays: self.arrays.clone(),
            dtype: self.dtype,
            all: self.records(),
            progress: self.progress,
            floats: Vec::new(),
        })
    }
}

/// The records in order.
pub(super) struct Index<'a> {
    folder: &'a FinishedFolder,
    records: Records,
    read: u64,
}

impl Index<'_> {
    /// The next record.
    pub(super) fn next(&mut self) -> Result<Option<Record>, ReadError> {
        let record = self.records.next().transpose()?;
        let all = self.folder.manifest().counts.records;
        self.read += u64::from(record.is_some());
        if self.read > all || record.is_none() && self.read < all {
            return Err(ReadError::Damaged {
                path: self.folder.dir().join(INDEX_TSV),
                what: "does not have as many records as run.json says".into(),
            });
        }
        Ok(record)
    }
}

/// The records in order, with their values.
pub(super) struct Rows<'a, 'p> {
    index: Index<'a>,
    arrays: Vec<Array>,
    values: Vec<ArrayValues>,
    dtype: OutDtype,
    all: u64,
    progress: &'p mut Progress<'a>,
    floats: Vec<f32>,
}

impl Rows<'_, '_> {
    /// The next record.
    pub(super) fn next(&mut self) -> Result<Option<Record>, ExportError> {
        let record = self.index.next()?;
        let done = self.index.read.saturating_sub(u64::from(record.is_some()));
        match (self.progress)(done, self.all) {
            ControlFlow::Continue(()) => Ok(record),
            ControlFlow::Break(()) => Err(ExportError::Stopped),
        }
    }

    /// The values of this record in an array, as they are stored, and their shape. Each record that
    /// [`Self::next`] gave is read once from each array.
    pub(super) fn read(
        &mut self,
        record: &Record,
        at: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<Vec<u64>, ExportError> {
        let (Some(array), Some(values)) = (self.arrays.get(at), self.values.get_mut(at)) else {
            return Ok(Vec::new());
        };
        values.read(record, &mut self.floats)?;
        let shape = record_shape(array, record.length);
        // Of stacked layers, the highest comes last.
        let number = shape.iter().product::<u64>() as usize;
        let start = self.floats.len().saturating_sub(number);
        let floats = Values::F32(self.floats.get(start..).unwrap_or_default());
        if floats.first_unfit(self.dtype).is_some() {
            return Err(ExportError::TooLarge {
                dir: self.index.folder.dir().to_path_buf(),
                id: record.id.clone(),
            });
        }
        bytes.clear();
        floats.encode(self.dtype, bytes);
        Ok(shape)
    }
}
