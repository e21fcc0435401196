//! GPUs, CPU, threads and memory.

use super::ReportLine;
use super::environment::variable;
use crate::cli::message::Message;
use crate::cli::options::variables;
use esm_embed::cuda::{self, CudaError};
use esm_embed::device::available_threads;
use esm_embed::memory::{self, cgroup_folders};
use esm_embed::numerals::{self, grouped};
use esm_embed::ops::CpuPath;
use serde::Serialize;
use std::fs::read_to_string;

/// What this machine computes with.
#[derive(Debug, Serialize)]
pub struct Computation {
    /// The GPUs that this program can use.
    gpus: Vec<String>,
    /// Why it can use none; null if it can use one.
    why_no_gpus: Option<String>,
    /// Version and file of cuBLASLt; null without one and without GPUs.
    cublaslt: Option<String>,
    /// Why there is none, and the program's own matrix products are used; null without GPUs.
    why_no_cublaslt: Option<String>,
    /// Name of the CPU.
    processor: Option<String>,
    /// Its architecture.
    arch: &'static str,
    /// The instruction sets of the CPU, among those that the CPU paths need.
    instructions: Vec<&'static str>,
    /// The CPU path that is used by default.
    cpu_path: String,
    /// The CPU paths that this CPU can run, the fastest first.
    cpu_paths: Vec<String>,
    /// CPUs that the affinity of this process allows.
    cpus_by_affinity: Option<u64>,
    /// CPUs that the quota of its cgroup allows; null without a quota.
    cpus_by_cgroup: Option<f64>,
    /// Threads that are used by default.
    threads: usize,
    /// Memory of the machine.
    memory_bytes: Option<u64>,
    /// Available memory.
    memory_available_bytes: Option<u64>,
    /// Memory limit of the cgroup; null without a limit.
    memory_by_cgroup_bytes: Option<u64>,
}

impl Computation {
    /// Looks at GPUs, CPU, threads and memory.
    pub fn look() -> Computation {
        let one_line = |why: CudaError| Message::of(&why.to_string()).one_line();
        let (gpus, why_no_gpus): (Vec<String>, _) = match cuda::gpus() {
            Ok(gpus) => (gpus.iter().map(ToString::to_string).collect(), None),
            Err(why) => (Vec::new(), Some(one_line(why))),
        };
        let cublaslt = (!gpus.is_empty()).then(cuda::cublaslt);
        let (cublaslt, why_no_cublaslt) = match cublaslt {
            Some(Ok(found)) => (Some(found), None),
            Some(Err(why)) => (None, Some(one_line(why))),
            None => (None, None),
        };
        Computation {
            gpus,
            why_no_gpus,
            cublaslt,
            why_no_cublaslt,
            processor: processor(),
            arch: std::env::consts::ARCH,
            instructions: instructions(),
            cpu_path: CpuPath::detect().to_string(),
            cpu_paths: paths(CpuPath::is_available)
                .iter()
                .map(ToString::to_string)
                .collect(),
            cpus_by_affinity: affinity(),
            cpus_by_cgroup: quota(),
            threads: variable(variables::THREADS)
                .and_then(|threads| threads.parse().ok())
                .unwrap_or_else(available_threads),
            memory_bytes: memory::machine(),
            memory_available_bytes: memory::available(),
            memory_by_cgroup_bytes: memory::cgroup(),
        }
    }

    /// As text, with the variables that change it.
    pub fn lines(self) -> Vec<ReportLine> {
        let mut lines: Vec<ReportLine> = self.gpus.into_iter().map(|gpu| ("GPU", gpu)).collect();
        lines.extend(self.why_no_gpus.map(|why| ("GPU", format!("none: {why}"))));
        lines.extend(self.cublaslt.map(|found| ("cuBLASLt", found)));
        let own = |why| {
            (
                "cuBLASLt",
                format!("none; the program's own matrix products are used: {why}"),
            )
        };
        lines.extend(self.why_no_cublaslt.map(own));
        lines.extend(variable("CUDA_VISIBLE_DEVICES").map(|gpus| ("CUDA_VISIBLE_DEVICES", gpus)));
        let processor = self.processor.as_deref().unwrap_or("unknown model");
        let instructions = match self.instructions.is_empty() {
            true => "none with a CPU path".to_owned(),
            false => self.instructions.join(" "),
        };
        let unknown = || "unknown".to_owned();
        let no_limit = || "no limit".to_owned();
        let memory = match (self.memory_bytes, self.memory_available_bytes) {
            (Some(total), Some(available)) => format!(
                "{} available of {}",
                numerals::bytes(available),
                numerals::bytes(total)
            ),
            _ => unknown(),
        };
        lines.extend([
            ("CPU", format!("{processor} ({})", self.arch)),
            ("instructions", instructions),
            ("CPU path", self.cpu_path),
            ("choices of --cpu-path", self.cpu_paths.join(", ")),
            (
                "CPUs (affinity)",
                self.cpus_by_affinity.map_or_else(unknown, grouped),
            ),
            (
                "CPU quota (cgroup)",
                self.cpus_by_cgroup
                    .map_or_else(no_limit, |cpus| format!("{cpus:.1}")),
            ),
            (
                "SLURM_CPUS_PER_TASK",
                variable("SLURM_CPUS_PER_TASK").unwrap_or_else(|| "not set".to_owned()),
            ),
            ("threads", self.threads.to_string()),
            ("memory", memory),
            (
                "memory limit (cgroup)",
                self.memory_by_cgroup_bytes
                    .map_or_else(no_limit, numerals::bytes),
            ),
        ]);
        for name in variables::ALL {
            lines.extend(variable(name).map(|value| (name, value)));
        }
        lines
    }
}

fn processor() -> Option<String> {
    let info = read_to_string("/proc/cpuinfo").ok()?;
    info.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, model)| model.to_owned())
}

/// The instruction sets that the CPU paths need, as far as the CPU has them.
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
    found
}

/// The CPU paths that can be run, the fastest first.
fn paths(can_run: impl Fn(CpuPath) -> bool) -> Vec<CpuPath> {
    let all = CpuPath::ALL.into_iter();
    all.filter(|path| can_run(*path)).collect()
}

fn affinity() -> Option<u64> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return Some(set.count().into());
    }
    None
}

fn quota() -> Option<f64> {
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
    quotas.reduce(f64::min)
}

/// CPUs of a quota; None for `max`, -1 and anything that is not a number.
fn cpus(quota: &str, period: &str) -> Option<f64> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_available_paths_are_listed() {
        let baseline = match cfg!(target_arch = "aarch64") {
            true => "neon",
            false => "portable",
        };
        let paths = |can_run: fn(CpuPath) -> bool| {
            let names: Vec<String> = paths(can_run).iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        assert_eq!(
            paths(|_| true),
            format!("avx512vnni, avx512, avx2, {baseline}")
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
