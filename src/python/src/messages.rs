//! Messages and progress of the library, kept until Python can receive them.

use crate::errors::EsmEmbedError;
use esm_embed::hub::DownloadProgress;
use esm_embed::numerals;
use esm_embed::pipeline::{Computing, Level, Reporter, Totals};
use pyo3::prelude::*;
use std::ffi::CString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What was reported. Clones share it.
#[derive(Clone, Default)]
pub struct Messages {
    texts: Arc<Mutex<Vec<(Level, String)>>>,
    steps: Arc<AtomicUsize>,
}

impl Messages {
    /// Keeps a warning.
    pub fn warn(&self, text: &str) {
        self.keep(Level::Warning, text);
    }

    /// More steps are done.
    pub fn step(&self, steps: usize) {
        self.steps.fetch_add(steps, Ordering::Relaxed);
    }

    fn keep(&self, level: Level, text: &str) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.push((level, text.to_owned()));
    }

    /// Hands everything to Python: warnings to `warnings`, the rest to the logger `esm_embed`, and the
    /// number of steps since the last time to `progress`, a callable or an object with `update`.
    pub fn deliver(&self, py: Python<'_>, progress: Option<&Py<PyAny>>) -> PyResult<()> {
        let texts = {
            let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *texts)
        };
        for (level, text) in texts {
            match level {
                Level::Warning => {
                    let category = py.get_type::<pyo3::exceptions::PyUserWarning>();
                    let text = CString::new(text.replace('\0', "\\0"))
                        .map_err(|error| EsmEmbedError::new_err(error.to_string()))?;
                    PyErr::warn(py, &category, &text, 1)?;
                }
                level => {
                    let logger = py
                        .import("logging")?
                        .call_method1("getLogger", ("esm_embed",))?;
                    let method = match level {
                        Level::Info => "info",
                        _ => "debug",
                    };
                    // The text is not a format string.
                    logger.call_method1(method, ("%s", text))?;
                }
            }
        }
        let steps = self.steps.swap(0, Ordering::Relaxed);
        if let Some(progress) = progress
            && steps > 0
        {
            let progress = progress.bind(py);
            match progress.getattr_opt("update")? {
                Some(update) => update.call1((steps,))?,
                None => progress.call1((steps,))?,
            };
        }
        Ok(())
    }
}

impl Reporter for Messages {
    fn message(&self, level: Level, text: &str) {
        self.keep(level, text);
    }

    fn start(&self, _: Computing<'_>, _: Totals) {}

    fn advance(&self, records: u64, _: u64) {
        self.step(usize::try_from(records).unwrap_or(usize::MAX));
    }

    fn finish(&self) {}
}

impl DownloadProgress for Messages {
    fn start(&self, file: &str, bytes: Option<u64>) {
        let size = bytes.map_or_else(String::new, |bytes| {
            format!(" ({})", numerals::bytes(bytes))
        });
        self.keep(Level::Info, &format!("downloading {file}{size}"));
    }

    fn advance(&self, bytes: u64) {
        self.step(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    fn finish(&self) {}

    fn note(&self, text: &str) {
        self.keep(Level::Info, text);
    }
}
