//! Devices, CPU, threads and memory.

use super::super::text;
use super::Line;
use esm_embed::device::available_threads;
use esm_embed::ops::CpuPath;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// What there is to compute with.
pub fn lines() -> Vec<Line> {
    vec![
        (
            "devices",
            "cpu (this build computes on the CPU only)".to_owned(),
        ),
        ("processor", processor()),
        ("instructions", instructions().join(" ")),
        ("CPU path", format!("{} (--cpu-path)", CpuPath::detect())),
        ("CPUs by affinity", affinity()),
        ("CPUs by cgroup", quota()),
        ("SLURM_CPUS_PER_TASK", variable("SLURM_CPUS_PER_TASK")),
        ("threads", format!("{} (--threads)", available_threads())),
        ("memory", memory()),
        ("memory by cgroup", memory_limit()),
    ]
}

fn variable(name: &str) -> String {
    std::env::var_os(name).map_or_else(
        || "not set".to_owned(),
        |value| value.to_string_lossy().into_owned(),
    )
}

fn processor() -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown model", |(_, model)| model);
    format!("{model} ({})", std::env::consts::ARCH)
}

/// The instruction sets that the CPU paths ask for.
fn instructions() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("f16c", is_x86_feature_detected!("f16c")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bw", is_x86_feature_detected!("avx512bw")),
            ("avx512dq", is_x86_feature_detected!("avx512dq")),
            ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ];
        found.extend(
            all.iter()
                .filter(|(_, is_there)| *is_there)
                .map(|(name, _)| *name),
        );
    }
    if cfg!(target_arch = "aarch64") {
        found.push("neon");
    }
    if found.is_empty() {
        found.push("none that have a path of their own");
    }
    found
}

fn affinity() -> String {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return set.count().to_string();
    }
    "unknown".to_owned()
}

/// The process's folders below a mount of cgroups, innermost first; v2, then v1 by controller.
fn cgroup_folders(controller: &str) -> Vec<PathBuf> {
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

fn quota() -> String {
    let quotas = cgroup_folders("cpu").into_iter().filter_map(|folder| {
        let (quota, period) = match read_to_string(folder.join("cpu.max")) {
            Ok(text) => {
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.to_owned(), period.to_owned())
            }
            Err(_) => (
                read_to_string(folder.join("cpu.cfs_quota_us")).ok()?,
                read_to_string(folder.join("cpu.cfs_period_us")).ok()?,
            ),
        };
        cpus(&quota, &period)
    });
    quotas
        .reduce(f64::min)
        .map_or_else(|| "no limit".to_owned(), |cpus| format!("{cpus:.1}"))
}

/// CPUs of a quota; None for `max`, -1 and what is not a number.
fn cpus(quota: &str, period: &str) -> Option<f64> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    (period > 0).then(|| quota as f64 / period as f64)
}

fn memory() -> String {
    let info = read_to_string("/proc/meminfo").unwrap_or_default();
    match (meminfo(&info, "MemTotal"), meminfo(&info, "MemAvailable")) {
        (Some(total), Some(available)) => {
            format!(
                "{} available of {}",
                text::bytes(available),
                text::bytes(total)
            )
        }
        _ => "unknown".to_owned(),
    }
}

/// Bytes of a line of `/proc/meminfo`.
fn meminfo(info: &str, key: &str) -> Option<u64> {
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn memory_limit() -> String {
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
    limits
        .min()
        .map_or_else(|| "no limit".to_owned(), text::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas() {
        assert_eq!(cpus("150000", "100000"), Some(1.5));
        assert_eq!(cpus("max", "100000"), None);
        assert_eq!(cpus("-1\n", "100000\n"), None);
        assert_eq!(cpus("100000", "0"), None);
    }

    #[test]
    fn memory_lines() {
        let info = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(meminfo(info, "MemTotal"), Some(16_777_216));
        assert_eq!(meminfo(info, "MemAvailable"), Some(2_097_152));
        assert_eq!(meminfo(info, "Mem"), None);
        assert_eq!(meminfo("MemTotal: x kB", "MemTotal"), None);
    }
}
