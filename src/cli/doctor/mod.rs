//! `doctor`: what this machine and the environment offer. It reports problems and does not fail, unless
//! it is to measure a GPU that cannot be used.

mod bits;
mod cache;
mod environment;
mod gpu;
mod machine;
mod network;

use super::Exit;
use super::message::Message;
use super::stdout::{print, print_json};
use bits::Bits;
use cache::Cache;
use esm_embed::hub::{HubSettings, KnownModel};
use esm_embed::printable;
use gpu::{Measuring, SizeReport};
use machine::Computation;
use network::Network;
use serde::Serialize;
use std::collections::BTreeMap;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Print the report as one JSON document
    ///
    /// Fields: esm_embed, computation (gpus, why_no_gpus, cublaslt, why_no_cublaslt, processor, arch,
    /// instructions, cpu_path, cpu_paths, cpus_by_affinity, cpus_by_cgroup, threads, memory_bytes,
    /// memory_available_bytes, memory_by_cgroup_bytes), cache (folder, error, state, exists, writable,
    /// free_bytes, access_token), network (hub, asked, reachable, answer) and environment (the
    /// variables that are set); with --gpu also gpu (size, dim, heads, tokens, products, rows,
    /// attention). Unknown values are null. With --bits: esm_embed and bits (sha256, the digest of each
    /// number format, and expected, whether they are those of every CPU).
    #[arg(long)]
    pub json: bool,

    /// Print only the digests of a built-in check, to compare machines
    ///
    /// A tiny model that the program carries embeds a few sequences on the CPU, in f32, f16 and bf16.
    /// This version prints the same report on every CPU; it takes about a second.
    #[arg(long)]
    pub bits: bool,

    /// Measure the first GPU: matrix products, row kernels and attention of ESM-2, in f16
    ///
    /// Takes up to half a minute, and fails without a usable GPU. SIZES are sizes of ESM-2; without
    /// them, 8M,35M,150M,650M,3B are measured. CUDA_VISIBLE_DEVICES selects the GPU.
    #[arg(long, value_name = "SIZES", num_args = 0..=1, require_equals = true, conflicts_with = "bits",
          default_missing_value = gpu::SIZES, value_delimiter = ',', value_parser = gpu::size)]
    pub gpu: Vec<&'static KnownModel>,
}

/// What `doctor --json` prints.
#[derive(Debug, Serialize)]
struct DoctorReport {
    /// Version of the program.
    esm_embed: &'static str,
    /// GPUs, CPU, threads and memory.
    computation: Computation,
    /// The Hugging Face cache.
    cache: Cache,
    /// The hub.
    network: Network,
    /// The variables that this program respects and that are set, without secrets.
    environment: BTreeMap<&'static str, String>,
    /// What was measured, by size.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gpu: Vec<SizeReport>,
}

/// What `doctor --bits --json` prints.
#[derive(Debug, Serialize)]
struct BitsReport {
    /// Version of the program.
    esm_embed: &'static str,
    /// What this machine computes.
    bits: Bits,
}

/// One line of the report: label and value.
type ReportLine = (&'static str, String);

/// Prints the report. As text it is printed section by section, so that a slow network delays only
/// its own section.
pub fn execute(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let esm_embed = env!("CARGO_PKG_VERSION");
    if args.bits {
        let bits = Bits::compute()?;
        match args.json {
            true => print_json(&BitsReport { esm_embed, bits })?,
            false => {
                print(&format!("esm-embed {esm_embed}\n"))?;
                section("Bits", bits.lines())?;
            }
        }
        return Ok(Exit::Done);
    }
    let hub = HubSettings::from_env().map_err(|error| Message::of(&error.to_string()).one_line());
    if args.json {
        let mut measured = Vec::new();
        if !args.gpu.is_empty() {
            let measuring = Measuring::new()?;
            for size in &args.gpu {
                measured.push(measuring.size(size)?);
            }
        }
        print_json(&DoctorReport {
            esm_embed,
            computation: Computation::look(),
            cache: Cache::look(&hub),
            network: Network::look(&hub),
            environment: environment::all(),
            gpu: measured,
        })?;
        return Ok(Exit::Done);
    }
    print(&format!("esm-embed {esm_embed}\n"))?;
    section("Computation", Computation::look().lines())?;
    section("Model cache", Cache::look(&hub).lines())?;
    section("Network", Network::look(&hub).lines())?;
    if !args.gpu.is_empty() {
        let measuring = Measuring::new()?;
        for size in &args.gpu {
            print(&measuring.size(size)?.text())?;
        }
    }
    Ok(Exit::Done)
}

fn section(title: &str, lines: Vec<ReportLine>) -> anyhow::Result<()> {
    let mut text = format!("\n{title}\n");
    for (what, found) in lines {
        text += &format!("  {what:<22} {}\n", printable::text(&found));
    }
    print(&text)
}
