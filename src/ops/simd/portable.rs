//! Only what the build target guarantees.

use super::Simd;
use super::fma::fma;
use std::array::from_fn;

/// Eight lanes in an array: the compiler maps them to the registers that the target has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type V = [f32; 8];

#[inline(always)]
fn map2(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    from_fn(|i| f(a[i], b[i]))
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
    const FIXED_ROWS: usize = 6;
    type V = V;
    type Pairs = [[i16; 2]; 8];
    type Pair = [i16; 2];
    type Sums = [i32; 8];
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
    unsafe fn sqrt(a: V) -> V {
        a.map(f32::sqrt)
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
        from_fn(|i| if a[i] < b[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const half::bf16) -> V {
        let v = unsafe { at.cast::<[half::bf16; 8]>().read_unaligned() };
        v.map(half::bf16::to_f32)
    }
    #[inline(always)]
    unsafe fn sum_lanes(v: V) -> f32 {
        let four: [f32; 4] = from_fn(|i| v[i] + v[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
    #[inline(always)]
    unsafe fn max_lanes(v: V) -> f32 {
        v.into_iter().fold(v[0], f32::max)
    }
    #[inline(always)]
    unsafe fn store_pairs(at: *mut f32, first: V, second: V) {
        unsafe {
            let (first, second) = (Self::round(first), Self::round(second));
            let pairs: Self::Pairs = from_fn(|i| [first[i], second[i]].map(|x| x as i32 as i16));
            at.cast::<Self::Pairs>().write_unaligned(pairs);
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(at: *const f32) -> Self::Pairs {
        unsafe { at.cast::<Self::Pairs>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat_pair(at: *const f32) -> Self::Pair {
        unsafe { at.cast::<Self::Pair>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn no_sums() -> Self::Sums {
        [0; 8]
    }
    #[inline(always)]
    unsafe fn add_products(sums: Self::Sums, a: Self::Pair, b: Self::Pairs) -> Self::Sums {
        let product = |a: i16, b: i16| i32::from(a) * i32::from(b);
        from_fn(|i| {
            let two = product(a[0], b[i][0]).wrapping_add(product(a[1], b[i][1]));
            sums[i].wrapping_add(two)
        })
    }
    #[inline(always)]
    unsafe fn sums_to_f32(sums: Self::Sums) -> V {
        sums.map(|sum| sum as f32)
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
