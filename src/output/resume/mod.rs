//! What an interrupted run leaves behind, and how another run proves it.

pub(crate) mod journal;
pub(crate) mod proof;
pub(crate) mod run_identity;
pub(crate) mod slot;
pub(crate) mod sweep;
