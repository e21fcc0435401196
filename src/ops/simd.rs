//! One vector vocabulary, four instruction sets.
//!
//! Every kernel of [`crate::ops`] is written once against [`Simd`] and compiled for what the
//! target guarantees (NEON on aarch64, SSE2 on x86-64), and on x86-64 twice more, for AVX-512 and
//! for AVX2 with FMA. [`CpuPath`] picks one at run time. Kernels never reduce across lanes in an
//! order that depends on the shape of a batch, so a path gives the same bits for a row wherever
//! that row stands.

#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(target_arch = "aarch64")]
use neon::Neon as Baseline;
#[cfg(not(target_arch = "aarch64"))]
use portable::Portable as Baseline;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// The instruction set that the CPU kernels run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CpuPath {
    /// What the build target guarantees and nothing more: SSE2 on x86-64; on aarch64 NEON, and it
    /// is called that there, because its last bits are others.
    Portable,
    /// AVX2 and FMA (x86-64 since 2013).
    Avx2,
    /// AVX-512 F, BW, DQ and VL (x86-64 servers since 2017).
    Avx512,
    /// The same with products of attention and of linear layers with f16 weights in fixed point,
    /// by VNNI (Intel servers since 2019, AMD since 2022). Asked for and never found by
    /// [`CpuPath::detect`], because its results are less exact.
    Avx512Vnni,
}

/// What [`CpuPath::Portable`] is called on this target.
const BASELINE: &str = match cfg!(target_arch = "aarch64") {
    true => "neon",
    false => "portable",
};

impl CpuPath {
    /// All of them, the fastest first.
    pub const ALL: [CpuPath; 4] = [
        CpuPath::Avx512Vnni,
        CpuPath::Avx512,
        CpuPath::Avx2,
        CpuPath::Portable,
    ];

