//! Locks between processes: `flock` on an open file, which ends with the process that holds it.

use crate::stamp::Stamp;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

/// What an attempt to lock a file came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// This process holds the lock until the file is closed.
    Held,
    /// Another process holds it.
    Busy,
    /// The path has been removed or names another file, so the lock excludes nobody: open the path
    /// again.
    Replaced,
    /// The file system has no locks (Lustre without `flock`, some NFS).
    Unsupported,
}

/// Whether another process holds the lock of this file; `None` where the file system has no locks.
///
/// For an instant, this takes the lock to share it: whoever wants it alone has to try more than once.
pub(crate) fn is_locked(file: &File) -> Option<bool> {
    loop {
        match file.try_lock_shared() {
            Ok(()) => {
                let _ = file.unlock();
                return Some(false);
            }
            Err(TryLockError::WouldBlock) => return Some(true),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(TryLockError::Error(_)) => return None,
        }
    }
}

/// Tries to lock a file that was opened at `path`, without waiting.
///
/// # Errors
/// The file or its path cannot be examined.
pub(crate) fn try_lock(file: &File, path: &Path) -> io::Result<Lock> {
    let lock = loop {
        match file.try_lock() {
            Ok(()) => break Lock::Held,
            Err(TryLockError::WouldBlock) => return Ok(Lock::Busy),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(TryLockError::Error(_)) => break Lock::Unsupported,
        }
    };
    match std::fs::metadata(path) {
        Ok(named) if Stamp::of(&named).is_same_file(&Stamp::of(&file.metadata()?)) => Ok(lock),
        Ok(_) => Ok(Lock::Replaced),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Lock::Replaced),
        Err(error) => Err(error),
    }
}
