//! cuBLASLt: the library that fits the driver, and the functions that are used.

use super::error::{CudaError, While};
use super::{driver, library, search};
use cudarc::cublaslt::result::CublasError;
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t,
    cublasLtMatmulAlgoConfigAttributes_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
    cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cublasStatus_t, cudaDataType,
};
use libloading::Library;
use std::ffi::{OsStr, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Declares the table of functions and how it is filled.
macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),* $(,)?) -> $result:ty;)*) => {
        /// The functions, as cublasLt.h declares them. Those that return a status do so through
        /// [`checked`].
        pub(super) struct BlasLt {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> $result,)*
            /// Where the library is.
            pub(super) path: PathBuf,
        }

        impl BlasLt {
            fn of(library: &'static Library, path: PathBuf) -> Result<BlasLt, CudaError> {
                let of = path.display().to_string();
                Ok(BlasLt {
                    // SAFETY: the types are those of cublasLt.h.
                    $($field: unsafe { library::function(library, &of, $name)? },)*
                    path,
                })
            }
        }
    };
}

functions! {
    get_version = "cublasLtGetVersion": fn() -> usize;
    create = "cublasLtCreate": fn(*mut cublasLtHandle_t) -> cublasStatus_t;
    destroy = "cublasLtDestroy": fn(cublasLtHandle_t) -> cublasStatus_t;
    layout_create = "cublasLtMatrixLayoutCreate":
        fn(*mut cublasLtMatrixLayout_t, cudaDataType, u64, u64, i64) -> cublasStatus_t;
    layout_destroy = "cublasLtMatrixLayoutDestroy": fn(cublasLtMatrixLayout_t) -> cublasStatus_t;
    desc_create = "cublasLtMatmulDescCreate":
        fn(*mut cublasLtMatmulDesc_t, cublasComputeType_t, cudaDataType) -> cublasStatus_t;
    desc_destroy = "cublasLtMatmulDescDestroy": fn(cublasLtMatmulDesc_t) -> cublasStatus_t;
    desc_set = "cublasLtMatmulDescSetAttribute":
        fn(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, *const c_void, usize)
            -> cublasStatus_t;
    preference_create = "cublasLtMatmulPreferenceCreate":
        fn(*mut cublasLtMatmulPreference_t) -> cublasStatus_t;
    preference_destroy = "cublasLtMatmulPreferenceDestroy":
        fn(cublasLtMatmulPreference_t) -> cublasStatus_t;
    preference_set = "cublasLtMatmulPreferenceSetAttribute":
        fn(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, *const c_void, usize)
            -> cublasStatus_t;
    heuristic = "cublasLtMatmulAlgoGetHeuristic":
        fn(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
            cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, c_int,
            *mut cublasLtMatmulHeuristicResult_t, *mut c_int) -> cublasStatus_t;
    algorithm_get = "cublasLtMatmulAlgoConfigGetAttribute":
        fn(*const cublasLtMatmulAlgo_t, cublasLtMatmulAlgoConfigAttributes_t, *mut c_void, usize,
            *mut usize) -> cublasStatus_t;
    matmul = "cublasLtMatmul":
        fn(cublasLtHandle_t, cublasLtMatmulDesc_t, *const c_void, *const c_void,
            cublasLtMatrixLayout_t, *const c_void, cublasLtMatrixLayout_t, *const c_void,
            *const c_void, cublasLtMatrixLayout_t, *mut c_void, cublasLtMatrixLayout_t,
            *const cublasLtMatmulAlgo_t, *mut c_void, usize, *mut c_void) -> cublasStatus_t;
}

impl BlasLt {
    /// Its version: 130100 is 13.1.0.
    pub(super) fn version(&self) -> usize {
        // SAFETY: takes and changes nothing.
        unsafe { (self.get_version)() }
    }
}

/// An open cuBLASLt.
pub(super) struct Blas {
    pub(super) library: &'static BlasLt,
    pub(super) handle: cublasLtHandle_t,
}

// SAFETY: a handle of cuBLASLt may be used by several threads at once (its documentation says so),
// and this one is not changed after it is made.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

impl Blas {
    /// None if there is no library: see [`library()`].
    pub(super) fn open() -> Result<Option<Blas>, CudaError> {
        let Ok(library) = library() else {
            return Ok(None);
        };
        // SAFETY: the call writes a handle.
        let handle = made(|handle| unsafe { (library.create)(handle) }).while_("starting")?;
        Ok(Some(Blas { library, handle }))
    }

    /// Its version: 130100 is 13.1.0.
    pub(super) fn version(&self) -> usize {
        self.library.version()
    }

    /// The file of the library.
    pub(super) fn path(&self) -> &Path {
        &self.library.path
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody uses it any more. Failing to close it changes nothing.
        let _ = unsafe { (self.library.destroy)(self.handle) };
    }
}

/// The object that a function makes and writes the pointer of.
pub(super) fn made<T>(
    make: impl FnOnce(*mut *mut T) -> cublasStatus_t,
) -> Result<*mut T, CublasError> {
    let mut made = std::ptr::null_mut();
    checked(make(&mut made))?;
    Ok(made)
}

