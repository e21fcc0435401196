//! `--device`, `--dtype` and `--threads`: what was asked → what this machine does.

use crate::ops::{CpuPath, WeightType};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// Where to compute, as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The fastest device of this build and machine.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA cards.
    Cuda(Cards),
}

/// CUDA cards, as asked; they are numbered as `CUDA_VISIBLE_DEVICES` leaves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cards {
    /// All that can be seen.
    All,
    /// Those with these numbers, ascending, each once.
    These(Vec<usize>),
}

impl fmt::Display for Cards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cards::All => f.write_str("all"),
            Cards::These(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
                write!(f, "cuda:{}", numbers.join(","))
            }
        }
    }
}

/// Compute capability that the kernels need: bfloat16 on tensor cores and asynchronous copies.
pub(crate) const LEAST_CAPABILITY: (i32, i32) = (8, 0);

/// A CUDA card of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its number among those that can be seen.
    pub number: usize,
    /// What it calls itself.
    pub name: String,
    /// Major and minor number of its compute capability.
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub memory: u64,
    /// Its multiprocessors.
    pub multiprocessors: usize,
    /// The newest CUDA version that its driver knows: 13000 is 13.0.
    pub driver: i32,
    /// What the driver calls its version, such as 580.95.05, if it says so.
    pub driver_version: Option<String>,
}

impl fmt::Display for Card {
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

/// The CUDA cards that can be seen, or why there are none.
///
/// # Errors
/// A sentence without an end: what is missing, and what to do.
pub fn cards() -> Result<Vec<Card>, String> {
    crate::cuda::cards().map_err(|error| error.to_string())
}

/// Number format of the computation, as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16 bits. On the CPU products are in fixed point of 16 bits where the processor has AVX-512
    /// VNNI; elsewhere it is a storage format of the weights and arithmetic stays f32.
    F16,
    /// bfloat16. On the CPU a storage format of the weights: arithmetic stays f32.
    Bf16,
    /// 32-bit floats whose products are formed from 11 bits of each factor: CUDA cards alone.
    Tf32,
}

impl Dtype {
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
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::Tf32 => "tf32",
        })
    }
}

/// Bytes of residue rows that each batch on a card keeps in pinned memory of the machine, if its
/// least number of tokens has not more.
pub(crate) const PINNED: u64 = 128 << 20;

/// Residue rows that leave a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResidueRows {
    /// None: pooled rows alone.
    None,
    /// As 32-bit floats.
    F32,
    /// As half precision, rounded on the card.
    F16,
}

/// Where it is remembered which kinds of cards passed which self-tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tested {
    /// It is made when the first test is passed. None tests every time.
    pub folder: Option<PathBuf>,
    /// Tests again what is remembered, and remembers what it found.
    pub anew: bool,
}

/// Why the machine cannot do what was asked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    /// CUDA was asked for and cannot be had.
    #[error("--device {asked} was asked for, but {why}. Use --device cpu (or auto)")]
    NoCuda {
        /// The cards asked for.
        asked: Cards,
        /// What is missing.
        why: String,
    },
    /// A card that is not there.
    #[error(
        "--device {asked} was asked for, but there is no card {number}: those that can be seen are \
         0 to {last}. CUDA_VISIBLE_DEVICES decides which can be"
    )]
    NoCard {
        /// The cards asked for.
        asked: Cards,
        /// The first that is missing.
        number: usize,
        /// The last that is there.
        last: usize,
    },
    /// Cards that would not give the same bits.
    #[error(
        "--device {asked} means cards of different kinds ({kinds}), whose numbers differ in the last \
         bits, so that a row would depend on which of them computed it: choose cards of one kind \
         (`esm-embed doctor` lists them)"
    )]
    Mixed {
        /// The cards asked for.
        asked: Cards,
        /// What they call themselves.
        kinds: String,
    },
    /// The processor lacks the instructions that were asked for.
    #[error(
        "--cpu-path {asked} was asked for, but this processor has {best} at best. Use --cpu-path {best}"
    )]
    NoPath {
        /// The path asked for.
        asked: CpuPath,
        /// The best path of this processor.
        best: CpuPath,
    },
    /// Arithmetic in fixed point was asked for with another number format.
    #[error(
        "--cpu-path {} computes in fixed point and goes with --dtype f16; use --cpu-path {}",
        CpuPath::Avx512Vnni,
        CpuPath::Avx512
    )]
    FixedPath,
    /// A number format of cards was asked for on the CPU.
    #[error(
        "--dtype tf32 is a number format of CUDA cards, and the CPU would compute{}: use --dtype \
         f32, or --device cuda",
        match .why {
            Some(why) => format!(", as {why}"),
            None => String::new(),
        }
    )]
    Tf32OnCpu {
        /// Why no card computes, if that was not asked for.
        why: Option<String>,
    },
}

