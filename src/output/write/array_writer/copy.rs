//! Copies values to another place: from a shard, or for a repeated sequence.

use super::{ArrayWriter, OpenArray, record_file, span};
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::place::Place;
use crate::output::write::array_file::{link, make_file};
use crate::product::Product;
use std::io::{self, Read};
use std::path::Path;

impl ArrayWriter {
    /// Copies the values of one record from `source`: the next values of a packed file, or the entire
    /// file of the record.
    pub(crate) fn pour(
        &self,
        product: Product,
        place: &Place,
        source: &mut impl Read,
    ) -> Result<(), OutputError> {
        let (_, OpenArray { array, packed }) = self.find(product)?;
        if let Some(file) = packed {
            let (start, bytes) = span(array, &file.name, place)?;
            return file.pour(start, bytes, source);
        }
        let target = self.partial.join(record_file(array, place)?);
        io::copy(source, &mut make_file(&target)?)
            .map_err(|e| OutputError::io("copying to", &target, e))?;
        Ok(())
    }

    /// Makes the file of one record a hard link to `source`; false where that is impossible.
    pub(crate) fn link_file(
        &self,
        product: Product,
        place: &Place,
        source: &Path,
    ) -> Result<bool, OutputError> {
        let (_, open) = self.find(product)?;
        link(source, &self.partial.join(record_file(&open.array, place)?))
    }

    /// Copies all values of one record to the place of another with the same sequence.
    pub(crate) fn copy_record(&self, from: &Place, to: &Place) -> Result<(), OutputError> {
        for OpenArray { array, packed } in &self.arrays {
            if let Some(file) = packed {
                let (start, bytes) = span(array, &file.name, from)?;
                let (target, _) = span(array, &file.name, to)?;
                file.copy_within(start, target, bytes)?;
                continue;
            }
            let source = self.partial.join(record_file(array, from)?);
            let target = self.partial.join(record_file(array, to)?);
            let mut reader =
                disk::open_regular(&source).map_err(|e| OutputError::io("opening", &source, e))?;
            io::copy(&mut reader, &mut make_file(&target)?)
                .map_err(|e| OutputError::io("copying a duplicate to", &target, e))?;
        }
        Ok(())
    }
}
