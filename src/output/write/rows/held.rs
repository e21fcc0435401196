//! What the files of an interrupted run hold of a record.

use super::{RowWriter, no_layer};
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::Residues;
use crate::output::npy::{self, HEADER_BYTES};
use crate::output::place::Place;
use crate::output::write::matrix::Matrix;
use crate::output::write::proof::{Proof, Written};
use std::os::unix::fs::FileExt;

impl RowWriter {
    /// Whether the rows of a record are, byte for byte, those that were written when it was entered
    /// in the journal with the checksum `rows`.
    ///
    /// # Errors
    /// When a file cannot be read; one that is missing or short does not hold them.
    pub fn holds(&self, place: &Place, rows: u32) -> Result<bool, OutputError> {
        let row_bytes = self.layout.row_bytes();
        let residue_bytes = row_bytes.saturating_mul(place.length);
        let mut proof = Proof::default();
        for layer in 0..self.layout.layers.len() {
            for &pool in &self.layout.pools {
                let matrix = self.pooled_matrix(layer, pool)?;
                let start = self.row_at(matrix, place.row, place.row)?;
                match matrix.checksum_at(start, row_bytes)? {
                    Some(written) => proof.add(written),
                    None => return Ok(false),
                }
            }
            let written = match self.layout.residues {
                Residues::None => continue,
                Residues::Packed => {
                    let matrix = self.residues.get(layer).ok_or_else(|| no_layer(layer))?;
                    let start = self.row_at(matrix, place.residue_offset, place.row)?;
                    matrix.checksum_at(start, residue_bytes)?
                }
                Residues::Files => self.file_checksum(layer, place, residue_bytes)?,
            };
            match written {
                Some(written) => proof.add(written),
                None => return Ok(false),
            }
        }
        Ok(proof.value() == rows)
    }

    /// The checksum of the rows in a record's own file, or `None` unless it is whole.
    fn file_checksum(
        &self,
        layer: usize,
        place: &Place,
        bytes: u64,
    ) -> Result<Option<Written>, OutputError> {
        let path = self.partial.join(self.record_file(layer, place)?);
        let kind = disk::kind(&path).map_err(|e| OutputError::io("reading", &path, e))?;
        if !kind.is_some_and(|kind| kind.is_file()) {
            return Ok(None);
        }
        let file = disk::open_regular(&path).map_err(|e| OutputError::io("opening", &path, e))?;
        let reading = |e| OutputError::io("reading", &path, e);
        let length = file.metadata().map_err(reading)?.len();
        if length != (HEADER_BYTES as u64).saturating_add(bytes) {
            return Ok(None);
        }
        disk::forget_pages(&file);
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(reading)?;
        if header != npy::header(self.layout.dtype, place.length, self.layout.dim as u64) {
            return Ok(None);
        }
        let name = String::new();
        let matrix = Matrix { name, path, file };
        matrix.checksum_at(HEADER_BYTES as u64, bytes)
    }
}
