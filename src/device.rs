//! The settings `device`, `dtype` and `threads`, resolved on this machine.

use crate::ops::{CpuPath, WeightType};
use crate::product::Fallback;
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// Where to compute, as requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// GPUs.
    Cuda(GpuChoice),
}

/// GPUs, as requested. Their numbers are those that `CUDA_VISIBLE_DEVICES` leaves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuChoice {
    /// All that are visible.
    All,
    /// Those with these numbers, ascending, each once.
    These(Vec<usize>),
}

impl fmt::Display for GpuChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GpuChoice::All => f.write_str("all"),
            GpuChoice::These(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
                write!(f, "cuda:{}", numbers.join(","))
            }
        }
    }
}

/// Compute capability that the kernels need: tensor cores that multiply f16, and `ldmatrix`.
pub(crate) const LEAST_CAPABILITY: (i32, i32) = (7, 5);

/// The first compute capability with bfloat16 and TF32 on tensor cores, and asynchronous copies.
pub(crate) const AMPERE: (i32, i32) = (8, 0);

/// A GPU of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number among the visible ones.
    pub number: usize,
    /// Its name, as the driver reports it.
    pub name: String,
    /// Major and minor number of its compute capability.
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub memory: u64,
    /// Its multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of its second-level cache.
    pub cache: usize,
    /// The newest CUDA version that its driver supports: 13000 is 13.0.
    pub driver: i32,
    /// The release of the driver, such as 580.95.05, if it is known.
    pub driver_version: Option<String>,
}

impl Gpu {
    /// # Errors
    /// It lacks the number format.
    pub(crate) fn check(&self, dtype: Dtype) -> Result<(), DeviceError> {
        match dtype {
            Dtype::Bf16 | Dtype::Tf32 if self.capability < AMPERE => Err(DeviceError::NoFormat {
                dtype,
                name: self.name.clone(),
                capability: self.capability,
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, compute capability {}.{}, {:.1} GiB, driver{} for CUDA {}.{}",
            self.number,
            self.name,
            self.capability.0,
            self.capability.1,
            self.memory as f64 / (1u64 << 30) as f64,
            match &self.driver_version {
                Some(version) => format!(" {version}"),
                None => String::new(),
            },
            self.driver / 1000,
            self.driver % 1000 / 10
        )
    }
}

/// Number format of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16 bits. On the CPU, matrix products are computed in 16-bit fixed point.
    F16,
    /// bfloat16. On the CPU a storage format of the weights: arithmetic stays f32.
    Bf16,
    /// 32-bit floats of which products use 11 bits of each factor. GPUs only.
    Tf32,
}

impl Dtype {
    /// Its name in settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::Tf32 => "tf32",
        }
    }

    /// How the CPU engine stores weights for it.
    pub fn weight_type(self) -> WeightType {
        match self {
            Dtype::F32 | Dtype::Tf32 => WeightType::F32,
            Dtype::F16 => WeightType::F16,
            Dtype::Bf16 => WeightType::Bf16,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of residue rows that each batch on a GPU keeps in pinned memory of the machine. Only the
/// smallest batch of a wide model takes more.
pub(crate) const PINNED: u64 = 128 << 20;

/// Where passed self-tests of GPUs are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tested {
    /// The folder, which is made when the first test passes. Without one, every run tests.
    pub folder: Option<PathBuf>,
    /// Tests again what is remembered, and remembers the outcome.
    pub again: bool,
}

/// Why the machine cannot do what was requested.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    /// GPUs were requested, and none can be used.
    #[error(
        "`device={requested}` cannot be used: {why}\n\
         hint: use `device=cpu` or `device=auto` to compute on the CPU"
    )]
    NoCuda {
        /// The requested GPUs.
        requested: GpuChoice,
        /// What is missing.
        why: String,
    },
    /// A GPU that is not there.
    #[error(
        "`device={requested}`: there is no GPU {number}; the visible GPUs are numbered 0 to {last}\n\
         hint: the environment variable CUDA_VISIBLE_DEVICES selects the visible GPUs"
    )]
    NoGpu {
        /// The requested GPUs.
        requested: GpuChoice,
        /// The first that is missing.
        number: usize,
        /// The last that is there.
        last: usize,
    },
    /// GPUs that would not give the same bits.
    #[error(
        "`device={requested}` selects GPUs of different kinds ({kinds}): their results differ in the \
         last bits, so a row would depend on which of them computed it\n\
         hint: select GPUs of one kind (`esm-embed doctor` lists them)"
    )]
    Mixed {
        /// The requested GPUs.
        requested: GpuChoice,
        /// Their names.
        kinds: String,
    },
    /// A number format that the GPU lacks.
    #[error(
        "`dtype={dtype}` needs compute capability {}.{}, and {name} has {}.{}\n\
         hint: use `dtype=f16` or `dtype=f32`",
        AMPERE.0, AMPERE.1, .capability.0, .capability.1
    )]
    NoFormat {
        /// The requested format.
        dtype: Dtype,
        /// The name of the GPU.
        name: String,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// The processor lacks the requested instructions.
    #[error(
        "`cpu_path={requested}` is not available: the best path of this processor is {best}\n\
         hint: use `cpu_path={best}`"
    )]
    NoPath {
        /// The requested path.
        requested: CpuPath,
        /// The best path of this processor.
        best: CpuPath,
    },
    /// A number format of GPUs on the CPU.
    #[error(
        "`dtype=tf32` is a number format of GPUs, and the CPU would compute{}\n\
         hint: use `dtype=f32`, or `device=cuda`",
        match .why {
            Some(why) => format!(" because {why}"),
            None => String::new(),
        }
    )]
    Tf32OnCpu {
        /// Why no GPU computes, if the CPU was not requested.
        why: Option<String>,
    },
}

