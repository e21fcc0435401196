//! Reads output folders: their records and arrays, and whether they match their `run.json`.

mod array_file;

pub(crate) mod array_values;
mod error;
pub(crate) mod finished;
pub(crate) mod inspect;
pub(super) mod linked;
pub(crate) mod record;
pub(crate) mod record_index;
pub(crate) mod report;
mod similar;
pub(crate) mod summary;

pub use error::ReadError;
