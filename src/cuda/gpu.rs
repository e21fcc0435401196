//! The GPUs of the machine, and one that is open.

use super::blaslt::Blas;
use super::driver;
use super::error::{CudaError, While};
use super::kernels::Kernels;
use super::slab::Heights;
use crate::device::{self, Dtype, LEAST_CAPABILITY};
use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use cudarc::driver::{CudaContext, CudaStream, result};
use std::ffi::OsString;
use std::sync::Arc;

/// The GPUs that this process can see and use, in the driver's order.
///
/// # Errors
/// Why there are none.
pub fn gpus() -> Result<Vec<device::Gpu>, CudaError> {
    let driver = driver::start()?;
    let count = result::device::get_count().map_err(CudaError::no_device)?;
    if count == 0 {
        return Err(CudaError::NoDevice("there are 0 of them".to_owned()));
    }
    let mut all = Vec::new();
    for number in 0..count {
        let asking = "listing the GPUs";
        let gpu = result::device::get(number).while_(asking)?;
        let attribute = |attribute| {
            // SAFETY: `gpu` is a device of the driver, as it has just reported.
            unsafe { result::device::get_attribute(gpu, attribute) }.while_(asking)
        };
        let size = |of: i32| usize::try_from(of).unwrap_or(0);
        // SAFETY: as above.
        let memory = unsafe { result::device::total_mem(gpu) }.while_(asking)?;
        all.push(device::Gpu {
            number: number as usize,
            name: result::device::get_name(gpu).while_(asking)?,
            capability: (
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            memory: memory as u64,
            multiprocessors: size(attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            )?),
            cache: size(attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
            driver,
            driver_version: driver_version(),
        });
    }
    if let Some(best) = all.iter().max_by_key(|gpu| gpu.capability)
        && best.capability < LEAST_CAPABILITY
    {
        return Err(CudaError::OldGpu {
            name: best.name.clone(),
            capability: best.capability,
        });
    }
    Ok(all)
}

/// The release of the driver, as its kernel module reports it. All GPUs of a machine share it.
fn driver_version() -> Option<String> {
    let text = std::fs::read_to_string("/sys/module/nvidia/version").ok()?;
    let version = text.trim();
    let fits = !version.is_empty()
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.');
    fits.then(|| version.to_owned())
}

/// Refuses an environment that makes cuBLASLt multiply with another precision than requested.
///
/// # Errors
/// A variable is set, and not to its default.
pub(super) fn check_environment(dtype: Dtype) -> Result<(), CudaError> {
    match overridden(dtype, std::env::var_os) {
        Some(variable) => Err(CudaError::Override { variable }),
        None => Ok(()),
    }
}

/// The variable that changes the numbers of this format, if one is set.
fn overridden(
    dtype: Dtype,
    variable: impl Fn(&'static str) -> Option<OsString>,
) -> Option<&'static str> {
    let is_set = |name, harmless: &[&str]| {
        variable(name).is_some_and(|value| !harmless.iter().any(|known| value == *known))
    };
    let tf32: &[&str] = match dtype {
        Dtype::Tf32 => &[""],
        _ => &["", "0"],
    };
    let all: [(&str, &[&str]); 3] = [
        ("NVIDIA_TF32_OVERRIDE", tf32),
        // f32 emulated by several products of bfloat16.
        ("CUBLAS_EMULATE_SINGLE_PRECISION", &["", "0"]),
        ("CUBLAS_EMULATION_STRATEGY", &["", "default"]),
    ];
    let mut found = all
        .into_iter()
        .filter(|(name, harmless)| is_set(name, harmless));
    found.next().map(|(name, _)| name)
}

/// An open GPU with what is loaded onto it.
pub(super) struct OpenGpu {
    /// What it is.
    pub(super) about: device::Gpu,
    /// Its kernels.
    pub(super) kernels: Kernels,
    /// cuBLASLt on it, if there is a library that fits the driver.
    pub(super) blas: Option<Blas>,
    /// The heights of its matrix products.
    pub(super) heights: Heights,
    /// The stream that weights are uploaded on.
    pub(super) stream: Arc<CudaStream>,
}

impl OpenGpu {
    pub(super) fn open(about: &device::Gpu) -> Result<OpenGpu, CudaError> {
        if about.capability < LEAST_CAPABILITY {
            return Err(CudaError::OldGpu {
                name: about.name.clone(),
                capability: about.capability,
            });
        }
        let doing = "opening the GPU";
        driver::start()?;
        let device = i32::try_from(about.number).ok();
        let device = result::device::get(device.unwrap_or(i32::MAX)).while_(doing)?;
        driver::sleep_while_waiting(device)?;
        let context = CudaContext::new(about.number).while_(doing)?;
        // SAFETY: memory of this crate is used only on the stream of its lane or, as weights are,
        // written and waited for before any lane is made, and only read after that.
        unsafe { context.disable_event_tracking() };
        Ok(OpenGpu {
            about: about.clone(),
            kernels: Kernels::load(&context, about.capability)?,
            blas: Blas::open()?,
            heights: Heights::of(about.multiprocessors),
            stream: context.new_stream().while_(doing)?,
        })
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        self.stream.context()
    }

    /// Bytes of its free memory.
    pub(super) fn free_memory(&self) -> Result<usize, CudaError> {
        let (free, _) = self.context().mem_get_info().while_("asking for memory")?;
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::overridden;
    use crate::device::Dtype;
    use std::ffi::OsString;

    #[test]
    fn variables_that_change_numbers() {
        let found = |dtype, name: &str, value: &str| {
            let value = OsString::from(value);
            overridden(dtype, |asked| (asked == name).then(|| value.clone()))
        };
        let tf32 = "NVIDIA_TF32_OVERRIDE";
        assert_eq!(found(Dtype::F32, tf32, "1"), Some(tf32));
        assert_eq!(found(Dtype::F16, tf32, "0"), None);
        assert_eq!(found(Dtype::Tf32, tf32, "0"), Some(tf32));
        let emulate = "CUBLAS_EMULATE_SINGLE_PRECISION";
        assert_eq!(found(Dtype::F32, emulate, "1"), Some(emulate));
        assert_eq!(found(Dtype::F32, emulate, "0"), None);
        let strategy = "CUBLAS_EMULATION_STRATEGY";
        assert_eq!(found(Dtype::F32, strategy, "eager"), Some(strategy));
        assert_eq!(found(Dtype::F32, strategy, ""), None);
        assert_eq!(found(Dtype::Tf32, "HOME", "1"), None);
    }
}
