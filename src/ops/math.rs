//! exp, exp2, erf, GELU and SiLU on vectors.
//!
//! | function | range | maximum error (tested against f64) |
//! |---|---|---|
//! | [`exp`](Function::Exp) | all of f32, denormal results included | 2 ulp |
//! | [`exp2`](Function::Exp2) | −64 ≤ x ≤ 0; 2^−64 below; not for x > 0 | 2 ulp, exact at 0 |
//! | [`erf`](Function::Erf) | all of f32 | 1.8e-7 absolute, 3 ulp |
//! | [`gelu`](Function::Gelu) | all of f32 | 1.2e-7 · max(1, abs x) absolute |
//! | [`silu`](Function::Silu) | all of f32 | 4 ulp, or 3e-37 absolute: it is −0 below −88.7 |
//!
//! NaN gives NaN everywhere; exp(−∞) = 0, exp2(−∞) = 2^−64, exp(+∞) = +∞, erf(±∞) = ±1,
//! gelu(+∞) = silu(+∞) = +∞, and gelu(x) is 0 within 3e-10 from −6.5 down to −∞. silu(−∞) is NaN, as in
//! torch.
//!
//! The polynomials are minimax fits made for this file (Lawson-weighted least squares on
//! Chebyshev nodes).

use super::simd::{CpuPath, Kernel, Simd};

/// Coefficients of e^r for |r| ≤ ln 2 / 2, highest power first; relative error 2e-9.
const EXP: [f32; 7] = [
    1.383_674_2e-3,
    8.374_899e-3,
    4.166_823_3e-2,
    1.666_642e-1,
    4.999_999e-1,
    1.0,
    1.0,
];

/// Coefficients of 2^r for 0 ≤ r ≤ 1, highest power first, exact at 0; relative error 2e-9.
const EXP2: [f32; 7] = [
    2.161_291_5e-4,
    1.246_784_7e-3,
    9.675_452e-3,
    5.548_528_2e-2,
    2.402_293e-1,
    6.931_470_6e-1,
    1.0,
];

/// Coefficients of erf(x)/x in x² for |x| ≤ 1, highest power first; error 1.2e-9.
const ERF_NEAR: [f32; 7] = [
    7.889_123e-5,
    -8.020_842e-4,
    5.189_535_7e-3,
    -2.685_444_4e-2,
    1.128_36e-1,
    -3.761_262_6e-1,
    std::f32::consts::FRAC_2_SQRT_PI,
];

/// Coefficients of −ln(1 − erf(x)) for 1 ≤ x ≤ 4, highest power first; error of erf 8e-11.
const ERF_FAR: [f32; 8] = [
    2.043_384_3e-5,
    -4.266_014_4e-4,
    4.131_847e-3,
    -2.501_296e-2,
    1.081_101e-1,
    6.335_066_6e-1,
    1.129_433,
    -1.570_209_9e-4,
];

/// Coefficients of log₂(½ erfc(a/√2)) for 0 ≤ a ≤ 6.5, highest power first; error of
/// a·½ erfc(a/√2) 2e-9.
const GELU_TAIL: [f32; 10] = [
    4.053_05e-7,
    -8.002_487e-6,
    6.575_612e-5,
    -2.554_938_6e-4,
    -3.668_634e-5,
    6.984_557_5e-3,
    -5.246_532e-2,
    -4.592_128_4e-1,
    -1.151_105_2,
    -1.0,
];

/// A polynomial, highest power first.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn polynomial<S: Simd, const N: usize>(x: S::V, coefficients: &[f32; N]) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let mut sum = S::splat(coefficients[0]);
        for c in &coefficients[1..] {
            sum = S::fma(sum, x, S::splat(*c));
        }
        sum
    }
}

/// x = n·ln 2 + r with |r| ≤ ln 2 / 2: returns e^r and n.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn exp_parts<S: Simd>(x: S::V) -> (S::V, S::V) {
    // SAFETY: the caller's.
    unsafe {
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts: n·(high part) is exact for |n| < 2^9.
        let r = S::fma(n, S::splat(-LN2_HIGH), x);
        let r = S::fma(n, S::splat(LN2_HIGH_EXCESS), r);
        (polynomial::<S, 7>(r, &EXP), n)
    }
}

