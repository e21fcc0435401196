//! Rows that were written before, brought to another place: from a shard, or for a repeated sequence.

use super::{RowWriter, no_layer};
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::place::Place;
use crate::output::write::matrix::{link, make_file};
use std::io::{self, Read};
use std::path::Path;

impl RowWriter {
    /// Copies one row from `source` into the pooled matrix number `matrix` of the layout.
    pub(crate) fn pour_pooled(
        &self,
        matrix: usize,
        row: u64,
        source: &mut impl Read,
    ) -> Result<(), OutputError> {
        let matrix = self.pooled.get(matrix).ok_or_else(|| no_layer(matrix))?;
        let start = self.row_at(matrix, row, row)?;
        matrix.pour(start, self.layout.row_bytes(), source)
    }

    /// Copies the residue rows of one record from `source` into the packed matrix of a layer.
    pub(crate) fn pour_residues(
        &self,
        layer: usize,
        place: &Place,
        source: &mut impl Read,
    ) -> Result<(), OutputError> {
        let matrix = self.residues.get(layer).ok_or_else(|| no_layer(layer))?;
        let start = self.row_at(matrix, place.residue_offset, place.row)?;
        let bytes = self.layout.row_bytes().saturating_mul(place.length);
        matrix.pour(start, bytes, source)
    }

    /// Copies the whole of `source` into the file of one record.
    pub(crate) fn pour_file(
        &self,
        layer: usize,
        place: &Place,
        source: &mut impl Read,
    ) -> Result<(), OutputError> {
        let target = self.partial.join(self.record_file(layer, place)?);
        io::copy(source, &mut make_file(&target)?)
            .map_err(|e| OutputError::io("copying to", &target, e))?;
        Ok(())
    }

    /// Makes the file of one record another name of `source`; false where the file system cannot.
    pub(crate) fn link_file(
        &self,
        layer: usize,
        place: &Place,
        source: &Path,
    ) -> Result<bool, OutputError> {
        let target = self.partial.join(self.record_file(layer, place)?);
        link(source, &target)
    }

    /// Copies every row of one record to the place of another with the same sequence.
    pub(crate) fn copy_record(&self, from: &Place, to: &Place) -> Result<(), OutputError> {
        let row_bytes = self.layout.row_bytes();
        for matrix in &self.pooled {
            let start = self.row_at(matrix, from.row, from.row)?;
            matrix.copy_within(start, self.row_at(matrix, to.row, to.row)?, row_bytes)?;
        }
        let bytes = row_bytes.saturating_mul(from.length);
        for matrix in &self.residues {
            let start = self.row_at(matrix, from.residue_offset, from.row)?;
            matrix.copy_within(
                start,
                self.row_at(matrix, to.residue_offset, to.row)?,
                bytes,
            )?;
        }
        for layer in 0..self.layout.residues_folders().len() {
            let source = self.partial.join(self.record_file(layer, from)?);
            let target = self.partial.join(self.record_file(layer, to)?);
            let mut reader =
                disk::open_regular(&source).map_err(|e| OutputError::io("opening", &source, e))?;
            io::copy(&mut reader, &mut make_file(&target)?)
                .map_err(|e| OutputError::io("copying a duplicate to", &target, e))?;
        }
        Ok(())
    }
}