/// The device that a run computes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Instructions of the CPU kernels.
    pub path: CpuPath,
    /// The CUDA cards; none to compute on the CPU.
    pub cards: Vec<Card>,
    /// Why `auto` came to the CPU.
    pub why_cpu: Option<String>,
    /// Which self-tests need not be made again; none are known of before they are looked up.
    pub tested: Tested,
}

impl Device {
    /// Resolves the choice for a number format on this machine. `path` forces a lower CPU path, and
    /// keeps `auto` on the CPU.
    ///
    /// # Errors
    /// What was asked for cannot be had; nothing is replaced silently.
    pub fn resolve(
        choice: &DeviceChoice,
        path: Option<CpuPath>,
        dtype: Option<Dtype>,
    ) -> Result<Device, DeviceError> {
        let best = match dtype {
            Some(Dtype::F16) if CpuPath::Avx512Vnni.is_available() => CpuPath::Avx512Vnni,
            _ => CpuPath::detect(),
        };
        let choice = match (choice, path) {
            (DeviceChoice::Auto, Some(_)) => &DeviceChoice::Cpu,
            _ => choice,
        };
        let path = match path {
            Some(CpuPath::Avx512Vnni) if dtype != Some(Dtype::F16) => {
                return Err(DeviceError::FixedPath);
            }
            Some(asked) if asked > best => return Err(DeviceError::NoPath { asked, best }),
            asked => asked.unwrap_or(best),
        };
        let (cards, why_cpu) = Device::chosen(choice, cards)?;
        if dtype == Some(Dtype::Tf32) && cards.is_empty() {
            return Err(DeviceError::Tf32OnCpu { why: why_cpu });
        }
        Ok(Device {
            path,
            cards,
            why_cpu,
            tested: Tested::default(),
        })
    }

    /// The cards of a choice, given those that there are.
    fn chosen(
        choice: &DeviceChoice,
        there: impl Fn() -> Result<Vec<Card>, String>,
    ) -> Result<Chosen, DeviceError> {
        let asked = match choice {
            DeviceChoice::Cpu => return Ok((Vec::new(), None)),
            DeviceChoice::Auto => {
                return Ok(match there() {
                    Ok(mut cards) => {
                        // The driver may name an older card first.
                        cards.retain(|card| card.capability >= LEAST_CAPABILITY);
                        cards.truncate(1);
                        (cards, None)
                    }
                    Err(why) => (Vec::new(), Some(why)),
                });
            }
            DeviceChoice::Cuda(asked) => asked,
        };
        let all = there().map_err(|why| DeviceError::NoCuda {
            asked: asked.clone(),
            why,
        })?;
        let numbers = match asked {
            Cards::All => (0..all.len()).collect(),
            Cards::These(numbers) => numbers.clone(),
        };
        let card = |number: &usize| {
            all.get(*number).cloned().ok_or(DeviceError::NoCard {
                asked: asked.clone(),
                number: *number,
                last: all.len().saturating_sub(1),
            })
        };
        let cards = numbers.iter().map(card).collect::<Result<Vec<_>, _>>()?;
        match kinds(&cards).as_slice() {
            [] | [_] => Ok((cards, None)),
            kinds => Err(DeviceError::Mixed {
                asked: asked.clone(),
                kinds: kinds.join(", "),
            }),
        }
    }

    /// Whether it is a card or more.
    pub fn is_cuda(&self) -> bool {
        !self.cards.is_empty()
    }

    /// Batches that a card works on at the same time, given so many threads and the memory: one
    /// computes, one brings its rows to the machine, one has them written, and where these take longer
    /// than that, as of small models, more are on their way.
    pub fn lanes(&self, threads: usize) -> usize {
        threads.div_ceil(self.cards.len().max(1)).clamp(3, 6)
    }

    /// The number format when none is asked for: f16 on cards, in which ESM-2 was trained, f32 on
    /// the CPU.
    pub fn usual_dtype(&self) -> Dtype {
        match self.is_cuda() {
            true => Dtype::F16,
            false => Dtype::F32,
        }
    }
}

