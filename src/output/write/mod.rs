//! Writes a run: gives every record its place and its rows theirs.

pub(crate) mod array_file;
pub(crate) mod folder;
pub(crate) mod input_digest;
pub(crate) mod ledger;
pub(crate) mod lock;

pub(crate) mod proof;
pub(crate) mod rows;
pub(crate) mod target;
