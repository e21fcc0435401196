//! One process downloads a file, the others wait for it.
//!
//! The lock is `flock` on the file that Python's `huggingface_hub` locks too
//! (`.locks/models--organisation--name/ETAG.lock`). It dies with the process that holds it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::flock::{self, Lock};

/// How often a lock that is held is tried again.
const POLL: Duration = Duration::from_millis(100);

/// The right to write one blob.
#[derive(Debug)]
pub(super) enum BlobLock {
    /// Nobody else writes it until this is dropped.
    Held {
        /// Closing the file releases the lock.
        _file: File,
        /// Another process held it first.
        waited: bool,
    },
    /// The file system has no locks: other processes may write too.
    Unsupported,
}

/// Takes the lock at `path`, waiting as long as another process holds it; `on_wait` is called once
/// before waiting.
pub(super) fn acquire(path: &Path, on_wait: impl FnOnce()) -> io::Result<BlobLock> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut on_wait = Some(on_wait);
    loop {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match flock::try_lock(&file, path)? {
            Lock::Held => {
                return Ok(BlobLock::Held {
                    _file: file,
                    waited: on_wait.is_none(),
                });
            }
            Lock::Unsupported => return Ok(BlobLock::Unsupported),
            // The holder removed the file when it was done.
            Lock::Replaced => {}
            Lock::Busy => {
                if let Some(on_wait) = on_wait.take() {
                    on_wait();
                }
                std::thread::sleep(POLL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_second_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.lock");
        let first = acquire(&path, || panic!("nobody holds it")).unwrap();
        assert!(matches!(first, BlobLock::Held { waited: false, .. }));
        let (waiting, is_waiting) = mpsc::channel();
        let second = std::thread::spawn({
            let path = path.clone();
            move || acquire(&path, || waiting.send(()).unwrap()).unwrap()
        });
        is_waiting.recv().unwrap();
        drop(first);
        assert!(matches!(
            second.join().unwrap(),
            BlobLock::Held { waited: true, .. }
        ));
    }

    #[test]
    fn a_lock_file_that_its_holder_removed_is_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let first = acquire(&path, || ()).unwrap();
        let (waiting, is_waiting) = mpsc::channel();
        let second = std::thread::spawn({
            let path = path.clone();
            move || acquire(&path, || waiting.send(()).unwrap()).unwrap()
        });
        is_waiting.recv().unwrap();
        std::fs::remove_file(&path).unwrap();
        drop(first);
        let _second = second.join().unwrap();
        assert!(path.exists());
    }
}
