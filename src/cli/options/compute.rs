//! How it is computed, under *Computation*.

use super::variables;
use clap::ValueEnum;
use esm_embed::device::{DeviceChoice, Dtype, available_threads};
use esm_embed::numerals::grouped;
use esm_embed::ops::CpuPath;
use esm_embed::pipeline::{ComputeOptions, OnVarying};
use esm_embed::settings::{device, digits};

/// More threads than any machine that this is meant for has.
const MAX_THREADS: usize = 4096;

/// How it is computed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Computation")]
pub struct ComputeArgs {
    /// Device: auto, cpu, cuda (the first GPU), cuda:0,1,… or all (every GPU)
    ///
    /// auto uses the first GPU with compute capability 8.0 or newer, else the first with 7.5, else the
    /// CPU. If a GPU is present but unusable (out of memory, unsupported), auto warns and uses the CPU.
    /// With --cpu-path, auto is the CPU. gpu is another name for cuda. GPUs are counted from 0 among those
    /// that CUDA_VISIBLE_DEVICES leaves visible. It takes numbers, UUIDs (GPU-...) and parts of a GPU
    /// (MIG-...), as `nvidia-smi -L` lists them.
    #[arg(
        long,
        env = variables::DEVICE,
        value_name = "auto|cpu|cuda[:I[,I...]]|all",
        default_value = "auto",
        value_parser = device
    )]
    pub device: DeviceChoice,

    /// Number format of the computation [default: f32 on the CPU, f16 on GPUs]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub dtype: Option<DtypeArg>,

    /// Test again that the GPU computes the same bits in any batch
    ///
    /// The test runs when a combination of GPU, driver, cuBLASLt, model shape and number format is used
    /// for the first time, and its result is cached (in HF_HOME).
    #[arg(long)]
    pub check_device: bool,

    /// What to do if the results of the GPU depend on the batch
    #[arg(long, value_name = "ACTION", value_enum, default_value = "alone")]
    pub on_varying: OnVaryingArg,

    /// Number of threads [default: the CPUs available to this process]
    ///
    /// The default respects CPU affinity, the CPU quota of the cgroup and SLURM_CPUS_PER_TASK. The
    /// results do not depend on it.
    #[arg(short, long, env = variables::THREADS, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,

    /// Maximum number of tokens in a batch [default: depends on the device]
    ///
    /// A longer sequence is a batch by itself. The results do not depend on it.
    #[arg(long, value_name = "N", value_parser = max_tokens)]
    pub max_tokens: Option<usize>,

    /// Embed one sequence per forward pass
    ///
    /// The results are the same with and without it, bit for bit.
    #[arg(long)]
    pub deterministic: bool,

    /// Newest CPU instructions to use [default: the best that this CPU has]
    ///
    /// For tests and measurements. The results do not depend on it, bit for bit.
    #[arg(long, value_name = "PATH", value_enum)]
    pub cpu_path: Option<CpuPathArg>,
}

impl ComputeArgs {
    /// What the arguments ask for.
    pub fn options(&self) -> ComputeOptions {
        ComputeOptions {
            device: self.device.clone(),
            dtype: self.dtype.map(Into::into),
            cpu_path: self.cpu_path.map(Into::into),
            threads: self.threads.unwrap_or_else(available_threads),
            max_tokens: self.max_tokens,
            deterministic: self.deterministic,
            on_varying: self.on_varying.into(),
        }
    }
}

/// `--threads`.
fn threads(text: &str) -> Result<usize, String> {
    let number = digits(text).filter(|number| (1..=MAX_THREADS).contains(number));
    number.ok_or_else(|| {
        format!(
            "expected a number from 1 to {}",
            grouped(MAX_THREADS as u64)
        )
    })
}

/// `--max-tokens`.
fn max_tokens(text: &str) -> Result<usize, String> {
    let number = digits(text).filter(|number| *number > 0);
    number.ok_or_else(|| "expected a number from 1".to_owned())
}

