//! How it is computed: the options of `run` under *Computation*.

use super::super::values;
use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use esm_embed::device::{DeviceChoice, Dtype};
use esm_embed::ops::CpuPath;

/// More threads than any machine has that this is meant for.
const MOST_THREADS: u64 = 4096;

/// How it is computed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Computation")]
pub struct ComputeArgs {
    /// Where to compute: auto, cpu, cuda (the first card), cuda:0,1,… or all (every card)
    ///
    /// gpu is another name for cuda.
    #[arg(
        long,
        value_name = "auto|cpu|cuda[:I[,I...]]|all",
        default_value = "auto",
        value_parser = values::device
    )]
    pub device: DeviceChoice,

    /// Number format of the computation [default: f32 on the CPU, f16 on CUDA]
    ///
    /// Other names are fp32 and float32 for f32, fp16, float16 and half for f16, bfloat16 for bf16.
    ///
    /// On the CPU, f16 and bf16 keep the weights in half the memory. Where the processor has
    /// AVX-512 VNNI, products with f16 are in fixed point of 16 bits, about twice as fast;
    /// otherwise arithmetic stays f32 (and with --cpu-path avx512 there too). On CUDA, a record whose
    /// numbers do not fit f16 is computed in bf16; f32 is exact, and tf32, which only CUDA has, is
    /// faster and forms products from 11 bits of each factor.
    #[arg(long, value_name = "f32|f16|bf16|tf32", value_parser = values::dtype)]
    pub dtype: Option<Dtype>,

    /// Test that the CUDA card gives the same bits in any batch, even if it passed before
    ///
    /// That is tested when a kind of card, driver, cuBLASLt, model shape and number format is met for
    /// the first time, and remembered in the cache (HF_HOME).
    #[arg(long)]
    pub check_device: bool,

    /// A CUDA card that gives other bits in other batches: a pass for each sequence, or stop
    #[arg(long, value_name = "alone|fail", value_enum, default_value = "alone")]
    pub on_varying: OnVaryingArg,

    /// Threads [default: the CPUs this process may use]
    ///
    /// The default respects CPU affinity, the cgroup's quota and SLURM_CPUS_PER_TASK. The number does
    /// not change the results.
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_THREADS)
    )]
    pub threads: Option<usize>,

    /// Tokens of one batch at most [default: chosen from the device]
    ///
    /// A sequence that is longer is a separate batch. The number does not change the results.
    #[arg(
        long,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..)
    )]
    pub max_tokens: Option<usize>,

    /// One sequence per forward pass
    ///
    /// The results are the same to the bit with and without it.
    #[arg(long)]
    pub deterministic: bool,

    /// Use no newer CPU instructions than these [default: the best of this CPU]
    ///
    /// Rounding differs between paths; the same path gives the same bits on every CPU that has it.
    /// avx512vnni goes with --dtype f16 and is its default where the processor has it.
    #[arg(long, value_name = "avx512vnni|avx512|avx2|portable", value_parser = values::cpu_path)]
    pub cpu_path: Option<CpuPath>,
}

/// `--on-varying`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnVaryingArg {
    /// Each sequence has a pass of its own
    Alone,
    /// Stop before anything is computed
    Fail,
}
