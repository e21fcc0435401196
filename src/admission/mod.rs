//! From the text of a sequence to tokens and windows, and whether there is memory for it.

pub mod memory_budget;
pub mod prepare;

pub use prepare::{Gaps, Long, TRAINING_MAXIMUM};