    /// The fastest path in f32 that this processor can run.
    pub fn detect() -> CpuPath {
        static BEST: OnceLock<CpuPath> = OnceLock::new();
        *BEST.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c");
                let avx512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                if avx2 && avx512 {
                    return CpuPath::Avx512;
                }
                if avx2 {
                    return CpuPath::Avx2;
                }
            }
            CpuPath::Portable
        })
    }

    /// True when this processor can run the path.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx512Vnni => {
                CpuPath::detect() == CpuPath::Avx512 && is_x86_feature_detected!("avx512vnni")
            }
            other => other <= CpuPath::detect(),
        }
    }

    /// True when the path computes in fixed point on this processor.
    pub(crate) fn in_fixed_point(self) -> bool {
        self == CpuPath::Avx512Vnni && self.is_available()
    }

    /// Runs a kernel with this path's instructions.
    ///
    /// A path that the processor lacks is replaced by the best one it has, so that no illegal
    /// instruction can be reached from here.
    #[inline]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self.min(CpuPath::detect()) {
            // SAFETY: `detect` saw every feature that the function is compiled with.
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx512 => unsafe { run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx2 => unsafe { run_avx2(kernel) },
            // SAFETY: the portable path needs nothing beyond the build target.
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

/// A computation that [`CpuPath::dispatch`] compiles for every instruction set.
pub(crate) trait Kernel {
    /// What the computation returns.
    type Output;

    /// Runs with the vectors of `S`. Implementations are `#[inline(always)]`, so that the body
    /// is compiled with the instructions of the caller. Vector code does not stand in closures:
    /// those are compiled without the caller's instructions.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller has checked the features of this function.
    unsafe { kernel.run::<x86::Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller has checked the features of this function.
    unsafe { kernel.run::<x86::Avx2>() }
}

/// Vectors of `f32` and what the kernels do with them.
///
/// # Safety
/// Every method needs a processor with the instructions of the implementing type; the memory
/// methods read or write [`Simd::LANES`] elements at the pointer, which need not be aligned.
/// `max(a, b)` and `min(a, b)` return `b` when either is NaN, as the x86 instructions do.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Simd: Copy {
    /// Elements of one vector.
    const LANES: usize;
    /// Rows of a register tile (see `tile`): as many as the register file holds at two vectors
    /// a row.
    const ROWS: usize;
    /// One vector.
    type V: Copy;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(at: *const f32) -> Self::V;
    unsafe fn store(at: *mut f32, v: Self::V);
    /// a·b + c, rounded once where the instruction set has it.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2^n for integral n in −126 ..= 127.
    unsafe fn exp2i(n: Self::V) -> Self::V;
    /// x − ⌊x⌋, for |x| < 2²².
    unsafe fn fraction(x: Self::V) -> Self::V;
    /// p·2^⌊n⌋ for ⌊n⌋ in −126 ..= 127; the fraction of n is p's affair.
    unsafe fn scale2(p: Self::V, n: Self::V) -> Self::V;
    unsafe fn abs(a: Self::V) -> Self::V;
    /// |magnitude| with the sign of `sign`.
    unsafe fn copysign(magnitude: Self::V, sign: Self::V) -> Self::V;
    /// Lane by lane: `a < b ? yes : no`.
    unsafe fn select_lt(a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// Reads LANES half-precision numbers.
    unsafe fn load_f16(at: *const half::f16) -> Self::V;
    /// Reads LANES bfloat16 numbers.
    unsafe fn load_bf16(at: *const half::bf16) -> Self::V;
    /// Transposes LANES × LANES elements; rows start `from_stride` and `to_stride` apart.
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
    /// LANES, as the bound of a loop whose body is a tile's step.
    #[inline(always)]
    fn steps() -> usize {
        Self::LANES
    }
    /// Asks for a cache line ahead of its use, into the second level; the pointer need not be
    /// readable.
    fn prefetch(at: *const u8);
    /// The same into the first level.
    fn prefetch_near(at: *const u8);
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::Avx512;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    // SAFETY (all methods): the caller guarantees AVX-512 F, BW, DQ and VL; pointers are
    // readable or writable for LANES elements by the trait's contract.
    impl Simd for Avx512 {
        const LANES: usize = 16;
        const ROWS: usize = 14;
        type V = __m512;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(at) }
        }
        #[inline(always)]
        unsafe fn store(at: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(at, v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn round(a: __m512) -> __m512 {
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn exp2i(n: __m512) -> __m512 {
            unsafe {
                let bits = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(bits))
            }
        }
        #[inline(always)]
        unsafe fn fraction(x: __m512) -> __m512 {
            unsafe { _mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x) }
        }
        #[inline(always)]
        unsafe fn scale2(p: __m512, n: __m512) -> __m512 {
            unsafe { _mm512_scalef_ps(p, n) }
        }
        #[inline(always)]
        unsafe fn abs(a: __m512) -> __m512 {
            unsafe { _mm512_abs_ps(a) }
        }
        #[inline(always)]
        unsafe fn copysign(magnitude: __m512, sign: __m512) -> __m512 {
            unsafe {
                let mask = _mm512_set1_ps(-0.0);
                _mm512_or_ps(_mm512_andnot_ps(mask, magnitude), _mm512_and_ps(mask, sign))
            }
        }
        #[inline(always)]
        unsafe fn select_lt(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes) }
        }
        #[inline(always)]
        unsafe fn load_f16(at: *const half::f16) -> __m512 {
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
        }
        #[inline(always)]
        unsafe fn load_bf16(at: *const half::bf16) -> __m512 {
            unsafe {
                let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
            }
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
            unsafe {
                for column in 0..4 {
                    // Each 128-bit lane q of m[g] holds four elements of row 4q + g.
                    let mut m = [_mm512_setzero_ps(); 4];
                    for (g, m) in m.iter_mut().enumerate() {
                        let at = from.add(g * from_stride + 4 * column);
                        let v = _mm512_castps128_ps512(_mm_loadu_ps(at));
                        let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(at.add(4 * from_stride)));
                        let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(at.add(8 * from_stride)));
                        *m = _mm512_insertf32x4::<3>(v, _mm_loadu_ps(at.add(12 * from_stride)));
                    }
                    let low = _mm512_castps_pd(_mm512_unpacklo_ps(m[0], m[1]));
                    let high = _mm512_castps_pd(_mm512_unpackhi_ps(m[0], m[1]));
                    let low2 = _mm512_castps_pd(_mm512_unpacklo_ps(m[2], m[3]));
                    let high2 = _mm512_castps_pd(_mm512_unpackhi_ps(m[2], m[3]));
                    let rows = [
                        _mm512_unpacklo_pd(low, low2),
                        _mm512_unpackhi_pd(low, low2),
                        _mm512_unpacklo_pd(high, high2),
                        _mm512_unpackhi_pd(high, high2),
                    ];
                    for (i, row) in rows.into_iter().enumerate() {
                        Self::store(to.add((4 * column + i) * to_stride), _mm512_castpd_ps(row));
                    }
                }
            }
        }
        #[inline(always)]
        fn prefetch(at: *const u8) {
            // SAFETY: a hint that reads nothing; every x86-64 processor has it.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
        }
        #[inline(always)]
        fn prefetch_near(at: *const u8) {
            // SAFETY: as above.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    // SAFETY (all methods): the caller guarantees AVX2, FMA and F16C; pointers as above.
    impl Simd for Avx2 {
        const LANES: usize = 8;
        const ROWS: usize = 6;
        type V = __m256;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(at) }
        }
        #[inline(always)]
        unsafe fn store(at: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(at, v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn round(a: __m256) -> __m256 {
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn exp2i(n: __m256) -> __m256 {
            unsafe {
                let bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(bits))
            }
        }
        #[inline(always)]
        unsafe fn fraction(x: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(x, _mm256_floor_ps(x)) }
        }
        #[inline(always)]
        unsafe fn scale2(p: __m256, n: __m256) -> __m256 {
            unsafe { Self::mul(p, Self::exp2i(_mm256_floor_ps(n))) }
        }
        #[inline(always)]
        unsafe fn abs(a: __m256) -> __m256 {
            unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
        }
        #[inline(always)]
        unsafe fn copysign(magnitude: __m256, sign: __m256) -> __m256 {
            unsafe {
                let mask = _mm256_set1_ps(-0.0);
                _mm256_or_ps(_mm256_andnot_ps(mask, magnitude), _mm256_and_ps(mask, sign))
            }
        }
        #[inline(always)]
        unsafe fn select_lt(a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
            unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
        }
        #[inline(always)]
        unsafe fn load_f16(at: *const half::f16) -> __m256 {
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
        }
        #[inline(always)]
        unsafe fn load_bf16(at: *const half::bf16) -> __m256 {
            unsafe {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            }
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
            unsafe {
                for column in 0..2 {
                    // Each 128-bit lane q of m[g] holds four elements of row 4q + g.
                    let mut m = [_mm256_setzero_ps(); 4];
                    for (g, m) in m.iter_mut().enumerate() {
                        let at = from.add(g * from_stride + 4 * column);
                        let v = _mm256_castps128_ps256(_mm_loadu_ps(at));
                        *m = _mm256_insertf128_ps::<1>(v, _mm_loadu_ps(at.add(4 * from_stride)));
                    }
                    let low = _mm256_castps_pd(_mm256_unpacklo_ps(m[0], m[1]));
                    let high = _mm256_castps_pd(_mm256_unpackhi_ps(m[0], m[1]));
                    let low2 = _mm256_castps_pd(_mm256_unpacklo_ps(m[2], m[3]));
                    let high2 = _mm256_castps_pd(_mm256_unpackhi_ps(m[2], m[3]));
                    let rows = [
                        _mm256_unpacklo_pd(low, low2),
                        _mm256_unpackhi_pd(low, low2),
                        _mm256_unpacklo_pd(high, high2),
                        _mm256_unpackhi_pd(high, high2),
                    ];
                    for (i, row) in rows.into_iter().enumerate() {
                        Self::store(to.add((4 * column + i) * to_stride), _mm256_castpd_ps(row));
                    }
                }
            }
        }
        #[inline(always)]
        fn prefetch(at: *const u8) {
            // SAFETY: a hint that reads nothing; every x86-64 processor has it.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
        }
        #[inline(always)]
        fn prefetch_near(at: *const u8) {
            // SAFETY: as above.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
    }
}

