//! What the file system says of a file's identity and last change, without reading the file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Identity, size and times of a file. Times are seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the file system, on this machine and while it is mounted.
    pub device: u64,
    /// Number of the file in its file system.
    pub inode: u64,
    /// Its size.
    pub bytes: u64,
    /// When its content was last written; programs can set this to any time.
    pub modified: (i64, i64),
    /// When its content or metadata last changed; programs cannot set this.
    pub changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file.
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the content was not written between the two stamps. Another name or other
    /// permissions do not count.
    pub(crate) fn is_as_written(&self, other: &Stamp) -> bool {
        (self.bytes, self.modified) == (other.bytes, other.modified)
    }

    /// Whether both are of the same file, whatever its path and content.
    pub(crate) fn is_same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}