/// The device that a run computes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Instructions of the CPU kernels.
    pub path: CpuPath,
    /// The GPUs; none to compute on the CPU.
    pub gpus: Vec<Gpu>,
    /// Why `auto` chose the CPU.
    pub why_cpu: Option<String>,
    /// Which self-tests of GPUs can be skipped.
    pub tested: Tested,
}

impl Device {
    /// The CPU with these instructions.
    pub fn cpu(path: CpuPath) -> Device {
        Device {
            path,
            gpus: Vec::new(),
            why_cpu: None,
            tested: Tested::default(),
        }
    }

    /// Resolves the choice for a number format on this machine, which has these GPUs, or a reason
    /// why it has none. `path` forces a lower CPU path, and keeps `auto` on the CPU.
    ///
    /// # Errors
    /// What was requested is not available; nothing is replaced silently.
    pub fn resolve(
        choice: &DeviceChoice,
        path: Option<CpuPath>,
        dtype: Option<Dtype>,
        gpus: impl FnOnce() -> Result<Vec<Gpu>, String>,
    ) -> Result<Device, DeviceError> {
        let best = CpuPath::detect();
        let choice = match (choice, path) {
            (DeviceChoice::Auto, Some(_)) => &DeviceChoice::Cpu,
            _ => choice,
        };
        let path = match path {
            Some(requested) if requested > best => {
                return Err(DeviceError::NoPath { requested, best });
            }
            requested => requested.unwrap_or(best),
        };
        let (gpus, why_cpu) = chosen(choice, dtype, gpus)?;
        if dtype == Some(Dtype::Tf32) && gpus.is_empty() {
            return Err(DeviceError::Tf32OnCpu { why: why_cpu });
        }
        Ok(Device {
            gpus,
            why_cpu,
            ..Device::cpu(path)
        })
    }

    /// Whether GPUs compute.
    pub fn is_gpu(&self) -> bool {
        !self.gpus.is_empty()
    }

    /// Batches that each GPU works on at the same time for this number of threads, if it has the
    /// memory: one computes, one copies its rows to the machine, one has its rows written. Small
    /// models compute faster than rows can be written, and profit from more.
    pub fn lanes(&self, threads: usize) -> usize {
        threads.div_ceil(self.gpus.len().max(1)).clamp(3, 6)
    }

    /// The number format if none is requested: f16 on GPUs, in which ESM-2 was trained, f32 on the
    /// CPU.
    pub fn usual_dtype(&self) -> Dtype {
        match self.is_gpu() {
            true => Dtype::F16,
            false => Dtype::F32,
        }
    }

    /// The number format of sequences whose numbers do not fit f16, if GPUs compute.
    pub(crate) fn fallback(&self) -> Fallback {
        match self.gpus.iter().all(|gpu| gpu.check(Dtype::Bf16).is_ok()) {
            true => Fallback::Bf16,
            false => Fallback::F32,
        }
    }
}

/// GPUs, or why there are none.
type Chosen = (Vec<Gpu>, Option<String>);

