//! Checks values before they are written.

use crate::output::array::Array;
use crate::output::error::OutputError;
use crate::output::place::Place;
use crate::product::OutDtype;
use crate::product::Values;

/// Checks that there are as many values as the array has, and that each can be stored.
pub(super) fn check(
    array: &Array,
    file: &str,
    place: &Place,
    values: Values<'_>,
) -> Result<(), OutputError> {
    let row = place.row;
    if matches!((values, array.dtype), (Values::F16(_), OutDtype::F32)) {
        return Err(OutputError::NotInLayout {
            what: format!("{} in f16", array.name()),
        });
    }
    let bytes = array.record_bytes(place.length).unwrap_or(u64::MAX);
    let (expected, found) = (bytes / array.dtype.bytes(), values.len() as u64);
    if found != expected {
        return Err(OutputError::Shape {
            file: file.to_owned(),
            row,
            expected,
            found,
        });
    }
    let Some(at) = values.first_unfit(array.dtype) else {
        return Ok(());
    };
    let value = values.get(at).unwrap_or(f32::NAN);
    let file = file.to_owned();
    let position = array.position(at as u64, place.length);
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
