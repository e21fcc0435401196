//! A request to stop a run, and what a run that stopped reports.

use crate::cancel::Cancel;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// A request to stop, shared by those who make it and those who respect it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    cancel: Cancel,
    signal: Arc<AtomicI32>,
    has_work: Arc<AtomicBool>,
}

impl Stop {
    /// Requests a stop because of this signal.
    pub fn ask(&self, signal: i32) {
        self.signal.store(signal, Ordering::Relaxed);
        self.cancel.cancel();
    }

    /// Whether a stop was requested.
    pub fn is_asked(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// The signal that requested it.
    pub fn signal(&self) -> i32 {
        self.signal.load(Ordering::Relaxed)
    }

    /// Whether there is work that takes a moment to save. Otherwise the process may end at once:
    /// nothing has begun, or everything is in its place.
    pub fn has_work(&self) -> bool {
        self.has_work.load(Ordering::Acquire)
    }

    /// The request itself, for computations.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    pub(crate) fn set_has_work(&self, has_work: bool) {
        self.has_work.store(has_work, Ordering::Release);
    }
}

/// A run that stopped on request, with its work saved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stopped by {}; everything finished so far is kept in {out}/.partial\n\
     hint: use `resume` to continue",
    name(*.signal)
)]
pub struct Stopped {
    /// The signal.
    pub signal: i32,
    /// The output folder.
    pub out: String,
}

fn name(signal: i32) -> String {
    match signal {
        1 => "SIGHUP".into(),
        2 => "SIGINT".into(),
        10 => "SIGUSR1".into(),
        15 => "SIGTERM".into(),
        other => format!("signal {other}"),
    }
}
