//! Groups of options that commands share, each under its heading in `--help`.

pub mod compute;
pub mod display;
pub mod folders;
pub mod layers;
pub mod model;
pub mod output;
pub mod records;
pub mod variables;

pub use compute::ComputeArgs;
pub use display::DisplayArgs;
pub use esm_embed::settings::digits;
pub use model::{ModelArg, ModelArgs};
pub use output::OutputArgs;
pub use records::{RecordArgs, SequenceArgs};
