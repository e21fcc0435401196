//! Checksums of large model files, remembered from run to run.
//!
//! An array of jobs reads one model thousands of times, and its checksum would take each of them as
//! long again. An entry holds the SHA-256 of a file and everything the system reports about the
//! file's identity and last change. It is used for a file of which the system reports the same,
//! whatever its path, and only under these conditions:
//!
//! - Programs can set the time of the last write, but not that of the last change (ctime), which
//!   shows a write even if it is covered up. File systems without fractions of a second (images such
//!   as squashfs, some in user space) make ctime up, so their files are always read.
//! - Clocks of files tick every few milliseconds, and a second write within a tick does not show: a
//!   file that was written or changed less than two seconds before it was read is not remembered.
//! - Numbers of file systems are valid on one machine until it restarts, and differ from machine to
//!   machine for network file systems. So an entry belongs to one start of one machine (`boot_id`),
//!   and each node of a cluster reads a model once. A host name would not distinguish the next
//!   start, or a copy of the machine.
//! - An entry that is damaged, or that other users may write, is ignored and replaced: see
//!   `disk_cache`.
//!
//! Changes that no stamp shows go unnoticed: a program that still writes through a mapping it made
//! before, a network file system that answers from its cache, a server whose clock is behind. For
//! such files there is [`ChecksumCache::again`].
//!
//! Where entries cannot be kept, files are read; that is never an error.

use crate::disk_cache::{DiskCache, boot};
use crate::stamp::Stamp;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Smaller files are read in no time.
const LEAST_BYTES: u64 = 64 << 20;

/// How old the last write and change of a file have to be when it is read.
const LEAST_AGE: Duration = Duration::from_secs(2);

/// A folder of remembered checksums, and which files are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChecksumCache {
    /// The folder; it is made when the first checksum is remembered.
    pub folder: PathBuf,
    /// Size of the smallest file whose checksum is remembered: 64 MiB.
    pub least_bytes: u64,
    /// How old the last write and change of a file have to be when it is read: two seconds.
    pub least_age: Duration,
    /// Reads files even if their checksums are remembered, and remembers the result.
    pub again: bool,
}

impl ChecksumCache {
    /// Remembers checksums in this folder, where that is safe and saves time.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        ChecksumCache {
            folder: folder.into(),
            least_bytes: LEAST_BYTES,
            least_age: LEAST_AGE,
            again: false,
        }
    }

    /// The SHA-256, in hexadecimal, of the file with this stamp.
    pub(crate) fn find(&self, stamp: &Stamp) -> Option<String> {
        if self.again || stamp.bytes < self.least_bytes {
            return None;
        }
        let value = self.cache().find(&key(stamp, &boot()?)?)?;
        let sha256 = value.strip_prefix("sha256 ")?.strip_suffix('\n')?;
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (sha256.len() == 64 && sha256.bytes().all(is_hex)).then(|| sha256.to_owned())
    }

    /// Remembers the SHA-256 of a file that had this stamp before and after it was read, from `began`
    /// on.
    pub(crate) fn record(&self, stamp: &Stamp, began: SystemTime, sha256: &str) {
        if stamp.bytes >= self.least_bytes && self.is_old(stamp, began) {
            // If that fails, the next run reads the file again.
            let _ = self.write(stamp, sha256);
        }
    }

    fn is_old(&self, stamp: &Stamp, began: SystemTime) -> bool {
        let nanos =
            |(seconds, nanos): (i64, i64)| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let last = nanos(stamp.modified).max(nanos(stamp.changed));
        let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = i128::try_from(began.as_nanos()).unwrap_or_default() - last;
        age > i128::try_from(self.least_age.as_nanos()).unwrap_or(i128::MAX)
    }

    fn write(&self, stamp: &Stamp, sha256: &str) -> Option<()> {
        let key = key(stamp, &boot()?)?;
        self.cache().write(&key, &value(sha256))
    }

    fn cache(&self) -> DiskCache<'_> {
        DiskCache(&self.folder)
    }
}

fn value(sha256: &str) -> String {
    format!("sha256 {sha256}\n")
}

