//! Which values of a record an interrupted run has written.

use super::{ArrayWriter, OpenArray, record_file, span};
use crate::output::array::Array;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::npy::{self, HEADER_BYTES};
use crate::output::place::Place;
use crate::output::resume::proof::{Proof, Written};
use crate::output::write::array_file::ArrayFile;
use std::os::unix::fs::FileExt;

impl ArrayWriter {
    /// Whether the values of a record are, byte for byte, those that were written when it was
    /// entered in the journal with the checksum `rows`.
    ///
    /// # Errors
    /// When a file cannot be read. A missing or short file lacks the values and is not an error.
    pub fn holds(&self, place: &Place, rows: u32) -> Result<bool, OutputError> {
        let mut proof = Proof::default();
        for (number, OpenArray { array, packed }) in self.arrays.iter().enumerate() {
            let checksum = match packed {
                Some(file) => {
                    let (start, bytes) = span(array, &file.name, place)?;
                    file.checksum_at(start, bytes)?
                }
                None => self.file_checksum(array, place)?,
            };
            let Some(checksum) = checksum else {
                return Ok(false);
            };
            proof.add(Written {
                array: number,
                checksum,
            });
        }
        Ok(proof.value() == rows)
    }

    /// The checksum of the values in a record's own file, or `None` unless it is complete.
    fn file_checksum(&self, array: &Array, place: &Place) -> Result<Option<u32>, OutputError> {
        let name = record_file(array, place)?;
        let (start, bytes) = span(array, &name.to_string_lossy(), place)?;
        let path = self.partial.join(name);
        let kind = disk::kind(&path).map_err(|e| OutputError::io("reading", &path, e))?;
        if !kind.is_some_and(|kind| kind.is_file()) {
            return Ok(None);
        }
        let file = disk::open_regular(&path).map_err(|e| OutputError::io("opening", &path, e))?;
        let reading = |e| OutputError::io("reading", &path, e);
        let length = file.metadata().map_err(reading)?.len();
        if length != start.saturating_add(bytes) {
            return Ok(None);
        }
        disk::forget_pages(&file);
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(reading)?;
        if Some(header) != npy::header(array.dtype, &array.record_shape(place.length)) {
            return Ok(None);
        }
        let name = String::new();
        let file = ArrayFile { name, path, file };
        file.checksum_at(start, bytes)
    }
}