/// The GPUs of a choice, of those that the machine has.
fn chosen(
    choice: &DeviceChoice,
    dtype: Option<Dtype>,
    gpus: impl FnOnce() -> Result<Vec<Gpu>, String>,
) -> Result<Chosen, DeviceError> {
    let requested = match choice {
        DeviceChoice::Cpu => return Ok((Vec::new(), None)),
        DeviceChoice::Auto => {
            return Ok(match gpus() {
                Ok(mut gpus) => {
                    // The driver may list an older GPU first.
                    gpus.retain(|gpu| gpu.capability >= LEAST_CAPABILITY);
                    gpus.sort_by_key(|gpu| gpu.capability < AMPERE);
                    gpus.truncate(1);
                    match checked(&gpus, dtype) {
                        Ok(()) => (gpus, None),
                        Err(error) => (Vec::new(), Some(error.to_string())),
                    }
                }
                Err(why) => (Vec::new(), Some(why)),
            });
        }
        DeviceChoice::Cuda(requested) => requested,
    };
    let all = gpus().map_err(|why| DeviceError::NoCuda {
        requested: requested.clone(),
        why,
    })?;
    let numbers = match requested {
        GpuChoice::All => (0..all.len()).collect(),
        GpuChoice::These(numbers) => numbers.clone(),
    };
    let gpu = |number: &usize| {
        all.get(*number).cloned().ok_or(DeviceError::NoGpu {
            requested: requested.clone(),
            number: *number,
            last: all.len().saturating_sub(1),
        })
    };
    let gpus = numbers.iter().map(gpu).collect::<Result<Vec<_>, _>>()?;
    checked(&gpus, dtype)?;
    match kinds(&gpus).as_slice() {
        [] | [_] => Ok((gpus, None)),
        kinds => Err(DeviceError::Mixed {
            requested: requested.clone(),
            kinds: kinds.join(", "),
        }),
    }
}

/// # Errors
/// One of the GPUs lacks the number format.
fn checked(gpus: &[Gpu], dtype: Option<Dtype>) -> Result<(), DeviceError> {
    match dtype {
        Some(dtype) => gpus.iter().try_for_each(|gpu| gpu.check(dtype)),
        None => Ok(()),
    }
}

