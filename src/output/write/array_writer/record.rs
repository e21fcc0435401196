//! The values of one record in one array, written in parts.

use super::{ArrayWriter, OpenArray, fit, record_file, span};
use crate::output::array::Array;
use crate::output::error::OutputError;
use crate::output::place::Place;
use crate::output::resume::proof::Written;
use crate::output::write::array_file::{ArrayFile, make_file};
use crate::product::{Product, Values};
use crc32fast::Hasher;

/// Writes the values of one record to their place in one array, one part after the other.
#[derive(Debug)]
pub struct RecordWriter<'a> {
    array: &'a Array,
    /// Number of the array in the layout.
    number: usize,
    place: Place,
    file: File<'a>,
    /// First byte of the record's values.
    start: u64,
    /// Values written so far.
    values: u64,
    hasher: Hasher,
}

/// Where the values of a record are.
#[derive(Debug)]
enum File<'a> {
    /// In the file of all records.
    Packed(&'a ArrayFile),
    /// In the record's own file.
    Own(ArrayFile),
}

impl ArrayWriter {
    /// Begins the values of one record: finds their place in the array's file, or makes the record's
    /// own file with its header.
    ///
    /// # Errors
    /// A product that the layout lacks; a failed write.
    pub fn begin(&self, product: Product, place: &Place) -> Result<RecordWriter<'_>, OutputError> {
        let (number, OpenArray { array, packed }) = self.find(product)?;
        let (file, start) = match packed {
            Some(file) => (File::Packed(file), span(array, &file.name, place)?.0),
            None => {
                let path = record_file(array, place)?;
                let name = path.to_string_lossy().into_owned();
                let (start, _) = span(array, &name, place)?;
                let path = self.partial.join(&path);
                let file = make_file(&path)?;
                let file = ArrayFile { name, path, file };
                file.write_header(array.dtype, &array.record_shape(place.length))?;
                (File::Own(file), start)
            }
        };
        Ok(RecordWriter {
            array,
            number,
            place: place.clone(),
            file,
            start,
            values: 0,
            hasher: Hasher::new(),
        })
    }
}

impl RecordWriter<'_> {
    /// Writes the next values, in the order of [`Product::shape`].
    ///
    /// # Errors
    /// A value that is not finite, or not as f16; more values than the record has; f16 values for an
    /// array of f32; a failed write. Nothing of the part is written when a value is unfit.
    pub fn push<'v>(&mut self, values: impl Into<Values<'v>>) -> Result<(), OutputError> {
        let values = values.into();
        let after = self.values.saturating_add(values.len() as u64);
        if after > fit::expected(self.array, &self.place) {
            return Err(self.wrong_count(after));
        }
        fit::check_values(
            self.array,
            &self.file().name,
            &self.place,
            self.values,
            values,
        )?;
        self.append(values)
    }

    /// Writes the next values, which were checked.
    pub(super) fn append(&mut self, values: Values<'_>) -> Result<(), OutputError> {
        let dtype = self.array.dtype;
        let at = self.start + self.values * dtype.bytes();
        self.values += values.len() as u64;
        // Borrowed apart from the checksum.
        let file = match &self.file {
            File::Packed(file) => file,
            File::Own(file) => file,
        };
        file.write_at(at, values, dtype, &mut self.hasher)
    }

    /// Whether all values are written.
    pub fn is_complete(&self) -> bool {
        self.values == fit::expected(self.array, &self.place)
    }

    /// What was written, when all values are.
    ///
    /// # Errors
    /// Fewer values than the record has.
    pub fn finish(self) -> Result<Written, OutputError> {
        if !self.is_complete() {
            return Err(self.wrong_count(self.values));
        }
        Ok(Written {
            array: self.number,
            checksum: self.hasher.finalize(),
        })
    }

    fn file(&self) -> &ArrayFile {
        match &self.file {
            File::Packed(file) => file,
            File::Own(file) => file,
        }
    }

    fn wrong_count(&self, found: u64) -> OutputError {
        fit::wrong_count(self.array, &self.file().name, &self.place, found)
    }
}
