//! One run at a time in an output folder.
//!
//! The lock is a `flock` on a file, `.partial/lock`, that is open for writing. It ends with the
//! process that holds it. On NFS the kernel turns it into a lock on the server, which other machines
//! see and which expires when a machine disappears; a lock on the folder itself would be local to one
//! machine. Without locks in the file system, the run continues and [`Lock::is_held`] is false.

use crate::flock;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::PARTIAL;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file in the working folder.
pub(crate) const LOCK: &str = "lock";

/// Attempts to lock the file, which another run may replace at that moment.
const ATTEMPTS: usize = 8;

/// Pause before another attempt where the lock is busy: whoever asks whether it is held shares it for an
/// instant.
const PAUSE: Duration = Duration::from_millis(10);

/// The right to write into an output folder, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
    is_held: bool,
}

impl Lock {
    /// Locks the folder, creating its working folder if necessary.
    pub(crate) fn take(dir: &Path) -> Result<Self, OutputError> {
        let partial = dir.join(PARTIAL);
        let path = partial.join(LOCK);
        for _ in 0..ATTEMPTS {
            match std::fs::create_dir(&partial) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                result => result.map_err(|e| OutputError::io("making", &partial, e))?,
            }
            if !disk::is_real_folder(&partial)
                .map_err(|e| OutputError::io("reading", &partial, e))?
            {
                return Err(OutputError::InTheWay { path: partial });
            }
            let file = match disk::open_or_create(&path) {
                // A run that ended has just removed the working folder.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                result => result.map_err(|e| OutputError::io("opening", &path, e))?,
            };
            let locked = flock::try_lock(&file, &path);
            let is_held = match locked.map_err(|e| OutputError::io("reading", &path, e))? {
                flock::Lock::Held => true,
                flock::Lock::Unsupported => false,
                flock::Lock::Replaced => continue,
                flock::Lock::Busy => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
            };
            return Ok(Self {
                path,
                _file: file,
                is_held,
            });
        }
        Err(OutputError::Busy {
            dir: dir.to_path_buf(),
        })
    }

    /// Whether the lock keeps other runs away; false where the file system has no locks.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Releases the folder and removes the working folder if it is empty.
    pub(crate) fn release(self) {
        let _ = std::fs::remove_file(&self.path);
        let partial = self.path.parent().map(Path::to_path_buf);
        // NFS keeps an open file under another name until it is closed.
        drop(self);
        if let Some(partial) = partial {
            let _ = std::fs::remove_dir(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        assert!(lock.is_held());
        assert!(matches!(
            Lock::take(dir.path()),
            Err(OutputError::Busy { .. })
        ));
        lock.release();
        assert!(!dir.path().join(PARTIAL).exists());
        drop(Lock::take(dir.path()).unwrap());
        assert!(dir.path().join(PARTIAL).join(LOCK).exists());
        Lock::take(dir.path()).unwrap().release();
        assert!(!dir.path().join(PARTIAL).exists());
    }

    #[test]
    fn a_folder_with_work_stays_when_the_lock_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        std::fs::write(dir.path().join(PARTIAL).join("x"), "work").unwrap();
        lock.release();
        assert!(dir.path().join(PARTIAL).join("x").exists());
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let out = dir.path().join("emb");
        std::fs::create_dir(&out).unwrap();
        std::os::unix::fs::symlink(&elsewhere, out.join(PARTIAL)).unwrap();
        assert!(matches!(
            Lock::take(&out),
            Err(OutputError::InTheWay { .. })
        ));
        std::fs::remove_file(out.join(PARTIAL)).unwrap();
        std::fs::create_dir(out.join(PARTIAL)).unwrap();
        std::os::unix::fs::symlink(elsewhere.join("made"), out.join(PARTIAL).join(LOCK)).unwrap();
        assert!(matches!(Lock::take(&out), Err(OutputError::Io { .. })));
        assert!(!elsewhere.join("made").exists());
    }
}
