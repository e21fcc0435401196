//! Shared libraries that are opened at run time, and their functions by name.

use super::error::CudaError;
use libloading::Library;
use std::ffi::{CString, OsStr};

/// Opens a library by its name or path. It stays open until the process ends.
///
/// # Errors
/// The message of the system.
pub(super) fn open(name: &OsStr) -> Result<&'static Library, String> {
    // SAFETY: the libraries are NVIDIA's, and starting them has no requirements.
    match unsafe { Library::new(name) } {
        // Its functions are kept as plain pointers.
        Ok(library) => Ok(Box::leak(Box::new(library))),
        Err(libloading::Error::DlOpen { source }) => Err(source.to_string()),
        Err(other) => Err(other.to_string()),
    }
}

/// A function of a library, by its name.
///
/// # Safety
/// `F` is the type of a pointer to that function.
pub(super) unsafe fn function<F: Copy>(
    library: &'static Library,
    of: &str,
    name: &'static str,
) -> Result<F, CudaError> {
    let missing = || CudaError::NoSymbol {
        library: of.to_owned(),
        symbol: name,
    };
    let name = CString::new(name).map_err(|_| missing())?;
    // SAFETY: the caller's.
    let found = unsafe { library.get::<F>(name.as_c_str()) };
    Ok(*found.map_err(|_| missing())?)
}
