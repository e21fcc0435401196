//! The setting `device`, as requested.

use std::fmt;

/// Where to compute, as requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// GPUs.
    Cuda(GpuChoice),
}

/// GPUs, as requested. Their numbers are those that `CUDA_VISIBLE_DEVICES` leaves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuChoice {
    /// All that are visible.
    All,
    /// Those with these numbers, ascending, each once.
    These(Vec<usize>),
}

impl fmt::Display for GpuChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GpuChoice::All => f.write_str("all"),
            GpuChoice::These(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
                write!(f, "cuda:{}", numbers.join(","))
            }
        }
    }
}
