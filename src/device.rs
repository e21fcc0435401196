//! The settings `device`, `dtype` and `threads`, resolved on this machine.

mod choice;
mod cpus;
mod dtype;
mod error;
mod gpu;
#[cfg(test)]
mod tests;

pub use choice::{DeviceChoice, GpuChoice};
pub use cpus::available_threads;
pub use dtype::Dtype;
pub use error::DeviceError;
pub use gpu::Gpu;

pub(crate) use gpu::{AMPERE, LEAST_CAPABILITY};

use crate::ops::CpuPath;
use crate::product::Fallback;
use std::fmt;
use std::path::PathBuf;

/// Bytes of residue rows that each batch on a GPU keeps in pinned memory of the machine. Only the
/// smallest batch of a wide model takes more.
pub(crate) const PINNED: u64 = 128 << 20;

/// Where passed self-tests of GPUs are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tested {
    /// The folder, which is made when the first test passes. Without one, every run tests.
    pub folder: Option<PathBuf>,
    /// Tests again what is remembered, and remembers the outcome.
    pub again: bool,
}

/// The device that a run computes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Instructions of the CPU kernels.
    pub path: CpuPath,
    /// The GPUs; none to compute on the CPU.
    pub gpus: Vec<Gpu>,
    /// Why `auto` chose the CPU.
    pub why_cpu: Option<String>,
    /// Which self-tests of GPUs can be skipped.
    pub tested: Tested,
}

impl Device {
    /// The CPU with these instructions.
    pub fn cpu(path: CpuPath) -> Device {
        Device {
            path,
            gpus: Vec::new(),
            why_cpu: None,
            tested: Tested::default(),
        }
    }

    /// Resolves the choice for a number format on this machine, which has these GPUs, or a reason
    /// why it has none. `path` forces a lower CPU path, and keeps `auto` on the CPU.
    ///
    /// # Errors
    /// What was requested is not available; nothing is replaced silently.
    pub fn resolve(
        choice: &DeviceChoice,
        path: Option<CpuPath>,
        dtype: Option<Dtype>,
        gpus: impl FnOnce() -> Result<Vec<Gpu>, String>,
    ) -> Result<Device, DeviceError> {
        let best = CpuPath::detect();
        let choice = match (choice, path) {
            (DeviceChoice::Auto, Some(_)) => &DeviceChoice::Cpu,
            _ => choice,
        };
        let path = match path {
            Some(requested) if requested > best => {
                return Err(DeviceError::NoPath { requested, best });
            }
            requested => requested.unwrap_or(best),
        };
        let (gpus, why_cpu) = chosen(choice, dtype, gpus)?;
        if dtype == Some(Dtype::Tf32) && gpus.is_empty() {
            return Err(DeviceError::Tf32OnCpu { why: why_cpu });
        }
        Ok(Device {
            gpus,
            why_cpu,
            ..Device::cpu(path)
        })
    }

    /// Whether GPUs compute.
    pub fn is_gpu(&self) -> bool {
        !self.gpus.is_empty()
    }

    /// Batches that each GPU works on at the same time for this number of threads, if it has the
    /// memory: one computes, one copies its rows to the machine, one has its rows written. Small
    /// models compute faster than rows can be written, and profit from more.
    pub fn lanes(&self, threads: usize) -> usize {
        threads.div_ceil(self.gpus.len().max(1)).clamp(3, 6)
    }

    /// The number format if none is requested: f16 on GPUs, in which ESM-2 was trained, f32 on the
    /// CPU.
    pub fn usual_dtype(&self) -> Dtype {
        match self.is_gpu() {
            true => Dtype::F16,
            false => Dtype::F32,
        }
    }

    /// The number format of sequences whose numbers do not fit f16, if GPUs compute.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(crate) fn fallback(&self) -> Fallback {
        match self.gpus.iter().all(|gpu| gpu.check(Dtype::Bf16).is_ok()) {
            true => Fallback::Bf16,
            false => Fallback::F32,
        }
    }
}

/// GPUs, or why there are none.
type Chosen = (Vec<Gpu>, Option<String>);

/// The GPUs of a choice, of those that the machine has.
fn chosen(
    choice: &DeviceChoice,
    dtype: Option<Dtype>,
    gpus: impl FnOnce() -> Result<Vec<Gpu>, String>,
) -> Result<Chosen, DeviceError> {
    let requested = match choice {
        DeviceChoice::Cpu => return Ok((Vec::new(), None)),
        DeviceChoice::Auto => {
            return Ok(match gpus() {
                Ok(mut gpus) => {
                    // The driver may list an older GPU first.
                    gpus.retain(|gpu| gpu.capability >= LEAST_CAPABILITY);
                    gpus.sort_by_key(|gpu| gpu.capability < AMPERE);
                    gpus.truncate(1);
                    match checked(&gpus, dtype) {
                        Ok(()) => (gpus, None),
                        Err(error) => (Vec::new(), Some(error.to_string())),
                    }
                }
                Err(why) => (Vec::new(), Some(why)),
            });
        }
        DeviceChoice::Cuda(requested) => requested,
    };
    let all = gpus().map_err(|why| DeviceError::NoCuda {
        requested: requested.clone(),
        why,
    })?;
    let numbers = match requested {
        GpuChoice::All => (0..all.len()).collect(),
        GpuChoice::These(numbers) => numbers.clone(),
    };
    let gpu = |number: &usize| {
        all.get(*number).cloned().ok_or(DeviceError::NoGpu {
            requested: requested.clone(),
            number: *number,
            last: all.len().saturating_sub(1),
        })
    };
    let gpus = numbers.iter().map(gpu).collect::<Result<Vec<_>, _>>()?;
    checked(&gpus, dtype)?;
    match kinds(&gpus).as_slice() {
        [] | [_] => Ok((gpus, None)),
        kinds => Err(DeviceError::Mixed {
            requested: requested.clone(),
            kinds: kinds.join(", "),
        }),
    }
}

/// # Errors
/// One of the GPUs lacks the number format.
fn checked(gpus: &[Gpu], dtype: Option<Dtype>) -> Result<(), DeviceError> {
    match dtype {
        Some(dtype) => gpus.iter().try_for_each(|gpu| gpu.check(dtype)),
        None => Ok(()),
    }
}

/// The names of GPUs, each once.
fn kinds(gpus: &[Gpu]) -> Vec<&str> {
    let mut names: Vec<&str> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What can change a number: the kind of GPU, not which one or how many.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = kinds(&self.gpus);
        match kinds.is_empty() {
            true => f.write_str("cpu"),
            false => write!(f, "cuda ({})", kinds.join(", ")),
        }
    }
}
