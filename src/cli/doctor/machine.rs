//! Devices, CPU, threads and memory.

use super::super::text;
use super::Line;
use esm_embed::device::{self, available_threads};
use esm_embed::memory::{self, cgroup_folders};
use esm_embed::ops::CpuPath;
use std::fs::read_to_string;

/// What there is to compute with.
pub fn lines() -> Vec<Line> {
    let mut lines = cards();
    lines.extend([
        ("processor", processor()),
        ("instructions", instructions().join(" ")),
        ("CPU path", CpuPath::detect().to_string()),
        ("--cpu-path takes", paths(CpuPath::is_available)),
        ("CPUs by affinity", affinity()),
        ("CPUs by cgroup", quota()),
        ("SLURM_CPUS_PER_TASK", variable("SLURM_CPUS_PER_TASK")),
        ("threads", format!("{} (--threads)", available_threads())),
        ("memory", memory()),
        ("memory by cgroup", memory_limit()),
    ]);
    lines
}

/// The CUDA cards of this machine, or why there are none.
fn cards() -> Vec<Line> {
    let mut lines: Vec<Line> = match device::cards() {
        Ok(cards) => cards
            .iter()
            .map(|card| ("CUDA card", card.to_string()))
            .collect(),
        Err(why) => vec![("devices", format!("cpu ({why})"))],
    };
    if std::env::var_os("CUDA_VISIBLE_DEVICES").is_some() {
        lines.push(("CUDA_VISIBLE_DEVICES", variable("CUDA_VISIBLE_DEVICES")));
    }
    lines
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
            ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
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

/// The CPU paths that can be run, the fastest first.
fn paths(can_run: impl Fn(CpuPath) -> bool) -> String {
    let all: Vec<String> = CpuPath::ALL
        .into_iter()
        .filter(|path| can_run(*path))
        .map(|path| match path {
            CpuPath::Avx512Vnni => format!("{path} (the default of --dtype f16)"),
            path => path.to_string(),
        })
        .collect();
    all.join(", ")
}

fn affinity() -> String {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return set.count().to_string();
    }
    "unknown".to_owned()
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
    match (memory::machine(), memory::available()) {
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

fn memory_limit() -> String {
    memory::cgroup().map_or_else(|| "no limit".to_owned(), text::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_that_can_be_run() {
        let baseline = match cfg!(target_arch = "aarch64") {
            true => "neon",
            false => "portable",
        };
        assert_eq!(
            paths(|_| true),
            format!("avx512vnni (the default of --dtype f16), avx512, avx2, {baseline}")
        );
        assert_eq!(
            paths(|path| path <= CpuPath::Avx2),
            format!("avx2, {baseline}")
        );
        assert_eq!(paths(|path| path == CpuPath::Portable), baseline);
    }

    #[test]
    fn quotas() {
        assert_eq!(cpus("150000", "100000"), Some(1.5));
        assert_eq!(cpus("max", "100000"), None);
        assert_eq!(cpus("-1\n", "100000\n"), None);
        assert_eq!(cpus("100000", "0"), None);
    }
}
