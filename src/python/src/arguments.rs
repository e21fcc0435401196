//! Arguments that Python gives, other than sequences.

use crate::errors::wrong;
use esm_embed::product::Pool;
use esm_embed::score::{Method, Window};
use esm_embed::settings;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::{Path, PathBuf};

/// The name of a model: a text or a path.
pub struct ModelName(pub String);

impl<'py> FromPyObject<'_, 'py> for ModelName {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<ModelName> {
        if let Ok(text) = object.extract::<String>() {
            return Ok(ModelName(text));
        }
        let path: PathBuf = object.extract()?;
        // A relative path that is not a text must not be taken for a name.
        let path = std::path::absolute(path)?;
        let text = path.into_os_string().into_string();
        let text = text.map_err(|path| {
            PyValueError::new_err(format!(
                "{}: the path is not UTF-8",
                Path::new(&path).display()
            ))
        })?;
        Ok(ModelName(text))
    }
}

/// A path, or those of an iterable.
pub fn paths(fasta: &Bound<'_, PyAny>) -> PyResult<Vec<PathBuf>> {
    if let Ok(path) = fasta.extract::<PathBuf>() {
        return Ok(vec![path]);
    }
    let all = match fasta.is_instance_of::<PyBytes>() {
        true => None,
        false => fasta.try_iter().ok(),
    };
    let Some(all) = all else {
        let found = fasta.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "fasta: expected a path or a list of paths, found {found}"
        )));
    };
    let paths: Vec<PathBuf> = all.map(|path| path?.extract()).collect::<PyResult<_>>()?;
    match paths.is_empty() {
        true => Err(PyValueError::new_err("fasta is an empty list of paths")),
        false => Ok(paths),
    }
}

/// How rows are pooled.
pub fn pool(text: &str) -> PyResult<Pool> {
    settings::pool(text).map_err(|why| wrong("pool", text, why))
}

/// How variants are scored.
pub fn method(text: &str) -> PyResult<Method> {
    let all = [
        Method::MaskedMarginals,
        Method::WtMarginals,
        Method::Pll,
        Method::PllUnmasked,
    ];
    let found = all.into_iter().find(|method| method.to_string() == text);
    let expected = "expected masked-marginals, wt-marginals, pll or pll-unmasked";
    found.ok_or_else(|| wrong("method", text, expected))
}

/// The window for long sequences.
pub fn window(text: &str) -> PyResult<Window> {
    let all = [Window::None, Window::Optimal, Window::Overlapping];
    let found = all.into_iter().find(|window| window.to_string() == text);
    found.ok_or_else(|| wrong("window", text, "expected none, optimal or overlapping"))
}
