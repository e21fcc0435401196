//! A run at work: records to batches to rows, saved as it goes.

pub mod describe;
pub mod embed;
pub mod feed;
pub mod finished_rows;
pub mod model_files;
pub mod notices;
pub mod open;
pub mod resume;
pub mod syncing;
pub mod work;
