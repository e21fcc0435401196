//! Cards: which there are, and one that is open.

use super::error::{CudaError, While, no_memory, said};
use super::kernels::Kernels;
use super::product::Blas;
use crate::device::{self, Dtype, LEAST_CAPABILITY};
use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc;
use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, result, sys};
use std::sync::Arc;

/// The CUDA version that this build was made with, as nvcc says it: `13.0`.
pub(super) const BUILT_WITH: &str = env!("ESM_EMBED_NVCC");

/// The cards that this process can see and use, in the driver's order.
///
/// # Errors
/// Why there are none.
pub fn cards() -> Result<Vec<device::Card>, CudaError> {
    let no_device = |error: cudarc::driver::DriverError| CudaError::NoDevice(said(&error));
    result::init().map_err(no_device)?;
    let mut driver = 0;
    // SAFETY: the call writes one int.
    unsafe { sys::cuDriverGetVersion(&mut driver) }
        .result()
        .while_("asking for the driver's version")?;
    // Within one major version a newer build runs on an older driver.
    let needed = version(BUILT_WITH);
    if driver / 1000 < needed / 1000 {
        return Err(CudaError::OldDriver { driver, needed });
    }
    let count = result::device::get_count().map_err(no_device)?;
    if count == 0 {
        return Err(CudaError::NoDevice("there are 0 of them".to_owned()));
    }
    let mut all = Vec::new();
    for number in 0..count {
        let asking = "asking what cards there are";
        let card = result::device::get(number).while_(asking)?;
        // SAFETY: `card` is a device of the driver, as it has just said.
        let (major, minor, memory) = unsafe {
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
                result::device::total_mem(card).while_(asking)?,
            )
        };
        all.push(device::Card {
            number: number as usize,
            name: result::device::get_name(card).while_(asking)?,
            capability: (major, minor),
            memory: memory as u64,
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

/// A version as the driver counts: 13000 for `13.0`.
fn version(text: &str) -> i32 {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    1000 * next() + 10 * next()
}

/// Refuses an environment in which cuBLASLt multiplies otherwise than it is asked to.
///
/// # Errors
/// The variable is set, and not to what would happen without it.
pub(super) fn check_environment(dtype: Dtype) -> Result<(), CudaError> {
    match std::env::var_os("NVIDIA_TF32_OVERRIDE") {
        Some(value) if value != "0" || dtype == Dtype::Tf32 => Err(CudaError::Override),
        _ => Ok(()),
    }
}

/// An open card with what is loaded into it.
pub(super) struct Card {
    /// What it is.
    pub(super) about: device::Card,
    /// Its kernels.
    pub(super) kernels: Kernels,
    /// Its matrix products.
    pub(super) blas: Blas,
    /// The stream that weights are uploaded on.
    pub(super) stream: Arc<CudaStream>,
    /// Candle's device, which owns the context.
    _candle: CudaDevice,
}

impl Card {
    pub(super) fn open(about: &device::Card) -> Result<Card, CudaError> {
        if about.capability < LEAST_CAPABILITY {
            return Err(CudaError::OldCard {
                name: about.name.clone(),
                capability: about.capability,
            });
        }
        let candle = CudaDevice::new_with_stream(about.number).map_err(CudaError::open)?;
        let stream = candle.cuda_stream();
        // SAFETY: memory of this crate is used on the stream of its lane alone, or, as weights are,
        // written and waited for before any lane is made, and read from then on.
        unsafe { stream.context().disable_event_tracking() };
        // Who waits for the card leaves the CPU to those who prepare and write.
        let context = stream.context();
        context
            .set_blocking_synchronize()
            .while_("setting up the card")?;
        Ok(Card {
            about: about.clone(),
            kernels: Kernels::load(stream.context())?,
            blas: Blas::open()?,
            stream,
            _candle: candle,
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
    use super::version;

    #[test]
    fn versions_as_the_driver_counts() {
        assert_eq!(
            [version("13.0"), version("12.9"), version("")],
            [13000, 12090, 0]
        );
    }
}