/// The start of an entry: what a file has to agree with. None if the stamp is not reliable.
fn key(stamp: &Stamp, boot: &str) -> Option<String> {
    let Stamp {
        device,
        inode,
        bytes,
        modified,
        changed,
    } = stamp;
    (changed.1 != 0).then(|| {
        format!(
            "esm-embed checksum 1\nboot {boot}\ndevice {device}\ninode {inode}\nbytes {bytes}\n\
             modified {}.{:09}\nchanged {}.{:09}\n",
            modified.0, modified.1, changed.0, changed.1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_cache;
    use std::fs;

    /// A complete entry.
    fn entry(key: &str, sha256: &str) -> Option<String> {
        disk_cache::entry(key, &value(sha256))
    }

    fn path_of(remembered: &ChecksumCache, key: &str) -> PathBuf {
        remembered.cache().path(key).unwrap()
    }

    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    const STAMP: Stamp = Stamp {
        device: 2049,
        inode: 12,
        bytes: 64 << 20,
        modified: (1_000_000_000, 5),
        changed: (1_000_000_001, 7),
    };

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn bytes_of_an_entry() {
        let key = key(&STAMP, "0f0e").unwrap();
        assert_eq!(
            key,
            "esm-embed checksum 1\nboot 0f0e\ndevice 2049\ninode 12\nbytes 67108864\n\
             modified 1000000000.000000005\nchanged 1000000001.000000007\n"
        );
        let text = entry(&key, SHA256).unwrap();
        let own = text.strip_prefix(&format!("{key}sha256 {SHA256}\nentry "));
        assert_eq!(
            own,
            Some("8fb4d373bbefafc9cc728cb1b47925a8a6922804832b6803cae519523bf8c120\n")
        );
        assert_eq!(boot().unwrap().len(), 36);
    }

    #[test]
    fn a_checksum_is_found_for_the_same_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let remembered = ChecksumCache::new(folder.path().join("a/b"));
        assert_eq!(remembered.find(&STAMP), None);
        remembered.record(&STAMP, at(1_000_000_004), SHA256);
        assert_eq!(remembered.find(&STAMP).as_deref(), Some(SHA256));
        let again = ChecksumCache {
            again: true,
            ..remembered.clone()
        };
        assert_eq!(again.find(&STAMP), None);
        // Even under the name of the other file, as if their names collided.
        let path = |stamp: &Stamp| {
            let key = key(stamp, &boot().unwrap()).unwrap();
            path_of(&remembered, &key)
        };
        for other in [
            Stamp {
                device: 2050,
                ..STAMP
            },
            Stamp { inode: 13, ..STAMP },
            Stamp {
                bytes: (64 << 20) + 1,
                ..STAMP
            },
            Stamp {
                modified: (1_000_000_000, 6),
                ..STAMP
            },
            Stamp {
                changed: (1_000_000_001, 8),
                ..STAMP
            },
        ] {
            assert_eq!(remembered.find(&other), None, "{other:?}");
            fs::copy(path(&STAMP), path(&other)).unwrap();
            assert_eq!(remembered.find(&other), None, "{other:?}");
        }
        // Another start of this machine, or another machine.
        let key = key(&STAMP, "00000000-0000-0000-0000-000000000000").unwrap();
        fs::write(path(&STAMP), entry(&key, SHA256).unwrap()).unwrap();
        assert_eq!(remembered.find(&STAMP), None);
    }

    #[test]
    fn a_file_whose_stamp_may_hide_a_change_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let remembered = ChecksumCache::new(folder.path());
        let entries = || fs::read_dir(folder.path()).unwrap().count();
        // Changed two seconds before, or in the future.
        remembered.record(&STAMP, at(1_000_000_003), SHA256);
        remembered.record(&STAMP, at(999_999_000), SHA256);
        // Written less than two seconds before.
        let written = Stamp {
            modified: (1_000_000_002, 1),
            ..STAMP
        };
        remembered.record(&written, at(1_000_000_004), SHA256);
        // On a file system without fractions of a second, and a small file.
        for stamp in [
            Stamp {
                changed: (1_000_000_001, 0),
                ..STAMP
            },
            Stamp {
                bytes: (64 << 20) - 1,
                ..STAMP
            },
        ] {
            remembered.record(&stamp, at(1_000_000_100), SHA256);
            assert_eq!(remembered.find(&stamp), None);
        }
        assert_eq!(entries(), 0);
        remembered.record(&STAMP, at(1_000_000_004), SHA256);
        assert_eq!(entries(), 1);
    }

    #[test]
    fn a_damaged_or_foreign_entry_is_ignored_and_replaced() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let remembered = ChecksumCache::new(folder.path().join("r"));
        let record = || remembered.record(&STAMP, at(1_000_000_004), SHA256);
        record();
        let key = key(&STAMP, &boot().unwrap()).unwrap();
        let path = path_of(&remembered, &key);
        let good = fs::read(&path).unwrap();
        assert_eq!(good.len(), entry(&key, SHA256).unwrap().len());
        let check = || {
            assert_eq!(remembered.find(&STAMP), None);
            record();
            assert_eq!(remembered.find(&STAMP).as_deref(), Some(SHA256));
            assert_eq!(fs::read(&path).unwrap(), good);
        };
        for cut in 0..good.len() {
            fs::write(&path, good.get(..cut).unwrap()).unwrap();
            assert_eq!(remembered.find(&STAMP), None, "{cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            *bad.get_mut(at).unwrap() ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(remembered.find(&STAMP), None, "{at}");
        }
        check();
        for bad in [&[good.as_slice(), b"\n"].concat(), &vec![0xff; 1 << 16]] {
            fs::write(&path, bad).unwrap();
            check();
        }
        let no_sum = "sha256".repeat(11);
        fs::write(&path, entry(&key, no_sum.get(..64).unwrap()).unwrap()).unwrap();
        check();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        check();
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        check();
        assert_eq!(fs::read(&elsewhere).unwrap(), good);
        assert_eq!(fs::read_dir(folder.path().join("r")).unwrap().count(), 1);
    }

    #[test]
    fn an_unusable_folder_is_not_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let remembered = ChecksumCache::new(folder.path().join("file/r"));
        remembered.record(&STAMP, at(1_000_000_004), SHA256);
        assert_eq!(remembered.find(&STAMP), None);
        // A folder in the place of the entry.
        let remembered = ChecksumCache::new(folder.path().join("r"));
        let key = key(&STAMP, &boot().unwrap()).unwrap();
        fs::create_dir_all(path_of(&remembered, &key)).unwrap();
        remembered.record(&STAMP, at(1_000_000_004), SHA256);
        assert_eq!(remembered.find(&STAMP), None);
        assert_eq!(fs::read_dir(&remembered.folder).unwrap().count(), 1);
    }
}
