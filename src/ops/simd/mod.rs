//! One set of vector operations, four instruction sets.
//!
//! Every kernel of [`crate::ops`] is written once, against [`Simd`], and compiled for what the
//! target guarantees (NEON on aarch64, SSE2 on x86-64), and on x86-64 also for AVX-512 and for AVX2
//! with FMA. [`CpuPath`] selects one at run time. Kernels never reduce across lanes in an order
//! that depends on the shape of a batch or on the number of lanes, and every operation of [`Simd`]
//! gives the same bits on all paths (of a NaN, only that it is one).

mod cpu_path;
#[cfg(not(target_arch = "aarch64"))]
mod fma;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(not(target_arch = "aarch64"))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use cpu_path::CpuPath;

/// A computation that [`CpuPath::dispatch`] compiles for every instruction set.
pub(crate) trait Kernel {
    /// What the computation returns.
    type Output;
    /// Whether it multiplies integers: only then are there kernels with AVX-512 VNNI.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    const IN_FIXED_POINT: bool = false;

    /// Runs with the vectors of `S`. Implementations are `#[inline(always)]`, so that the body
    /// is compiled with the instructions of the caller. Vector code must not be in closures, which
    /// are compiled without the caller's instructions.
    ///
    /// # Safety
    /// The processor has the instructions of `S`. That must be the only condition: a kernel checks
    /// the sizes of what it was made of.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Vectors of `f32` and of integers, and what the kernels do with them.
///
/// In fixed point, two 16-bit integers are in the place of one `f32`.
///
/// # Safety
/// Every method needs a processor with the instructions of the implementing type; the memory
/// methods read or write [`Simd::LANES`] elements at the pointer, which need not be aligned.
/// `max(a, b)` and `min(a, b)` return `b` when either is NaN, as the x86 instructions do.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Simd: Copy {
    /// Elements of one vector.
    const LANES: usize;
    /// Rows of a register tile (see `tile`) that fit the registers, with two vectors a row.
    const ROWS: usize;
    /// Rows of a register tile in fixed point.
    const FIXED_ROWS: usize;
    /// One vector.
    type V: Copy;
    /// A pair of 16-bit integers in each lane.
    type Pairs: Copy;
    /// The same pair for all lanes.
    type Pair: Copy;
    /// A 32-bit integer in each lane.
    type Sums: Copy;
    /// Vectors of eight lanes, for sums over a row: their order must not depend on the path.
    type Eight: Simd;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(at: *const f32) -> Self::V;
    unsafe fn store(at: *mut f32, v: Self::V);
    /// a·b + c, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2^n for integral n in −126 ..= 127.
    unsafe fn exp2i(n: Self::V) -> Self::V;
    /// x − ⌊x⌋ rounded to nearest, for |x| < 2²².
    unsafe fn fraction(x: Self::V) -> Self::V;
    /// p·2^⌊n⌋ for ⌊n⌋ in −126 ..= 127; p accounts for the fraction of n.
    unsafe fn scale2(p: Self::V, n: Self::V) -> Self::V;
    unsafe fn abs(a: Self::V) -> Self::V;
    /// |magnitude| with the sign of `sign`.
    unsafe fn copysign(magnitude: Self::V, sign: Self::V) -> Self::V;
    /// Lane by lane: `a < b ? yes : no`.
    unsafe fn select_lt(a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// Reads LANES bfloat16 numbers.
    unsafe fn load_bf16(at: *const half::bf16) -> Self::V;
    /// The sum of the lanes: lane i and lane i + n are added for n = LANES / 2, LANES / 4, … 1.
    unsafe fn sum_lanes(v: Self::V) -> f32;
    /// The largest lane of a vector without NaN.
    unsafe fn max_lanes(v: Self::V) -> f32;
    /// Rounds the lanes of two vectors to the nearest integers, ties to even, and stores them as
    /// pairs. Beyond 16 bits, and for NaN, the integers are unspecified.
    unsafe fn store_pairs(at: *mut f32, first: Self::V, second: Self::V);
    /// Reads LANES pairs.
    unsafe fn load_pairs(at: *const f32) -> Self::Pairs;
    /// Reads one pair.
    unsafe fn splat_pair(at: *const f32) -> Self::Pair;
    unsafe fn no_sums() -> Self::Sums;
    /// Adds a.first · b.first + a.second · b.second, modulo 2³².
    unsafe fn add_products(sums: Self::Sums, a: Self::Pair, b: Self::Pairs) -> Self::Sums;
    /// The nearest f32, ties to even.
    unsafe fn sums_to_f32(sums: Self::Sums) -> Self::V;
    /// Transposes LANES × LANES elements; rows start `from_stride` and `to_stride` apart.
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
    /// LANES, as the bound of a loop over the steps of a tile.
    #[inline(always)]
    fn steps() -> usize {
        Self::LANES
    }
    /// Prefetches a cache line into the second level; the pointer need not be readable.
    fn prefetch(at: *const u8);
    /// Prefetches it into the first level.
    fn prefetch_near(at: *const u8);
}