/// ln 2 rounded up to nine bits.
const LN2_HIGH: f32 = 355.0 / 512.0;
/// [`LN2_HIGH`] − ln 2.
const LN2_HIGH_EXCESS: f32 = 2.121_944_4e-4;

/// e^x, over the whole range.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        // Beyond these limits the result is 0 or ∞ anyway. The operand order keeps NaN.
        let x = S::min(S::splat(130.0), S::max(S::splat(-152.0), x));
        let (p, n) = exp_parts::<S>(x);
        // 2^n in two factors, so that overflow and denormal results are right without special
        // cases.
        let half = S::round(S::mul(n, S::splat(0.5)));
        S::mul(S::mul(p, S::exp2i(half)), S::exp2i(S::sub(n, half)))
    }
}

/// e^x for x ≤ 0, and 0 below −87.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn exp_nonpositive<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let least = S::splat(-87.0);
        let (p, n) = exp_parts::<S>(S::max(least, x));
        S::select_lt(x, least, S::splat(0.0), S::mul(p, S::exp2i(n)))
    }
}

/// 2^x for x ≤ 0, and 2^−64 below −64: for softmax. Next to a largest term of 1 this is negligible,
/// and its products are never denormal numbers, which are slow.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn exp2_nonpositive<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        // The operand order keeps NaN.
        let x = S::max(S::splat(-64.0), x);
        S::scale2(polynomial::<S, 7>(S::fraction(x), &EXP2), x)
    }
}

/// erf(x): x·P(x²) up to |x| = 1, and 1 − exp(−Q(|x|)) beyond.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn erf<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let a = S::abs(x);
        let near = S::mul(polynomial::<S, 7>(S::mul(x, x), &ERF_NEAR), x);
        // erf is 1 to f32 from 3.92 on; the operand order keeps NaN.
        let q = polynomial::<S, 8>(S::min(S::splat(4.0), a), &ERF_FAR);
        let tail = exp_nonpositive::<S>(S::sub(S::splat(0.0), q));
        let far = S::copysign(S::sub(S::splat(1.0), tail), x);
        S::select_lt(a, S::splat(1.0), near, far)
    }
}

/// GELU with the exact erf, x·½(1 + erf(x/√2)), as max(x, 0) − |x|·½ erfc(|x|/√2): one
/// polynomial and one power of two are enough for both tails.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        // Beyond 6.5 the tail is below 3e-10. The operand order keeps NaN.
        let a = S::min(S::splat(6.5), S::abs(x));
        let q = polynomial::<S, 10>(a, &GELU_TAIL);
        let p = S::scale2(polynomial::<S, 7>(S::fraction(q), &EXP2), q);
        S::sub(S::max(S::splat(0.0), x), S::mul(a, p))
    }
}

/// SiLU, x / (1 + e^−x).
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let e = exp::<S>(S::sub(S::splat(0.0), x));
        S::div(x, S::add(S::splat(1.0), e))
    }
}

/// The elementwise functions of this module, for [`map`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// e to the power of x.
    Exp,
    /// 2 to the power of x for x ≤ 0, and 2^−64 below −64.
    Exp2,
    /// The error function.
    Erf,
    /// x · ½ · (1 + erf(x/√2)).
    Gelu,
    /// x / (1 + e^−x).
    Silu,
}

/// Replaces every element by the function's value, with the instructions of `path`.
pub fn map(path: CpuPath, function: Function, values: &mut [f32]) {
    struct Map<'a>(Function, &'a mut [f32]);
    impl Kernel for Map<'_> {
        type Output = ();
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            let Map(function, values) = self;
            let mut chunk = [0.0f32; 16];
            for part in values.chunks_mut(S::LANES) {
                chunk[..part.len()].copy_from_slice(part);
                // SAFETY: the chunk holds 16 ≥ LANES elements; the instructions are the caller's.
                unsafe {
                    let x = S::load(chunk.as_ptr());
                    let y = match function {
                        Function::Exp => exp::<S>(x),
                        Function::Exp2 => exp2_nonpositive::<S>(x),
                        Function::Erf => erf::<S>(x),
                        Function::Gelu => gelu::<S>(x),
                        Function::Silu => silu::<S>(x),
                    };
                    S::store(chunk.as_mut_ptr(), y);
                }
                part.copy_from_slice(&chunk[..part.len()]);
            }
        }
    }
    path.dispatch(Map(function, values));
}
