//! A GPU of this machine.

use super::{DeviceError, Dtype};
use std::fmt;

/// Compute capability that the kernels need: tensor cores that multiply f16, and `ldmatrix`.
pub(crate) const LEAST_CAPABILITY: (i32, i32) = (7, 5);

/// The first compute capability with bfloat16 and TF32 on tensor cores, and asynchronous copies.
pub(crate) const AMPERE: (i32, i32) = (8, 0);

/// A GPU of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number among the visible ones.
    pub number: usize,
    /// Its name, as the driver reports it.
    pub name: String,
    /// Major and minor number of its compute capability.
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub memory: u64,
    /// Its multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of its second-level cache.
    pub cache: usize,
    /// The newest CUDA version that its driver supports: 13000 is 13.0.
    pub driver: i32,
    /// The release of the driver, such as 580.95.05, if it is known.
    pub driver_version: Option<String>,
}

impl Gpu {
    /// # Errors
    /// It lacks the number format.
    pub(crate) fn check(&self, dtype: Dtype) -> Result<(), DeviceError> {
        match dtype {
            Dtype::Bf16 | Dtype::Tf32 if self.capability < AMPERE => Err(DeviceError::NoFormat {
                dtype,
                name: self.name.clone(),
                capability: self.capability,
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, compute capability {}.{}, {:.1} GiB, driver{} for CUDA {}.{}",
            self.number,
            self.name,
            self.capability.0,
            self.capability.1,
            self.memory as f64 / (1u64 << 30) as f64,
            match &self.driver_version {
                Some(version) => format!(" {version}"),
                None => String::new(),
            },
            self.driver / 1000,
            self.driver % 1000 / 10
        )
    }
}
