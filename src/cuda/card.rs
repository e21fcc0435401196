//! Cards: which there are, and one that is open.

use super::error::{CudaError, While, no_memory};
use super::kernels::Kernels;
use super::product::Blas;
use super::slab::Heights;
use super::{blaslt, driver};
use crate::device::{self, Dtype, LEAST_CAPABILITY};
use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, result};
use std::ffi::OsString;
use std::sync::Arc;

/// The cards that this process can see and use, in the driver's order.
///
/// # Errors
/// Why there are none.
pub fn cards() -> Result<Vec<device::Card>, CudaError> {
    let driver = driver::start()?;
    let count = result::device::get_count().map_err(CudaError::no_device)?;
    if count == 0 {
        return Err(CudaError::NoDevice("there are 0 of them".to_owned()));
    }
    let mut all = Vec::new();
    for number in 0..count {
        let asking = "asking what cards there are";
        let card = result::device::get(number).while_(asking)?;
        // SAFETY: `card` is a device of the driver, as it has just said.
        let (major, minor, multiprocessors, memory) = unsafe {
            (
                result::device::get_attribute(
                    card,
                    Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                )
                .while_(asking)?,
                result::device::get_attribute(
                    card,
                    Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                )
                .while_(asking)?,
                result::device::get_attribute(
                    card,
                    Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                )
                .while_(asking)?,
                result::device::total_mem(card).while_(asking)?,
            )
        };
        all.push(device::Card {
            number: number as usize,
            name: result::device::get_name(card).while_(asking)?,
            capability: (major, minor),
            memory: memory as u64,
            multiprocessors: usize::try_from(multiprocessors).unwrap_or(0),
            driver,
            driver_version: driver_version(),
        });
    }
    if let Some(best) = all.iter().max_by_key(|card| card.capability)
        && best.capability < LEAST_CAPABILITY
    {
        return Err(CudaError::OldCard {
            name: best.name.clone(),
            capability: best.capability,
        });
    }
    // Without it none of them can be used.
    blaslt::library()?;
    Ok(all)
}

/// What the kernel's part of the driver calls its version; cards of one machine have one driver.
fn driver_version() -> Option<String> {
    let text = std::fs::read_to_string("/sys/module/nvidia/version").ok()?;
    let version = text.trim();
    let fits = !version.is_empty()
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.');
    fits.then(|| version.to_owned())
}

/// Refuses an environment in which cuBLASLt multiplies otherwise than it is asked to.
///
/// # Errors
/// A variable is set, and not to what would happen without it.
pub(super) fn check_environment(dtype: Dtype) -> Result<(), CudaError> {
    match overridden(dtype, std::env::var_os) {
        Some(variable) => Err(CudaError::Override { variable }),
        None => Ok(()),
    }
}

/// The variable that changes the numbers of this format, if there is one.
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
        // f32 by several products of bfloat16.
        ("CUBLAS_EMULATE_SINGLE_PRECISION", &["", "0"]),
        ("CUBLAS_EMULATION_STRATEGY", &["", "default"]),
    ];
    let mut found = all
        .into_iter()
        .filter(|(name, harmless)| is_set(name, harmless));
    found.next().map(|(name, _)| name)
}

/// An open card with what is loaded into it.
pub(super) struct Card {
    /// What it is.
    pub(super) about: device::Card,
    /// Its kernels.
    pub(super) kernels: Kernels,
    /// Its matrix products.
    pub(super) blas: Blas,
    /// Rows of these.
    pub(super) heights: Heights,
    /// The stream that weights are uploaded on.
    pub(super) stream: Arc<CudaStream>,
}

impl Card {
    pub(super) fn open(about: &device::Card) -> Result<Card, CudaError> {
        if about.capability < LEAST_CAPABILITY {
            return Err(CudaError::OldCard {
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
        // SAFETY: memory of this crate is used on the stream of its lane alone, or, as weights are,
        // written and waited for before any lane is made, and read from then on.
        unsafe { context.disable_event_tracking() };
        Ok(Card {
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

    /// Bytes of its memory that are free.
    pub(super) fn free_memory(&self) -> Result<usize, CudaError> {
        let (free, _) = self.context().mem_get_info().while_("asking for memory")?;
        Ok(free)
    }

    /// Uploads bytes, and waits until they are there.
    pub(super) fn upload(&self, what: &'static str, bytes: &[u8]) -> Result<Memory, CudaError> {
        let memory = Memory::zeroed(&self.stream, what, bytes.len())?;
        // SAFETY: the memory has as many bytes, and they are copied before this returns.
        unsafe { result::memcpy_htod_async(memory.at(0), bytes, self.stream.cu_stream()) }
            .while_("uploading")?;
        self.stream.synchronize().while_("uploading")?;
        Ok(memory)
    }

    /// Uploads floats.
    pub(super) fn upload_floats(
        &self,
        what: &'static str,
        all: &[f32],
    ) -> Result<Memory, CudaError> {
        let bytes: Vec<u8> = all.iter().flat_map(|x| x.to_ne_bytes()).collect();
        self.upload(what, &bytes)
    }
}

/// Bytes of a card's memory.
pub(super) struct Memory {
    slice: CudaSlice<u8>,
    start: u64,
}

impl Memory {
    /// So many bytes, zero once the stream comes to them.
    pub(super) fn zeroed(
        stream: &Arc<CudaStream>,
        what: &'static str,
        bytes: usize,
    ) -> Result<Memory, CudaError> {
        let slice = stream.alloc_zeros::<u8>(bytes.max(1)).map_err(|source| {
            no_memory(
                "reserving memory",
                source,
                CudaError::Memory { what, bytes },
            )
        })?;
        let start = slice.device_ptr(stream).0;
        Ok(Memory { slice, start })
    }

    pub(super) fn bytes(&self) -> usize {
        self.slice.len()
    }

    /// The address of a byte.
    pub(super) fn at(&self, byte: usize) -> u64 {
        debug_assert!(byte < self.slice.len());
        self.start + byte as u64
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
