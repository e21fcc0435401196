//! What `doctor` is given.

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Print the report as one JSON document
    ///
    /// Fields: esm_embed, computation (cards, why_no_cards, processor, arch,
    /// instructions, cpu_path, cpu_paths, cpus_by_affinity, cpus_by_cgroup, threads, memory_bytes,
    /// memory_available_bytes, memory_by_cgroup_bytes), cache (folder, error, state, exists,
    /// writable, free_bytes, access_token), network (hub, asked, reachable, answer) and environment
    /// (the variables that are set). Values that are not known are null.
    #[arg(long)]
    pub json: bool,
}
