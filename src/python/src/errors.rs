//! Errors of the library as exceptions. Their text is the same: settings are in it as Python has them.

use esm_embed::session::SessionError;
use pyo3::PyErr;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use std::fmt::Display;

pyo3::create_exception!(
    esm_embed,
    EsmEmbedError,
    PyRuntimeError,
    "What keeps esm-embed from doing what was asked: a model, a device, memory or a file."
);

/// Settings of the command that Python does not have.
const NOT_HERE: [&str; 2] = ["`include=", "`contact_regression`"];

/// About the machine, the model or a file.
pub fn failed(error: impl Display) -> PyErr {
    let text = error.to_string();
    let is_for_the_command =
        |line: &&str| line.starts_with("hint: ") && NOT_HERE.iter().any(|name| line.contains(name));
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !is_for_the_command(line))
        .collect();
    EsmEmbedError::new_err(lines.join("\n"))
}

/// A setting that has no such value.
pub fn wrong(setting: &str, value: &str, expected: impl Display) -> PyErr {
    PyValueError::new_err(format!("`{setting}={value}`: {expected}"))
}

/// About sequences, or about anything else.
pub fn of_session(error: SessionError) -> PyErr {
    match error.is_of_input() {
        true => PyValueError::new_err(error.to_string()),
        false => failed(error),
    }
}

/// The same in a list of sequences.
pub fn of_list(error: SessionError) -> PyErr {
    match error {
        SessionError::Pass {
            sequence: Some(at),
            error,
        } => failed(format!("sequences[{at}]: {error}")),
        other => of_session(other),
    }
}

/// A thread has panicked.
pub fn defect() -> PyErr {
    failed("a thread panicked: this is a defect")
}
