//! Groups of options that commands share, each under its heading in `--help`.

pub mod compute;
pub mod device;
pub mod display;
pub mod folders;
pub mod layers;
mod long;
pub mod model;
pub mod output;
pub mod records;
pub mod variables;

pub use compute::ComputeArgs;
pub use display::DisplayArgs;
pub use model::{ModelArg, ModelArgs};
pub use output::OutputArgs;
pub use records::{RecordArgs, SequenceArgs};

/// A number in digits only: no sign, no space.
pub fn digits(text: &str) -> Option<usize> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}
