//! How much memory this process may use.

use std::fmt;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// What sets the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// The memory of the machine.
    Machine,
    /// The control group, as schedulers and containers set it.
    Cgroup,
    /// The limit on the address space, `ulimit -v`.
    AddressSpace,
    /// The limit on data, `ulimit -d`.
    Data,
}

impl fmt::Display for LimitedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitedBy::Machine => "the memory of this machine",
            LimitedBy::Cgroup => "the limit of its control group",
            LimitedBy::AddressSpace => "ulimit -v",
            LimitedBy::Data => "ulimit -d",
        })
    }
}

/// The least of all limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes that this process may use.
    pub bytes: u64,
    /// What sets them.
    pub by: LimitedBy,
}

impl MemoryLimit {
    /// The limit of this process; None where the system does not tell.
    ///
    /// It does not depend on what other processes use at the moment: the same job has the same
    /// limit whenever it is started.
    pub fn here() -> Option<MemoryLimit> {
        use rustix::process::{Resource, getrlimit};
        let resource = |resource| getrlimit(resource).current;
        [
            (machine(), LimitedBy::Machine),
            (cgroup(), LimitedBy::Cgroup),
            (resource(Resource::As), LimitedBy::AddressSpace),
            (resource(Resource::Data), LimitedBy::Data),
        ]
        .into_iter()
        .filter_map(|(bytes, by)| bytes.map(|bytes| MemoryLimit { bytes, by }))
        .min_by_key(|limit| limit.bytes)
    }
}

/// Keeps the allocator from setting address space aside for each thread (64 MiB in glibc) where the
/// limit of this process counts it. To be called before any other thread is started.
pub fn spare_addresses() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use rustix::process::{Resource, getrlimit};
        if getrlimit(Resource::As).current.is_some() {
            // SAFETY: it sets a number of the allocator and keeps no pointer; no other thread
            // allocates yet.
            unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        }
    }
}

/// Memory of the machine.
#[cfg(not(target_os = "macos"))]
pub fn machine() -> Option<u64> {
    line_of(&meminfo(), "MemTotal")
}

/// Memory of the machine.
#[cfg(target_os = "macos")]
pub fn machine() -> Option<u64> {
    let (mut bytes, mut size) = (0u64, size_of::<u64>());
    // SAFETY: the name ends with a zero byte, `bytes` has `size` bytes, and nothing is set.
    let failed = unsafe {
        libc::sysctlbyname(
            c"hw.memsize".as_ptr(),
            (&raw mut bytes).cast(),
            &raw mut size,
            std::ptr::null_mut(),
            0,
        )
    };
    (failed == 0 && size == size_of::<u64>()).then_some(bytes)
}

/// Memory that the machine could give to a process now.
pub fn available() -> Option<u64> {
    line_of(&meminfo(), "MemAvailable")
}

/// The least limit of the control groups that this process is in.
pub fn cgroup() -> Option<u64> {
    let limits = cgroup_folders("memory").into_iter().filter_map(|folder| {
        let limit = read_to_string(folder.join("memory.max"))
            .or_else(|_| read_to_string(folder.join("memory.limit_in_bytes")))
            .ok()?;
        // cgroup v1 writes a number near 2^63 for no limit.
        limit
            .trim()
            .parse()
            .ok()
            .filter(|bytes: &u64| *bytes < 1 << 60)
    });
    limits.min()
}

/// The process's folders below a mount of cgroups, innermost first; v2, then v1 by controller.
pub fn cgroup_folders(controller: &str) -> Vec<PathBuf> {
    let table = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut folders = Vec::new();
    for line in table.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mount = if controllers.is_empty() {
            Path::new("/sys/fs/cgroup").to_path_buf()
        } else if controllers.split(',').any(|name| name == controller) {
            Path::new("/sys/fs/cgroup").join(controllers)
        } else {
            continue;
        };
        let inner = Path::new(path.trim_start_matches('/'));
        folders.extend(inner.ancestors().map(|folder| mount.join(folder)));
    }
    folders
}

fn meminfo() -> String {
    read_to_string("/proc/meminfo").unwrap_or_default()
}

/// Bytes of a line of `/proc/meminfo`.
fn line_of(info: &str, key: &str) -> Option<u64> {
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_meminfo() {
        let info = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(line_of(info, "MemTotal"), Some(16_777_216));
        assert_eq!(line_of(info, "MemAvailable"), Some(2_097_152));
        assert_eq!(line_of(info, "Mem"), None);
        assert_eq!(line_of("MemTotal: x kB", "MemTotal"), None);
    }
}