/// The result of a call.
pub(super) fn checked(status: cublasStatus_t) -> Result<(), CublasError> {
    status.result()
}

/// The library that fits the driver, opened once.
///
/// # Errors
/// It or the driver is missing, or lacks a function.
pub(super) fn library() -> Result<&'static BlasLt, CudaError> {
    static LIBRARY: OnceLock<BlasLt> = OnceLock::new();
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let found = find(driver::version()?)?;
    Ok(LIBRARY.get_or_init(|| found))
}

/// The version and the file of the cuBLASLt that fits the driver. Without it, the program's own matrix
/// products are used.
///
/// # Errors
/// Why there is none.
pub fn cublaslt() -> Result<String, CudaError> {
    let library = library()?;
    Ok(format!(
        "{} ({})",
        library.version(),
        library.path.display()
    ))
}

/// The first line of the reason why there is no library.
pub(super) fn why_missing() -> String {
    let why = library().err().map(|error| error.to_string());
    let first = why.as_deref().and_then(|why| why.lines().next());
    first.unwrap_or("it cannot be used").to_owned()
}

/// The names of the library, the best first. A major version needs a driver of that version or newer.
fn names(driver: i32) -> &'static [&'static str] {
    match driver >= 13000 {
        true => &["libcublasLt.so.13", "libcublasLt.so.12"],
        false => &["libcublasLt.so.12"],
    }
}

fn find(driver: i32) -> Result<BlasLt, CudaError> {
    let variable = |name: &str| std::env::var_os(name);
    let mut folders = search::folders(&variable, Path::new("/"));
    let mut failed = None;
    for name in names(driver) {
        if let Some(found) = in_folders(name, &folders, &mut failed) {
            return found;
        }
    }
    // Libraries that only the system's linker finds.
    for name in names(driver) {
        if let Ok(library) = library::open(OsStr::new(name)) {
            return BlasLt::of(library, PathBuf::from(name));
        }
    }
    let more = search::folders_by_python(&variable);
    for name in names(driver) {
        if let Some(found) = in_folders(name, &more, &mut failed) {
            return found;
        }
    }
    folders.extend(more);
    Err(missing(driver, &folders, failed))
}

/// The library of the first folder with one that can be opened. `failed` receives the system's message
/// about the first that cannot.
fn in_folders(
    name: &str,
    folders: &[PathBuf],
    failed: &mut Option<String>,
) -> Option<Result<BlasLt, CudaError>> {
    for folder in folders {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        match library::open(path.as_os_str()) {
            Ok(library) => return Some(BlasLt::of(library, path)),
            Err(said) => *failed = failed.take().or(Some(said)),
        }
    }
    None
}

/// Why there is no library, and what to do.
fn missing(driver: i32, folders: &[PathBuf], failed: Option<String>) -> CudaError {
    let package = match driver >= 13000 {
        true => "nvidia-cublas",
        false => "nvidia-cublas-cu12",
    };
    let names = names(driver).join(" or ");
    let why = match failed {
        Some(said) => format!("{names} cannot be loaded ({said})"),
        None => {
            let folders: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
            let searched = match folders.is_empty() {
                true => "no folder to search exists".to_owned(),
                false => format!("searched: {}", folders.join(", ")),
            };
            format!("{names} was not found ({searched})")
        }
    };
    CudaError::NoBlas(format!(
        "{why}\n\
         hint: cuBLASLt may be faster: run `pip install {package}` in the Python on PATH, or `module \
         load cuda` on a cluster\n\
         hint: if it is installed, add its folder to LD_LIBRARY_PATH"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cublaslt_that_fits_the_driver_is_chosen() {
        assert_eq!(names(12020), ["libcublasLt.so.12"]);
        assert_eq!(names(12090), ["libcublasLt.so.12"]);
        assert_eq!(names(13000), ["libcublasLt.so.13", "libcublasLt.so.12"]);
    }

    #[test]
    fn a_library_that_is_missing_is_named_with_the_folders_and_what_to_do() {
        let folders = [PathBuf::from("/a"), PathBuf::from("/b")];
        assert_eq!(
            missing(12020, &folders, None).to_string(),
            "cuBLASLt is missing: libcublasLt.so.12 was not found (searched: /a, /b)\n\
             hint: cuBLASLt may be faster: run `pip install nvidia-cublas-cu12` in the Python on PATH, \
             or `module load cuda` on a cluster\n\
             hint: if it is installed, add its folder to LD_LIBRARY_PATH"
        );
        let said = Some("x: file too short".to_owned());
        assert_eq!(
            missing(13000, &[], said).to_string().lines().next(),
            Some(
                "cuBLASLt is missing: libcublasLt.so.13 or libcublasLt.so.12 cannot be loaded (x: file \
                 too short)"
            )
        );
    }

    #[test]
    fn what_cannot_be_opened_is_passed_over_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libcublasLt.so.12"), "text").unwrap();
        let mut failed = None;
        let folders = [folder.path().to_owned()];
        assert!(in_folders("libcublasLt.so.12", &folders, &mut failed).is_none());
        assert!(failed.unwrap().contains("libcublasLt.so.12"));
    }
}
