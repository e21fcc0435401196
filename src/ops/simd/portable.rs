//! Only what the build target guarantees.

use super::Simd;
use super::fma::fma;

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
    type Eight = Portable;

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
        fma(a, b, c)
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
        // Adding and subtracting 1.5·2²³ rounds to an integer for |a| < 2²². Arguments are clamped
        // to that before, and NaN stays NaN.
        const MAGIC: f32 = 12_582_912.0;
        a.map(|x| ((x + MAGIC) - MAGIC).copysign(x))
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
    unsafe fn sum_lanes(v: V) -> f32 {
        let four: [f32; 4] = std::array::from_fn(|i| v[i] + v[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
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
