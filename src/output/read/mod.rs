//! Reads an output folder and compares it with its `run.json`.

pub(crate) mod inspect;
pub(crate) mod report;
mod summary;
