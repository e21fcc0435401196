//! Sequences that Python gives.

use crate::errors::of_session;
use crate::messages::Messages;
use esm_embed::admission::Prepared;
use esm_embed::numerals::count;
use esm_embed::product::Request;
use esm_embed::session::Session;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

/// Texts → what is embedded. The error names the place in the list.
pub fn prepare(
    session: &Session,
    texts: &[Vec<u8>],
    request: &Request,
    messages: &Messages,
) -> PyResult<Vec<Prepared>> {
    let admission = session.admission(request).map_err(of_session)?;
    let prepared = texts.iter().enumerate().map(|(at, text)| {
        admission
            .admit(text)
            .map_err(|unfit| PyValueError::new_err(format!("sequences[{at}]: {unfit}")))
    });
    let prepared: Vec<Prepared> = prepared.collect::<PyResult<_>>()?;
    let nucleotides: Vec<usize> = (0..)
        .zip(&prepared)
        .filter(|(_, one)| one.nucleotides)
        .map(|(at, _)| at)
        .collect();
    if let Some(first) = nucleotides.first() {
        let look = if nucleotides.len() == 1 {
            "looks"
        } else {
            "look"
        };
        messages.warn(&format!(
            "{} {look} like nucleotides, not proteins; the first is sequences[{first}]",
            count(nucleotides.len() as u64, "sequence")
        ));
    }
    if let Some(first) = prepared.iter().position(|one| one.unknown > 0) {
        let unknown = prepared.iter().map(|one| one.unknown).sum();
        let (are, were) = if unknown == 1 {
            ("is", "was")
        } else {
            ("are", "were")
        };
        messages.warn(&format!(
            "{} {are} not in the alphabet of the model and {were} embedded as <unk>; the first is in \
             sequences[{first}]",
            count(unknown, "character")
        ));
    }
    Ok(prepared)
}

/// The sequences of an iterable.
pub fn texts(sequences: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<u8>>> {
    if sequences.is_instance_of::<PyString>() || sequences.is_instance_of::<PyBytes>() {
        return Err(PyTypeError::new_err(
            "sequences is a single text: give a list of sequences, such as [\"MKTVRQERLK\"]",
        ));
    }
    if sequences.is_instance_of::<PyDict>() {
        return Err(PyTypeError::new_err(
            "sequences is a dict: give its values, such as list(sequences.values())",
        ));
    }
    let all = sequences.try_iter()?.enumerate();
    all.map(|(at, one)| text(&format!("sequences[{at}]"), &one?))
        .collect()
}

/// A sequence without white space, as FASTA has it. The error names its place.
pub fn text(place: &str, sequence: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let text = match sequence.cast::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes().to_vec(),
        Err(_) => string(place, sequence)?.into_bytes(),
    };
    Ok(text
        .into_iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect())
}

/// A text. The error names its place.
pub fn string(place: &str, found: &Bound<'_, PyAny>) -> PyResult<String> {
    if !found.is_instance_of::<PyString>() {
        let found = found.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "{place}: expected a str, found {found}"
        )));
    }
    found.extract().map_err(|error: PyErr| {
        PyValueError::new_err(format!("{place}: not valid Unicode: {error}"))
    })
}
