//! The CPUs that this process may use.

/// The CPUs that this process may use: the least of its affinity, its cgroup's quota and
/// `SLURM_CPUS_PER_TASK`; at least 1.
pub fn available_threads() -> usize {
    // The standard library reads affinity and cgroup quota (v1 and v2).
    let system = std::thread::available_parallelism().map_or(1, |n| n.get());
    let slurm = std::env::var("SLURM_CPUS_PER_TASK").ok();
    limit(system, slurm.as_deref())
}

fn limit(system: usize, slurm: Option<&str>) -> usize {
    let slurm = slurm.and_then(|n| n.trim().parse().ok()).filter(|&n| n > 0);
    system.min(slurm.unwrap_or(system)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_can_lower_the_threads_but_not_raise_them() {
        assert_eq!(limit(8, Some("4")), 4);
        assert_eq!(limit(8, Some("64")), 8);
        assert_eq!(limit(8, Some("junk")), 8);
        assert_eq!(limit(8, Some("0")), 8);
        assert_eq!(limit(8, None), 8);
    }
}