/// Cards, or why there are none.
type Chosen = (Vec<Card>, Option<String>);

/// What cards call themselves, each kind once.
fn kinds(cards: &[Card]) -> Vec<&str> {
    let mut names: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What can change a number: the kind of card, not which one or how many.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = kinds(&self.cards);
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

    fn card(number: usize) -> Card {
        Card {
            number,
            name: "NVIDIA H200".to_owned(),
            capability: (9, 0),
            memory: 150_323_855_360,
            multiprocessors: 132,
            driver: 13000,
            driver_version: Some("580.95.05".to_owned()),
        }
    }

    #[test]
    fn cuda_is_refused_and_never_replaced() {
        let asked = Cards::These(vec![1]);
        let none = || Err("no driver is there".to_owned());
        let refused = Device::chosen(&DeviceChoice::Cuda(asked.clone()), none);
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err(
                "--device cuda:1 was asked for, but no driver is there. Use --device cpu (or auto)"
                    .to_owned()
            )
        );
        let one = || Ok(vec![card(0)]);
        let missing = Device::chosen(&DeviceChoice::Cuda(asked), one);
        assert_eq!(
            missing.map_err(|error| error.to_string()),
            Err(
                "--device cuda:1 was asked for, but there is no card 1: those that can be seen are \
                 0 to 0. CUDA_VISIBLE_DEVICES decides which can be"
                    .to_owned()
            )
        );
    }

    #[test]
    fn cards_are_those_asked_for() {
        let three = || Ok(vec![card(0), card(1), card(2)]);
        let chosen = |cards| Device::chosen(&DeviceChoice::Cuda(cards), three);
        let some = chosen(Cards::These(vec![0, 2]));
        assert_eq!(some, Ok((vec![card(0), card(2)], None)));
        assert_eq!(chosen(Cards::All).map(|(cards, _)| cards.len()), Ok(3));
        assert_eq!(
            card(0).to_string(),
            "0: NVIDIA H200, compute capability 9.0, 140.0 GiB, driver 580.95.05 for CUDA 13.0"
        );
        let mixed = || {
            let name = "NVIDIA A100".to_owned();
            Ok(vec![card(0), Card { name, ..card(1) }])
        };
        let choice = DeviceChoice::Cuda;
        assert_eq!(
            Device::chosen(&choice(Cards::All), mixed),
            Err(DeviceError::Mixed {
                asked: Cards::All,
                kinds: "NVIDIA A100, NVIDIA H200".to_owned()
            })
        );
        assert!(Device::chosen(&choice(Cards::These(vec![1])), mixed).is_ok());
        let device = Device {
            path: CpuPath::Portable,
            cards: vec![card(0), card(2)],
            why_cpu: None,
            tested: Tested::default(),
        };
        assert_eq!(device.to_string(), "cuda (NVIDIA H200)");
        assert_eq!(device.usual_dtype(), Dtype::F16);
        assert_eq!([1, 8, 32].map(|threads| device.lanes(threads)), [3, 4, 6]);
    }

    #[test]
    fn tf32_is_for_cards() {
        let asked = Device::resolve(&DeviceChoice::Cpu, None, Some(Dtype::Tf32));
        assert_eq!(
            asked.map_err(|error| error.to_string()),
            Err(
                "--dtype tf32 is a number format of CUDA cards, and the CPU would compute: use \
                 --dtype f32, or --device cuda"
                    .to_owned()
            )
        );
        let why = Some("no NVIDIA driver is installed".to_owned());
        assert_eq!(
            DeviceError::Tf32OnCpu { why }.to_string(),
            "--dtype tf32 is a number format of CUDA cards, and the CPU would compute, as no NVIDIA \
             driver is installed: use --dtype f32, or --device cuda"
        );
        assert_eq!(Dtype::Tf32.to_string(), "tf32");
    }

    #[test]
    fn paths_of_the_cpu() {
        let resolve = |path, dtype| Device::resolve(&DeviceChoice::Cpu, Some(path), Some(dtype));
        assert_eq!(
            resolve(CpuPath::Avx512Vnni, Dtype::Bf16),
            Err(DeviceError::FixedPath)
        );
        let portable = resolve(CpuPath::Portable, Dtype::F32);
        assert_eq!(portable.map(|d| d.path), Ok(CpuPath::Portable));
    }
}