/// The names of GPUs, each once.
fn kinds(gpus: &[Gpu]) -> Vec<&str> {
    let mut names: Vec<&str> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What can change a number: the kind of GPU, not which one or how many.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = kinds(&self.gpus);
        match kinds.is_empty() {
            true => f.write_str("cpu"),
            false => write!(f, "cuda ({})", kinds.join(", ")),
        }
    }
}

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

    fn gpu(number: usize) -> Gpu {
        Gpu {
            number,
            name: "NVIDIA H200".to_owned(),
            capability: (9, 0),
            memory: 150_323_855_360,
            multiprocessors: 132,
            cache: 50 << 20,
            driver: 13000,
            driver_version: Some("580.95.05".to_owned()),
        }
    }

    #[test]
    fn gpus_that_are_not_there_are_refused_and_never_replaced() {
        let requested = GpuChoice::These(vec![1]);
        let choice = DeviceChoice::Cuda(requested);
        let refused = |gpus: Result<Vec<Gpu>, String>| {
            let chosen = chosen(&choice, None, || gpus);
            chosen.map_err(|error| error.to_string()).unwrap_err()
        };
        assert_eq!(
            refused(Err("no driver is installed".to_owned())),
            "`device=cuda:1` cannot be used: no driver is installed\n\
             hint: use `device=cpu` or `device=auto` to compute on the CPU"
        );
        assert_eq!(
            refused(Ok(vec![gpu(0)])),
            "`device=cuda:1`: there is no GPU 1; the visible GPUs are numbered 0 to 0\n\
             hint: the environment variable CUDA_VISIBLE_DEVICES selects the visible GPUs"
        );
    }

    #[test]
    fn requested_gpus_are_used() {
        let three = || Ok(vec![gpu(0), gpu(1), gpu(2)]);
        let some = DeviceChoice::Cuda(GpuChoice::These(vec![0, 2]));
        assert_eq!(chosen(&some, None, three), Ok((vec![gpu(0), gpu(2)], None)));
        let all = DeviceChoice::Cuda(GpuChoice::All);
        assert_eq!(chosen(&all, None, three).map(|(gpus, _)| gpus.len()), Ok(3));
        assert_eq!(
            gpu(0).to_string(),
            "0: NVIDIA H200, compute capability 9.0, 140.0 GiB, driver 580.95.05 for CUDA 13.0"
        );
        let mixed = || {
            let name = "NVIDIA A100".to_owned();
            Ok(vec![gpu(0), Gpu { name, ..gpu(1) }])
        };
        assert_eq!(
            chosen(&all, None, mixed),
            Err(DeviceError::Mixed {
                requested: GpuChoice::All,
                kinds: "NVIDIA A100, NVIDIA H200".to_owned()
            })
        );
        let second = DeviceChoice::Cuda(GpuChoice::These(vec![1]));
        assert!(chosen(&second, None, mixed).is_ok());
        let device = Device {
            gpus: vec![gpu(0), gpu(2)],
            ..Device::cpu(CpuPath::Portable)
        };
        assert_eq!(device.to_string(), "cuda (NVIDIA H200)");
        assert_eq!(device.usual_dtype(), Dtype::F16);
        assert_eq!([1, 8, 32].map(|threads| device.lanes(threads)), [3, 4, 6]);
    }

    #[test]
    fn older_gpus_have_fewer_number_formats() {
        let old = |number, name: &str, capability| Gpu {
            name: name.to_owned(),
            capability,
            ..gpu(number)
        };
        let t4 = old(0, "Tesla T4", (7, 5));
        let one = || Ok(vec![t4.clone()]);
        let cuda = DeviceChoice::Cuda(GpuChoice::These(vec![0]));
        for dtype in [None, Some(Dtype::F16), Some(Dtype::F32)] {
            assert_eq!(chosen(&cuda, dtype, one), Ok((vec![t4.clone()], None)));
        }
        let why = |dtype| {
            format!(
                "`dtype={dtype}` needs compute capability 8.0, and Tesla T4 has 7.5\n\
                 hint: use `dtype=f16` or `dtype=f32`"
            )
        };
        for dtype in [Dtype::Bf16, Dtype::Tf32] {
            let refused = chosen(&cuda, Some(dtype), one).map_err(|error| error.to_string());
            assert_eq!(refused, Err(why(dtype)));
            let by_auto = chosen(&DeviceChoice::Auto, Some(dtype), one);
            assert_eq!(by_auto, Ok((vec![], Some(why(dtype)))));
        }
        // A newer GPU comes first, and one that is too old is left out.
        let three = || {
            let volta = old(0, "Tesla V100", (7, 0));
            Ok(vec![
                volta,
                Gpu {
                    number: 1,
                    ..t4.clone()
                },
                gpu(2),
            ])
        };
        let by_auto = chosen(&DeviceChoice::Auto, None, three);
        assert_eq!(by_auto, Ok((vec![gpu(2)], None)));
        let fallback = |gpus| {
            let device = Device {
                gpus,
                ..Device::cpu(CpuPath::Portable)
            };
            device.fallback()
        };
        assert_eq!(fallback(vec![t4.clone()]), Fallback::F32);
        assert_eq!(fallback(vec![gpu(0)]), Fallback::Bf16);
    }

    fn no_gpu() -> Result<Vec<Gpu>, String> {
        Err("no NVIDIA driver is installed".to_owned())
    }

    #[test]
    fn tf32_is_for_gpus() {
        let refused = |choice| {
            let resolved = Device::resolve(&choice, None, Some(Dtype::Tf32), no_gpu);
            resolved.map_err(|error| error.to_string()).unwrap_err()
        };
        assert_eq!(
            refused(DeviceChoice::Cpu),
            "`dtype=tf32` is a number format of GPUs, and the CPU would compute\n\
             hint: use `dtype=f32`, or `device=cuda`"
        );
        assert_eq!(
            refused(DeviceChoice::Auto),
            "`dtype=tf32` is a number format of GPUs, and the CPU would compute because no NVIDIA \
             driver is installed\nhint: use `dtype=f32`, or `device=cuda`"
        );
        assert_eq!(Dtype::Tf32.to_string(), "tf32");
    }

    #[test]
    fn paths_of_the_cpu() {
        let resolve = |path, dtype| Device::resolve(&DeviceChoice::Auto, path, dtype, no_gpu);
        let portable = resolve(Some(CpuPath::Portable), Some(Dtype::F16));
        assert_eq!(portable.map(|d| d.path), Ok(CpuPath::Portable));
        let best = CpuPath::detect();
        assert_eq!(resolve(None, None).map(|d| d.path), Ok(best));
        if best < CpuPath::Avx512Vnni {
            assert_eq!(
                resolve(Some(CpuPath::Avx512Vnni), None),
                Err(DeviceError::NoPath {
                    requested: CpuPath::Avx512Vnni,
                    best
                })
            );
        }
    }
}
