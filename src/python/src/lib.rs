//! The module `esm_embed._native`: what the Python package needs of Rust. `esm_embed/` beside this
//! folder re-exports it with type stubs.

mod arguments;
mod embedder;
mod errors;
mod folder;
mod messages;
mod sequences;
mod stream;
mod waiting;

use pyo3::prelude::*;
use std::ffi::OsString;
use std::io::Write;

/// Carries out a command line, whose first word is the name of the program, and returns its exit code.
///
/// The caller gives signals their default handlers first, and ends the process afterwards.
#[pyfunction]
fn command(py: Python<'_>, words: Vec<OsString>) -> u8 {
    py.detach(|| {
        esm_embed::memory::spare_addresses();
        let code = esm_embed::cli::main(words);
        // There is nowhere to report that output cannot be printed.
        let _ = std::io::stdout().flush();
        code
    })
}

/// Python's half of `esm-embed`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::command;
    #[pymodule_export]
    use super::embedder::Embedder;
    #[pymodule_export]
    use super::errors::EsmEmbedError;
    #[pymodule_export]
    use super::folder::Folder;
    #[pymodule_export]
    use super::stream::{Record, Stream};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
