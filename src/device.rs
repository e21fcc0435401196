//! `--device`, `--dtype` and `--threads`: what was asked → what this machine does.

use crate::ops::{CpuPath, WeightType};
use std::fmt;
use thiserror::Error;

/// Where to compute, as asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The fastest device of this build and machine.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA card by its number.
    Cuda(usize),
}

/// Number format of the computation, as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16 bits. On the CPU products are in fixed point of 16 bits where the processor has AVX-512
    /// VNNI; elsewhere it is a storage format of the weights and arithmetic stays f32.
    F16,
    /// bfloat16. On the CPU a storage format of the weights: arithmetic stays f32.
    Bf16,
}

impl Dtype {
    /// How the CPU engine stores weights for it.
    pub fn weight_type(self) -> WeightType {
        match self {
            Dtype::F32 => WeightType::F32,
            Dtype::F16 => WeightType::F16,
            Dtype::Bf16 => WeightType::Bf16,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        })
    }
}

/// Why the machine cannot do what was asked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    /// CUDA was asked of a build without it.
    #[error(
        "--device cuda:{0} was asked for, but this build of esm-embed computes on the CPU only. \
         Use --device cpu (or auto)"
    )]
    NoCuda(usize),
    /// The processor lacks the instructions that were asked for.
    #[error(
        "--cpu-path {asked} was asked for, but this processor has {best} at best. Use --cpu-path {best}"
    )]
    NoPath {
        /// The path asked for.
        asked: CpuPath,
        /// The best path of this processor.
        best: CpuPath,
    },
    /// Arithmetic in fixed point was asked for with another number format.
    #[error(
        "--cpu-path {} computes in fixed point and goes with --dtype f16; use --cpu-path {}",
        CpuPath::Avx512Vnni,
        CpuPath::Avx512
    )]
    FixedPath,
}

/// The device that a run computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Instructions of the CPU kernels.
    pub path: CpuPath,
}

impl Device {
    /// Resolves the choice for a number format on this machine. `path` forces a lower CPU path.
    ///
    /// # Errors
    /// What was asked for cannot be had; nothing is replaced silently.
    pub fn resolve(
        choice: DeviceChoice,
        path: Option<CpuPath>,
        dtype: Dtype,
    ) -> Result<Device, DeviceError> {
        if let DeviceChoice::Cuda(card) = choice {
            return Err(DeviceError::NoCuda(card));
        }
        let best = match dtype {
            Dtype::F16 if CpuPath::Avx512Vnni.is_available() => CpuPath::Avx512Vnni,
            _ => CpuPath::detect(),
        };
        match path {
            Some(CpuPath::Avx512Vnni) if dtype != Dtype::F16 => Err(DeviceError::FixedPath),
            Some(asked) if asked > best => Err(DeviceError::NoPath { asked, best }),
            asked => Ok(Device {
                path: asked.unwrap_or(best),
            }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cpu")
    }
}

/// The CPUs that this process may use: the least of its affinity, its cgroup's quota and
/// `SLURM_CPUS_PER_TASK`; at least 1.
pub fn available_threads() -> usize {
    // The standard library reads affinity and cgroup quota (v1 and v2).
    let system = std::thread::available_parallelism().map_or(1, |n| n.get());
    let slurm = std::env::var("SLURM_CPUS_PER_TASK").ok();
    limit(system, slurm.as_deref())
}

fn limit(system: usize, slurm: Option<&str>) -> usize {
    let slurm = slurm.and_then(|n| n.trim().parse().ok()).filter(|&n| n > 0);
    system.min(slurm.unwrap_or(system)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_can_lower_the_threads_but_not_raise_them() {
        assert_eq!(limit(8, Some("4")), 4);
        assert_eq!(limit(8, Some("64")), 8);
        assert_eq!(limit(8, Some("junk")), 8);
        assert_eq!(limit(8, Some("0")), 8);
        assert_eq!(limit(8, None), 8);
    }

    #[test]
    fn cuda_is_refused_and_never_replaced() {
        assert_eq!(
            Device::resolve(DeviceChoice::Cuda(1), None, Dtype::F32),
            Err(DeviceError::NoCuda(1))
        );
        let portable = Device::resolve(DeviceChoice::Auto, Some(CpuPath::Portable), Dtype::F32);
        assert_eq!(
            Device::resolve(DeviceChoice::Cpu, Some(CpuPath::Avx512Vnni), Dtype::Bf16),
            Err(DeviceError::FixedPath)
        );
        assert_eq!(portable.map(|d| d.path), Ok(CpuPath::Portable));
    }
}
