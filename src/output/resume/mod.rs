//! What an interrupted run leaves, and how another one proves and completes it.

pub(crate) mod journal;
pub(crate) mod proof;
pub(crate) mod run_identity;
pub(crate) mod sweep;
