//! Whether the values of a record can be written.

use super::RowWriter;
use crate::output::error::OutputError;
use crate::output::npy::Values;

/// The record whose values are checked and written, for messages.
pub(super) struct Record<'a> {
    pub(super) file: &'a str,
    pub(super) row: u64,
    pub(super) per_residue: bool,
}

impl RowWriter {
    /// Checks number and fitness of values before any of them is written.
    pub(super) fn check(
        &self,
        record: &Record,
        rows: u64,
        values: Values<'_>,
    ) -> Result<(), OutputError> {
        let dim = self.layout.dim as u64;
        let (file, row) = (record.file.to_owned(), record.row);
        let (expected, found) = (rows.saturating_mul(dim), values.len() as u64);
        if found != expected {
            return Err(OutputError::Shape {
                file,
                row,
                expected,
                found,
            });
        }
        let Some(at) = values.first_unfit(self.layout.dtype) else {
            return Ok(());
        };
        let value = values.get(at).unwrap_or(f32::NAN);
        let residue = record.per_residue.then_some(at as u64 / dim.max(1) + 1);
        let column = at as u64 % dim.max(1);
        // A half is infinite where a number did not fit it.
        let is_half = matches!(values, Values::F16(_)) && value.is_infinite();
        Err(if value.is_finite() || is_half {
            OutputError::HalfOverflow {
                file,
                row,
                residue,
                column,
                value,
            }
        } else {
            OutputError::NotFinite {
                file,
                row,
                residue,
                column,
                value,
            }
        })
    }
}
