//! The input of a run: its records one after the other, which of them are whose, and what they
//! cost.

pub mod check;
pub mod distinct;
pub mod findings;
pub mod passes;
pub mod planned;
pub mod records;
pub mod rules;
pub mod scan;
pub mod shard;
pub mod spool;
pub mod unique_ids;
pub mod warnings;