#[cfg(not(target_arch = "aarch64"))]
mod portable {
    use super::Simd;

    /// Eight lanes in an array: the compiler maps them to the registers that the target has.
    #[derive(Clone, Copy)]
    pub(crate) struct Portable;

    type V = [f32; 8];

    #[inline(always)]
    fn map2(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
        std::array::from_fn(|i| f(a[i], b[i]))
    }

    /// Largest integer not above x, for |x| < 2²²; `f32::floor` may be a library call.
    #[inline(always)]
    fn floor(x: V) -> V {
        // SAFETY: no special instructions.
        let near = unsafe { Portable::round(x) };
        map2(near, x, |n, x| if n > x { n - 1.0 } else { n })
    }

    // SAFETY (all methods): no special instructions; pointers by the trait's contract.
    impl Simd for Portable {
        const LANES: usize = 8;
        const ROWS: usize = 6;
        type V = V;

        #[inline(always)]
        unsafe fn splat(x: f32) -> V {
            [x; 8]
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> V {
            unsafe { at.cast::<V>().read_unaligned() }
        }
        #[inline(always)]
        unsafe fn store(at: *mut f32, v: V) {
            unsafe { at.cast::<V>().write_unaligned(v) }
        }
        #[inline(always)]
        unsafe fn fma(a: V, b: V, c: V) -> V {
            // Without an FMA instruction `mul_add` is a library call; with two roundings whatever
            // the target has, the path gives the same bits everywhere.
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }
        #[inline(always)]
        unsafe fn add(a: V, b: V) -> V {
            map2(a, b, |x, y| x + y)
        }
        #[inline(always)]
        unsafe fn sub(a: V, b: V) -> V {
            map2(a, b, |x, y| x - y)
        }
        #[inline(always)]
        unsafe fn mul(a: V, b: V) -> V {
            map2(a, b, |x, y| x * y)
        }
        #[inline(always)]
        unsafe fn div(a: V, b: V) -> V {
            map2(a, b, |x, y| x / y)
        }
        #[inline(always)]
        unsafe fn max(a: V, b: V) -> V {
            map2(a, b, |x, y| if x > y { x } else { y })
        }
        #[inline(always)]
        unsafe fn min(a: V, b: V) -> V {
            map2(a, b, |x, y| if x < y { x } else { y })
        }
        #[inline(always)]
        unsafe fn round(a: V) -> V {
            // Adding and taking away 1.5·2²³ rounds to an integer for |a| < 2²²; larger values
            // do not reach here (arguments are clamped first), and NaN stays NaN.
            const MAGIC: f32 = 12_582_912.0;
            a.map(|x| (x + MAGIC) - MAGIC)
        }
        #[inline(always)]
        unsafe fn exp2i(n: V) -> V {
            n.map(|x| f32::from_bits((((x as i32).wrapping_add(127)) as u32) << 23))
        }
        #[inline(always)]
        unsafe fn fraction(x: V) -> V {
            unsafe { Self::sub(x, floor(x)) }
        }
        #[inline(always)]
        unsafe fn scale2(p: V, n: V) -> V {
            unsafe { Self::mul(p, Self::exp2i(floor(n))) }
        }
        #[inline(always)]
        unsafe fn abs(a: V) -> V {
            a.map(f32::abs)
        }
        #[inline(always)]
        unsafe fn copysign(magnitude: V, sign: V) -> V {
            map2(magnitude, sign, f32::copysign)
        }
        #[inline(always)]
        unsafe fn select_lt(a: V, b: V, yes: V, no: V) -> V {
            std::array::from_fn(|i| if a[i] < b[i] { yes[i] } else { no[i] })
        }
        #[inline(always)]
        unsafe fn load_f16(at: *const half::f16) -> V {
            let v = unsafe { at.cast::<[half::f16; 8]>().read_unaligned() };
            v.map(half::f16::to_f32)
        }
        #[inline(always)]
        unsafe fn load_bf16(at: *const half::bf16) -> V {
            let v = unsafe { at.cast::<[half::bf16; 8]>().read_unaligned() };
            v.map(half::bf16::to_f32)
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
            for i in 0..Self::LANES {
                for j in 0..Self::LANES {
                    unsafe { *to.add(j * to_stride + i) = *from.add(i * from_stride + j) };
                }
            }
        }
        #[inline(always)]
        fn prefetch(_at: *const u8) {}
        #[inline(always)]
        fn prefetch_near(_at: *const u8) {}
    }
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
