//! The NVIDIA driver's library, `libcuda.so.1`: checks that it exists, is new enough and has every
//! function that is called. cudarc panics if one is missing, so this comes before any call.

use super::error::{CudaError, While};
use super::library;
use cudarc::driver::sys;
use libloading::Library;
use std::ffi::OsStr;
use std::sync::OnceLock;

/// The name under which every driver is installed.
const NAME: &str = "libcuda.so.1";

/// The oldest CUDA version whose drivers load the kernels: 12.0, driver 525 or newer.
const NEEDED: i32 = 12000;

/// The functions that cudarc calls for this crate.
const FUNCTIONS: [&str; 38] = [
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxSetFlags_v2",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAllocAsync",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// The CUDA version that the driver supports (13000 is 13.0), after checking that it has all that is
/// needed.
///
/// # Errors
/// What is missing.
pub(super) fn version() -> Result<i32, CudaError> {
    static VERSION: OnceLock<i32> = OnceLock::new();
    if let Some(version) = VERSION.get() {
        return Ok(*version);
    }
    let driver = library::open(OsStr::new(NAME)).map_err(CudaError::no_driver)?;
    // SAFETY: the type of the function, as cuda.h declares it.
    let get_version = unsafe {
        library::function::<unsafe extern "C" fn(*mut i32) -> i32>(
            driver,
            NAME,
            "cuDriverGetVersion",
        )?
    };
    let mut version = 0;
    // SAFETY: the call writes one int.
    if unsafe { get_version(&mut version) } != 0 {
        version = 0;
    }
    check(version)?;
    let theirs = opened_by_cudarc().unwrap_or(driver);
    if address(theirs, "cuInit")? != address(driver, "cuInit")? {
        return Err(CudaError::OtherDriver);
    }
    for name in FUNCTIONS {
        address(theirs, name)?;
    }
    Ok(*VERSION.get_or_init(|| version))
}

/// Starts the driver.
///
/// # Errors
/// What is missing, or what the driver reports.
pub(super) fn start() -> Result<i32, CudaError> {
    let version = version()?;
    cudarc::driver::result::init().map_err(CudaError::no_device)?;
    Ok(version)
}

/// Lets the CPU sleep while it waits for a GPU. To be called before its context is made: changing it
/// later needs CUDA 12.1.
pub(super) fn sleep_while_waiting(gpu: sys::CUdevice) -> Result<(), CudaError> {
    let flags = sys::CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC as u32;
    // SAFETY: `gpu` is a device of the driver.
    let set = unsafe { sys::cuDevicePrimaryCtxSetFlags_v2(gpu, flags) }.result();
    match set {
        // Another model on the same GPU has set the flags.
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE => Ok(()),
        set => set.while_("opening the GPU"),
    }
}

/// # Errors
/// The driver is too old.
fn check(version: i32) -> Result<(), CudaError> {
    match version < NEEDED {
        true => Err(CudaError::OldDriver {
            driver: version,
            needed: NEEDED,
        }),
        false => Ok(()),
    }
}

/// The library that cudarc will call: it tries other names first and takes the first that exists.
fn opened_by_cudarc() -> Option<&'static Library> {
    let names = cudarc::get_lib_name_candidates("cuda").into_iter();
    names
        .filter_map(|name| library::open(OsStr::new(&name)).ok())
        .next()
}

fn address(library: &'static Library, name: &'static str) -> Result<usize, CudaError> {
    // SAFETY: the pointer is compared, and never called.
    let found = unsafe { library::function::<unsafe extern "C" fn()>(library, NAME, name)? };
    Ok(found as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_from_525_on_are_new_enough() {
        assert!(
            [12000, 12020, 13000, 14000]
                .iter()
                .all(|&v| check(v).is_ok())
        );
        let said = check(11080).map_err(|error| error.to_string());
        assert_eq!(
            said,
            Err(
                "the NVIDIA driver is too old: it supports CUDA up to 11.8, and CUDA 12.0 is needed\n\
                 hint: update the driver to release 525 or newer"
                    .to_owned()
            )
        );
    }
}
