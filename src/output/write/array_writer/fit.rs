//! Checks values before they are written.

use crate::output::array::Array;
use crate::output::error::OutputError;
use crate::output::place::Place;
use crate::product::OutDtype;
use crate::product::Values;

/// Values of a record in an array.
pub(super) fn expected(array: &Array, place: &Place) -> u64 {
    let bytes = array.record_bytes(place.length).unwrap_or(u64::MAX);
    bytes / array.dtype.bytes()
}

/// The error of a record with `found` values.
pub(super) fn wrong_count(array: &Array, file: &str, place: &Place, found: u64) -> OutputError {
    OutputError::Shape {
        file: file.to_owned(),
        row: place.row,
        expected: expected(array, place),
        found,
    }
}

/// Checks that there are as many values as the array has, and that each can be stored.
pub(super) fn check(
    array: &Array,
    file: &str,
    place: &Place,
    values: Values<'_>,
) -> Result<(), OutputError> {
    let found = values.len() as u64;
    if found != expected(array, place) {
        return Err(wrong_count(array, file, place, found));
    }
    check_values(array, file, place, 0, values)
}

/// Checks that each of some values can be stored; the first is number `start` of the record.
pub(super) fn check_values(
    array: &Array,
    file: &str,
    place: &Place,
    start: u64,
    values: Values<'_>,
) -> Result<(), OutputError> {
    if matches!((values, array.dtype), (Values::F16(_), OutDtype::F32)) {
        return Err(OutputError::NotInLayout {
            what: format!("{} in f16", array.name()),
        });
    }
    let Some(at) = values.first_unfit(array.dtype) else {
        return Ok(());
    };
    let value = values.get(at).unwrap_or(f32::NAN);
    let (file, row) = (file.to_owned(), place.row);
    let position = array.position(start.saturating_add(at as u64), place.length);
    // An infinite f16 is a number that did not fit.
    let is_half = matches!(values, Values::F16(_)) && value.is_infinite();
    Err(if value.is_finite() || is_half {
        OutputError::HalfOverflow {
            file,
            row,
            position,
            value,
        }
    } else {
        OutputError::NotFinite {
            file,
            row,
            position,
            value,
        }
    })
}
