//! Writes a run: assigns each record its place and writes its values there.

pub(crate) mod array_file;
pub(crate) mod folder;
pub(crate) mod ledger;

pub(crate) mod array_writer;
pub(crate) mod target;
