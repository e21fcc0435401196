//! AVX-512, and AVX2 with FMA.

use super::Simd;
use std::arch::x86_64::*;

/// With or without the instructions of VNNI, which give the same bits.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const VNNI: bool>;

// SAFETY (all methods): the caller guarantees AVX-512 F, BW, DQ and VL, and VNNI where it is used;
// pointers are readable or writable for LANES elements by the trait's contract.
impl<const VNNI: bool> Simd for Avx512<VNNI> {
    const LANES: usize = 16;
    const ROWS: usize = 14;
    // With two more, the compiler moves registers around in every step of attention.
    const FIXED_ROWS: usize = 12;
    type V = __m512;
    type Pairs = __m512i;
    type Pair = __m512i;
    type Sums = __m512i;
    type Eight = Avx2;

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
    unsafe fn sqrt(a: __m512) -> __m512 {
        unsafe { _mm512_sqrt_ps(a) }
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
    // VREDUCEPS rounds the difference down.
    #[inline(always)]
    unsafe fn fraction(x: __m512) -> __m512 {
        unsafe {
            let floor = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x);
            _mm512_sub_ps(x, floor)
        }
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
    unsafe fn load_bf16(at: *const half::bf16) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn sum_lanes(v: __m512) -> f32 {
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(v);
            Avx2::sum_lanes(_mm256_add_ps(_mm512_castps512_ps256(v), high))
        }
    }
    #[inline(always)]
    unsafe fn max_lanes(v: __m512) -> f32 {
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(v);
            Avx2::max_lanes(_mm256_max_ps(_mm512_castps512_ps256(v), high))
        }
    }
    #[inline(always)]
    unsafe fn store_pairs(at: *mut f32, first: __m512, second: __m512) {
        unsafe {
            let second = _mm512_slli_epi32::<16>(_mm512_cvtps_epi32(second));
            // The low halves of the first.
            let both = _mm512_mask_blend_epi16(0xaaaa_aaaa, _mm512_cvtps_epi32(first), second);
            _mm512_storeu_si512(at.cast(), both);
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(at: *const f32) -> __m512i {
        unsafe { _mm512_loadu_si512(at.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_pair(at: *const f32) -> __m512i {
        unsafe { _mm512_set1_epi32(at.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn no_sums() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn add_products(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe {
            match VNNI {
                true => _mm512_dpwssd_epi32(sums, a, b),
                false => _mm512_add_epi32(sums, _mm512_madd_epi16(a, b)),
            }
        }
    }
    #[inline(always)]
    unsafe fn sums_to_f32(sums: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(sums) }
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
    const FIXED_ROWS: usize = 6;
    type V = __m256;
    type Pairs = __m256i;
    type Pair = __m256i;
    type Sums = __m256i;
    type Eight = Avx2;

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
    unsafe fn sqrt(a: __m256) -> __m256 {
        unsafe { _mm256_sqrt_ps(a) }
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
    unsafe fn load_bf16(at: *const half::bf16) -> __m256 {
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn sum_lanes(v: __m256) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn max_lanes(v: __m256) -> f32 {
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn store_pairs(at: *mut f32, first: __m256, second: __m256) {
        unsafe {
            let second = _mm256_slli_epi32::<16>(_mm256_cvtps_epi32(second));
            // The low halves of the first.
            let both = _mm256_blend_epi16::<0xaa>(_mm256_cvtps_epi32(first), second);
            _mm256_storeu_si256(at.cast(), both);
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(at: *const f32) -> __m256i {
        unsafe { _mm256_loadu_si256(at.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_pair(at: *const f32) -> __m256i {
        unsafe { _mm256_set1_epi32(at.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn no_sums() -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn add_products(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)) }
    }
    #[inline(always)]
    unsafe fn sums_to_f32(sums: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(sums) }
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
