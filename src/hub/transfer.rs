//! The bytes of one file, appended to those of an earlier attempt.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::DownloadProgress;
use super::checks::Checks;
use super::client::{Client, Content, Pending, RequestFailure};
use super::error::HubError;
use super::settings::HubSettings;

const BUFFER: usize = 1 << 18;

/// The transfer of one file.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) checks: &'a Checks<'a>,
    pub(super) progress: &'a dyn DownloadProgress,
}

impl Transfer<'_> {
    /// Appends to the part until the file is complete; whether it continued an earlier part.
    pub(super) fn run(
        &self,
        pending: Pending,
        part: &Path,
        attempts: &mut Attempts,
    ) -> Result<bool, RequestFailure> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(part)
            .map_err(HubError::io("write", part))?;
        let mut offset = file.metadata().map_err(HubError::io("read", part))?.len();
        if self.checks.size.is_some_and(|size| size == offset) {
            return Ok(true);
        }
        if self.checks.size.is_some_and(|size| size < offset) {
            file.set_len(0).map_err(HubError::io("write", part))?;
            offset = 0;
        }
        let had_bytes = offset > 0;
        let Content {
            start,
            size,
            mut reader,
        } = match self.client.content(pending, offset) {
            Err(RequestFailure::Transient(cause)) if had_bytes && self.checks.size.is_none() => {
                // The size is unknown and the part may be longer than the file: start again.
                file.set_len(0).map_err(HubError::io("write", part))?;
                return Err(RequestFailure::Transient(cause));
            }
            other => other?,
        };
        if let (Some(announced), Some(expected)) = (size, self.checks.size)
            && announced != expected
        {
            return Err(RequestFailure::Transient(format!(
                "{announced} bytes were announced, but the hub says {expected}: a proxy or the login \
                 page of a network may be answering instead"
            )));
        }
        if start < offset {
            file.set_len(start).map_err(HubError::io("write", part))?;
            offset = start;
        }
        let size = self.checks.size.or(size);
        if let Some(size) = size {
            check_space(self.checks.name, part, size.saturating_sub(offset))?;
        }
        self.progress.start(self.checks.name, size);
        self.progress.advance(offset);
        let result = self.copy(&mut *reader, &mut file, part, &mut offset, size);
        self.progress.finish();
        attempts.reached(offset);
        result?;
        match size {
            Some(size) if offset < size => Err(RequestFailure::Transient(format!(
                "the connection ended after {offset} of {size} bytes"
            ))),
            _ => {
                file.sync_all().map_err(HubError::io("write", part))?;
                Ok(had_bytes && start > 0)
            }
        }
    }

    /// Copies until the reader ends, at most one buffer beyond the expected size.
    fn copy(
        &self,
        reader: &mut dyn Read,
        file: &mut File,
        part: &Path,
        offset: &mut u64,
        size: Option<u64>,
    ) -> Result<(), RequestFailure> {
        let mut buffer = vec![0; BUFFER];
        while size.is_none_or(|size| *offset <= size) {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(RequestFailure::Transient(format!(
                        "the connection broke after {offset} bytes ({error})"
                    )));
                }
            };
            file.write_all(buffer.get(..read).unwrap_or_default())
                .map_err(HubError::io("write", part))?;
            *offset += read as u64;
            self.progress.advance(read as u64);
        }
        Ok(())
    }
}

/// Failures in a row; a transfer that gets further than before resets the count.
pub(super) struct Attempts {
    retries: u32,
    first_wait: Duration,
    pub(super) failed: u32,
    pub(super) furthest: u64,
}

impl Attempts {
    pub(super) fn new(settings: &HubSettings) -> Self {
        Attempts {
            retries: settings.retries,
            first_wait: settings.retry_wait,
            failed: 0,
            furthest: 0,
        }
    }

    pub(super) fn reached(&mut self, offset: u64) {
        if offset > self.furthest {
            self.furthest = offset;
            self.failed = 0;
        }
    }

    /// How long to wait before the next attempt, if attempts are left.
    pub(super) fn next_wait(&mut self) -> Option<Duration> {
        self.failed += 1;
        (self.failed <= self.retries).then(|| self.first_wait * (1 << (self.failed - 1).min(4)))
    }
}

/// Refuses a disk that is too small before the transfer; a disk of unknown size is tried.
fn check_space(name: &str, part: &Path, needed: u64) -> Result<(), HubError> {
    let folder = part.parent().unwrap_or(part);
    match rustix::fs::statvfs(folder) {
        Ok(disk) if disk.f_blocks > 0 => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free < needed {
                return Err(HubError::NoSpace {
                    file: name.to_owned(),
                    needed,
                    free,
                    folder: folder.to_path_buf(),
                });
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_progress_resets_them() {
        let mut settings = HubSettings::new("/c");
        settings.retries = 6;
        settings.retry_wait = Duration::from_secs(1);
        let mut attempts = Attempts::new(&settings);
        let seconds: Vec<_> = std::iter::from_fn(|| attempts.next_wait())
            .map(|wait| wait.as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 16]);
        attempts.reached(10);
        assert_eq!(attempts.next_wait(), Some(Duration::from_secs(1)));
        attempts.reached(10);
        assert_eq!(attempts.next_wait(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_disk_that_is_too_small_is_named_before_the_transfer() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("x.incomplete");
        check_space("x", &part, 1).unwrap();
        assert!(matches!(
            check_space("x", &part, u64::MAX),
            Err(HubError::NoSpace {
                needed: u64::MAX,
                ..
            })
        ));
    }
}
