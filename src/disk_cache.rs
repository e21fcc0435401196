//! Small results that later runs reuse, one file each.
//!
//! An entry is a key, which says what must be the same for the value to hold, the value, and a checksum
//! of both. An entry that is not byte for byte as written here, or that other users can write, is ignored
//! and replaced. Nothing here is an error: what cannot be stored is computed again.

use crate::sha256::sha256_of;
use rustix::process::{geteuid, getpid};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest entry in bytes.
const LONGEST: u64 = 1024;

/// Digits of an entry's file name: there are at most 4096 entries, each smaller than a disk block. Of two
/// entries with the same name, the last one stays.
const DIGITS: usize = 3;

/// A folder of entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskCache<'a>(pub(crate) &'a Path);

impl DiskCache<'_> {
    /// The value of a key. It ends with a line end, as the key does.
    pub(crate) fn find(self, key: &str) -> Option<String> {
        let text = read_entry(&self.path(key)?)?;
        let (value, _) = text.strip_prefix(key)?.rsplit_once("entry ")?;
        (text == entry(key, value)?).then(|| value.to_owned())
    }

    /// Writes a value, which ends with a line end; None if that fails. The folder is created if needed.
    pub(crate) fn write(self, key: &str, value: &str) -> Option<()> {
        let text = entry(key, value)?;
        let path = self.path(key)?;
        fs::create_dir_all(self.0).ok()?;
        // Two containers may have the same process number: one may damage the entry of the other, and a
        // damaged entry is ignored.
        let pid = getpid().as_raw_nonzero();
        let new = self.0.join(format!(".{}.{pid}", boot()?));
        let _ = fs::remove_file(&new);
        let written = write_entry(&new, &text).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written.ok()
    }

    /// The file of a key.
    pub(crate) fn path(self, key: &str) -> Option<PathBuf> {
        Some(self.0.join(sha256_of(key).get(..DIGITS)?))
    }
}

/// An entry, whose last line is its checksum.
pub(crate) fn entry(key: &str, value: &str) -> Option<String> {
    let text = format!("{key}{value}");
    let check = sha256_of(&text);
    let text = format!("{text}entry {check}\n");
    (text.len() as u64 <= LONGEST).then_some(text)
}

/// The identifier of this start of this machine.
pub(crate) fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim_end();
    let fits = id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    fits.then(|| id.to_owned())
}

/// The text of an entry that only this user or the administrator can write.
fn read_entry(path: &Path) -> Option<String> {
    // Do not wait for a pipe, do not follow a link.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let is_ours = [0, geteuid().as_raw()].contains(&metadata.uid()) && metadata.mode() & 0o022 == 0;
    if !metadata.is_file() || !is_ours {
        return None;
    }
    let mut text = String::new();
    File::take(file, LONGEST + 1)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

fn write_entry(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
