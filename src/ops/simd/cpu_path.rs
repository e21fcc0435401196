//! Which instruction set the kernels run with.

use super::Kernel;
#[cfg(target_arch = "aarch64")]
use super::neon::Neon as Baseline;
#[cfg(not(target_arch = "aarch64"))]
use super::portable::Portable as Baseline;
#[cfg(target_arch = "x86_64")]
use super::x86;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// The instruction set that the CPU kernels run with. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CpuPath {
    /// Only what the build target guarantees: SSE2 on x86-64, and NEON on aarch64. There it is
    /// called `neon`.
    Portable,
    /// AVX2 and FMA (x86-64 since 2013).
    Avx2,
    /// AVX-512 F, BW, DQ and VL (x86-64 servers since 2017).
    Avx512,
    /// AVX-512 with VNNI (Intel servers since 2019, AMD since 2022), which makes products in fixed
    /// point faster; everything else runs as with [`CpuPath::Avx512`].
    Avx512Vnni,
}

/// The name of [`CpuPath::Portable`] on this target.
const BASELINE: &str = match cfg!(target_arch = "aarch64") {
    true => "neon",
    false => "portable",
};

impl CpuPath {
    /// All paths, the fastest first.
    pub const ALL: [CpuPath; 4] = [
        CpuPath::Avx512Vnni,
        CpuPath::Avx512,
        CpuPath::Avx2,
        CpuPath::Portable,
    ];

    /// The fastest path that this processor can run.
    pub fn detect() -> CpuPath {
        static BEST: OnceLock<CpuPath> = OnceLock::new();
        *BEST.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                let avx512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                match (avx2, avx512, is_x86_feature_detected!("avx512vnni")) {
                    (true, true, true) => CpuPath::Avx512Vnni,
                    (true, true, false) => CpuPath::Avx512,
                    (true, false, _) => CpuPath::Avx2,
                    (false, ..) => CpuPath::Portable,
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                CpuPath::Portable
            }
        })
    }

    /// True when this processor can run the path.
    pub fn is_available(self) -> bool {
        self <= CpuPath::detect()
    }

    /// Runs a kernel with this path's instructions.
    ///
    /// A path that the processor lacks is replaced by its best one, so that no illegal instruction
    /// is executed.
    #[inline]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self.min(CpuPath::detect()) {
            // SAFETY: `detect` saw every feature that the function is compiled with.
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx512Vnni if K::IN_FIXED_POINT => unsafe { run_avx512vnni(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx512Vnni | CpuPath::Avx512 => unsafe { run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx2 => unsafe { run_avx2(kernel) },
            // SAFETY: the portable path needs only what the build target guarantees.
            _ => unsafe { kernel.run::<Baseline>() },
        }
    }
}

impl fmt::Display for CpuPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CpuPath::Avx512Vnni => "avx512vnni",
            CpuPath::Avx512 => "avx512",
            CpuPath::Avx2 => "avx2",
            CpuPath::Portable => BASELINE,
        })
    }
}

impl FromStr for CpuPath {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "avx512vnni" => Ok(CpuPath::Avx512Vnni),
            "avx512" => Ok(CpuPath::Avx512),
            "avx2" => Ok(CpuPath::Avx2),
            "portable" => Ok(CpuPath::Portable),
            name if name == BASELINE => Ok(CpuPath::Portable),
            other => Err(format!(
                "unknown CPU path '{other}': use avx512vnni, avx512, avx2 or portable"
            )),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller has checked the features of this function.
    unsafe { kernel.run::<x86::Avx512<false>>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn run_avx512vnni<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller has checked the features of this function.
    unsafe { kernel.run::<x86::Avx512<true>>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller has checked the features of this function.
    unsafe { kernel.run::<x86::Avx2>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_paths() {
        let names = CpuPath::ALL.map(|path| path.to_string());
        let last = match cfg!(target_arch = "aarch64") {
            true => "neon",
            false => "portable",
        };
        assert_eq!(names, ["avx512vnni", "avx512", "avx2", last]);
        for (name, path) in names.iter().zip(CpuPath::ALL) {
            assert_eq!(name.parse(), Ok(path));
        }
        assert_eq!("portable".parse(), Ok(CpuPath::Portable));
        assert_eq!(
            "sse2".parse::<CpuPath>(),
            Err("unknown CPU path 'sse2': use avx512vnni, avx512, avx2 or portable".to_owned())
        );
    }
}
