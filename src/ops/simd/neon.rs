//! NEON, which every aarch64 processor has.

use super::Simd;
use std::arch::aarch64::*;

/// Eight lanes in two registers: the sums of a tile fill 24 of the 32, its columns four.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

type V = [float32x4_t; 2];

// SAFETY (all methods): NEON belongs to the build target; pointers are readable or writable for
// LANES elements by the trait's contract.
impl Simd for Neon {
    const LANES: usize = 8;
    const ROWS: usize = 6;
    const FIXED_ROWS: usize = 6;
    type V = V;
    /// The first integers of all pairs, and the second ones.
    type Pairs = int16x8x2_t;
    /// Two integers, and two that are not used.
    type Pair = int16x4_t;
    type Sums = [int32x4_t; 2];
    type Eight = Neon;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        unsafe { [vdupq_n_f32(x); 2] }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> V {
        unsafe { [vld1q_f32(at), vld1q_f32(at.add(4))] }
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, v: V) {
        unsafe {
            vst1q_f32(at, v[0]);
            vst1q_f32(at.add(4), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        unsafe { [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        unsafe { [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        unsafe { [vsubq_f32(a[0], b[0]), vsubq_f32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        unsafe { [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        unsafe { [vdivq_f32(a[0], b[0]), vdivq_f32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        unsafe { [vsqrtq_f32(a[0]), vsqrtq_f32(a[1])] }
    }
    // FMAX and FMIN return NaN where x86 returns b.
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        unsafe { Self::select_lt(b, a, a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        unsafe { Self::select_lt(a, b, a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        unsafe { [vrndnq_f32(a[0]), vrndnq_f32(a[1])] }
    }
    #[inline(always)]
    unsafe fn exp2i(n: V) -> V {
        unsafe { [exp2i(n[0]), exp2i(n[1])] }
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
        unsafe { [vabsq_f32(a[0]), vabsq_f32(a[1])] }
    }
    #[inline(always)]
    unsafe fn copysign(magnitude: V, sign: V) -> V {
        unsafe {
            let mask = vdupq_n_u32(1 << 31);
            [
                vbslq_f32(mask, sign[0], magnitude[0]),
                vbslq_f32(mask, sign[1], magnitude[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn select_lt(a: V, b: V, yes: V, no: V) -> V {
        unsafe {
            [
                vbslq_f32(vcltq_f32(a[0], b[0]), yes[0], no[0]),
                vbslq_f32(vcltq_f32(a[1], b[1]), yes[1], no[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const half::bf16) -> V {
        unsafe {
            let v = vld1q_u16(at.cast());
            [
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(v))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(v)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn sum_lanes(v: V) -> f32 {
        unsafe {
            let four = vaddq_f32(v[0], v[1]);
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
    #[inline(always)]
    unsafe fn max_lanes(v: V) -> f32 {
        unsafe { vmaxvq_f32(vmaxq_f32(v[0], v[1])) }
    }
    #[inline(always)]
    unsafe fn store_pairs(at: *mut f32, first: V, second: V) {
        unsafe {
            let low = |v: V| {
                let low = vmovn_s32(vcvtnq_s32_f32(v[0]));
                vmovn_high_s32(low, vcvtnq_s32_f32(v[1]))
            };
            vst2q_s16(at.cast(), int16x8x2_t(low(first), low(second)));
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(at: *const f32) -> int16x8x2_t {
        unsafe { vld2q_s16(at.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_pair(at: *const f32) -> int16x4_t {
        unsafe { vreinterpret_s16_s32(vld1_dup_s32(at.cast())) }
    }
    #[inline(always)]
    unsafe fn no_sums() -> [int32x4_t; 2] {
        unsafe { [vdupq_n_s32(0); 2] }
    }
    #[inline(always)]
    unsafe fn add_products(sums: [int32x4_t; 2], a: int16x4_t, b: int16x8x2_t) -> [int32x4_t; 2] {
        unsafe {
            let low = vmlal_lane_s16::<0>(sums[0], vget_low_s16(b.0), a);
            let high = vmlal_high_lane_s16::<0>(sums[1], b.0, a);
            [
                vmlal_lane_s16::<1>(low, vget_low_s16(b.1), a),
                vmlal_high_lane_s16::<1>(high, b.1, a),
            ]
        }
    }
    #[inline(always)]
    unsafe fn sums_to_f32(sums: [int32x4_t; 2]) -> V {
        unsafe { [vcvtq_f32_s32(sums[0]), vcvtq_f32_s32(sums[1])] }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for i in (0..Self::LANES).step_by(4) {
            for j in (0..Self::LANES).step_by(4) {
                unsafe {
                    let from = from.add(i * from_stride + j);
                    transpose4(from, from_stride, to.add(j * to_stride + i), to_stride);
                }
            }
        }
    }
    // Hidden from the compiler, which would unroll the loop and run out of registers for the sums.
    #[inline(always)]
    fn steps() -> usize {
        std::hint::black_box(Self::LANES)
    }
    // There is no stable intrinsic for prefetching.
    #[inline(always)]
    fn prefetch(_at: *const u8) {}
    #[inline(always)]
    fn prefetch_near(_at: *const u8) {}
}

#[inline(always)]
unsafe fn floor(x: V) -> V {
    // SAFETY: NEON belongs to the build target.
    unsafe { [vrndmq_f32(x[0]), vrndmq_f32(x[1])] }
}

#[inline(always)]
unsafe fn exp2i(n: float32x4_t) -> float32x4_t {
    // SAFETY: as above.
    unsafe {
        let bits = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
        vreinterpretq_f32_s32(vshlq_n_s32::<23>(bits))
    }
}

/// Transposes 4 × 4 elements.
///
/// # Safety
/// Four elements are readable in four rows `from_stride` apart, and writable `to_stride` apart.
#[inline(always)]
unsafe fn transpose4(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    // SAFETY: the caller's; NEON belongs to the build target.
    unsafe {
        let mut rows = [vdupq_n_f32(0.0); 4];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = vld1q_f32(from.add(i * from_stride));
        }
        // Elements 0 and 2 of two rows, and elements 1 and 3.
        let even = vreinterpretq_f64_f32(vtrn1q_f32(rows[0], rows[1]));
        let odd = vreinterpretq_f64_f32(vtrn2q_f32(rows[0], rows[1]));
        let even2 = vreinterpretq_f64_f32(vtrn1q_f32(rows[2], rows[3]));
        let odd2 = vreinterpretq_f64_f32(vtrn2q_f32(rows[2], rows[3]));
        let columns = [
            vtrn1q_f64(even, even2),
            vtrn1q_f64(odd, odd2),
            vtrn2q_f64(even, even2),
            vtrn2q_f64(odd, odd2),
        ];
        for (j, column) in columns.into_iter().enumerate() {
            vst1q_f32(to.add(j * to_stride), vreinterpretq_f32_f64(column));
        }
    }
}
