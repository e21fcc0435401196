//! Writes a run: gives every record its place and its rows theirs.

pub(crate) mod array_file;
pub(crate) mod folder;
pub(crate) mod ledger;

pub(crate) mod array_writer;
pub(crate) mod target;