/// `--dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DtypeArg {
    /// 32-bit floats; also accepted: fp32, float32
    #[value(aliases = ["fp32", "float32"])]
    F32,
    /// 16 bits; also accepted: fp16, float16, half. On the CPU, weights take half the memory and
    /// products are in 16-bit fixed point: with AVX-512 VNNI about twice as fast as f32. On GPUs,
    /// records whose values exceed the range of f16 are computed in bf16 (with compute capability
    /// 7.5, in f32)
    #[value(aliases = ["fp16", "float16", "half"])]
    F16,
    /// 16 bits with the range of f32; also accepted: bfloat16. On the CPU, weights take half the
    /// memory and arithmetic is in f32. GPUs need compute capability 8.0
    #[value(alias = "bfloat16")]
    Bf16,
    /// GPUs with compute capability 8.0 only: 32-bit floats whose products use 11 significant bits of
    /// each factor, faster than f32
    Tf32,
}

impl From<DtypeArg> for Dtype {
    fn from(arg: DtypeArg) -> Dtype {
        match arg {
            DtypeArg::F32 => Dtype::F32,
            DtypeArg::F16 => Dtype::F16,
            DtypeArg::Bf16 => Dtype::Bf16,
            DtypeArg::Tf32 => Dtype::Tf32,
        }
    }
}

/// `--on-varying`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnVaryingArg {
    /// Embed one sequence per pass
    Alone,
    /// Stop before anything is computed
    Fail,
}

impl From<OnVaryingArg> for OnVarying {
    fn from(arg: OnVaryingArg) -> OnVarying {
        match arg {
            OnVaryingArg::Alone => OnVarying::Alone,
            OnVaryingArg::Fail => OnVarying::Fail,
        }
    }
}

/// `--cpu-path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CpuPathArg {
    /// AVX-512 with VNNI, which only makes --dtype f16 faster
    #[value(name = "avx512vnni")]
    Avx512Vnni,
    /// AVX-512
    Avx512,
    /// AVX2 and FMA
    Avx2,
    /// What every CPU of this architecture has
    #[cfg_attr(target_arch = "aarch64", value(name = "neon", alias = "portable"))]
    Portable,
}

impl From<CpuPathArg> for CpuPath {
    fn from(arg: CpuPathArg) -> CpuPath {
        match arg {
            CpuPathArg::Avx512Vnni => CpuPath::Avx512Vnni,
            CpuPathArg::Avx512 => CpuPath::Avx512,
            CpuPathArg::Avx2 => CpuPath::Avx2,
            CpuPathArg::Portable => CpuPath::Portable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::OutDtypeArg;
    use super::*;

    #[test]
    fn number_formats_have_the_names_of_other_tools() {
        let dtype = |text: &str| DtypeArg::from_str(text, false).ok();
        let out_dtype = |text: &str| OutDtypeArg::from_str(text, false).ok();
        for text in ["f32", "fp32", "float32"] {
            assert_eq!(dtype(text), Some(DtypeArg::F32), "{text}");
            assert_eq!(out_dtype(text), Some(OutDtypeArg::F32), "{text}");
        }
        for text in ["f16", "fp16", "float16", "half"] {
            assert_eq!(dtype(text), Some(DtypeArg::F16), "{text}");
            assert_eq!(out_dtype(text), Some(OutDtypeArg::F16), "{text}");
        }
        for text in ["bf16", "bfloat16"] {
            assert_eq!(dtype(text), Some(DtypeArg::Bf16), "{text}");
            assert_eq!(out_dtype(text), None, "{text}");
        }
        for text in ["", "F32", "16", "float", "double", "int8"] {
            assert_eq!(dtype(text), None, "{text}");
        }
        for arg in DtypeArg::value_variants() {
            let value = arg.to_possible_value().unwrap();
            for name in value.get_name_and_aliases() {
                assert_eq!(
                    esm_embed::settings::dtype(name),
                    Ok((*arg).into()),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn cpu_paths_have_the_names_that_messages_have() {
        for arg in CpuPathArg::value_variants() {
            let name = arg.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(CpuPath::from(*arg).to_string(), name);
        }
        assert_eq!(CpuPathArg::value_variants().len(), CpuPath::ALL.len());
    }
}
