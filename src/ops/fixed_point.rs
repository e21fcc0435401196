//! Rounding to 16-bit integers, for products by AVX-512 VNNI.

use std::arch::x86_64::*;

/// The length (norm) of a block of integers before rounding. Rounding adds up to half the square
/// root of the number of features, which is at most 512 (two in each of `blocking::MAX_DEPTH`
/// steps): (46 000 + 12)² < 2³¹.
pub(super) const LENGTH: f32 = 46_000.0;

/// The largest integer.
pub(super) const LARGEST: f32 = 32_767.0;

/// A block whose largest value is below this becomes zero: its scale would not be finite.
pub(super) const SMALLEST: f32 = 1e-30;

/// Rounds two vectors to integers and stores them side by side, lane by lane.
///
/// # Safety
/// `to` is writable for a vector; the processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn pair(first: __m512, second: __m512, to: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        let second = _mm512_slli_epi32::<16>(_mm512_cvtps_epi32(second));
        // The low halves of the first.
        let both = _mm512_mask_blend_epi16(0xaaaa_aaaa, _mm512_cvtps_epi32(first), second);
        _mm512_storeu_si512(to.cast(), both);
    }
}
