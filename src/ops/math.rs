//! exp, erf and GELU on vectors.
//!
//! | function | range | maximum error (tested against f64) |
//! |---|---|---|
//! | [`exp`](Function::Exp) | all of f32, denormal results included | 2 ulp (4 ulp where the result is denormal or two roundings replace FMA) |
//! | [`erf`](Function::Erf) | all of f32 | 1.8e-7 absolute, 3 ulp |
//! | [`gelu`](Function::Gelu) | all of f32 | 2.5e-7 · max(1, abs x) absolute |
//!
//! NaN gives NaN everywhere; exp(−∞) = 0, exp(+∞) = +∞, erf(±∞) = ±1, gelu(−∞) = NaN as
//! −∞·0 is in the reference implementation, gelu(+∞) = +∞.
//!
//! The polynomials are minimax fits made for this file (Lawson-weighted least squares on
//! Chebyshev nodes).

use super::simd::{CpuPath, Kernel, Simd};

/// e^x, by x = n·ln 2 + r with |r| ≤ ln 2 / 2 and a polynomial of degree 6 in r.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        // Beyond these the result is 0 or ∞ all the same. The operand order keeps NaN.
        let x = S::min(S::splat(130.0), S::max(S::splat(-152.0), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts: n·(high part) is exact for |n| < 2^9.
        let r = S::fma(n, S::splat(-0.693_359_375), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.383_674_2e-3);
        p = S::fma(p, r, S::splat(8.374_899e-3));
        p = S::fma(p, r, S::splat(4.166_823_3e-2));
        p = S::fma(p, r, S::splat(1.666_642e-1));
        p = S::fma(p, r, S::splat(4.999_999e-1));
        p = S::fma(p, r, S::splat(1.0));
        p = S::fma(p, r, S::splat(1.0));
        // 2^n in two factors, so that overflow and denormal results come out by themselves.
        let half = S::round(S::mul(n, S::splat(0.5)));
        S::mul(S::mul(p, S::exp2i(half)), S::exp2i(S::sub(n, half)))
    }
}

/// e^x for x ≤ 0, results below the smallest normal number flushed to zero: the softmax's.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn exp_nonpositive<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let clamped = S::max(S::splat(-87.0), x);
        let n = S::round(S::mul(clamped, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-0.693_359_375), clamped);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.383_674_2e-3);
        p = S::fma(p, r, S::splat(8.374_899e-3));
        p = S::fma(p, r, S::splat(4.166_823_3e-2));
        p = S::fma(p, r, S::splat(1.666_642e-1));
        p = S::fma(p, r, S::splat(4.999_999e-1));
        p = S::fma(p, r, S::splat(1.0));
        p = S::fma(p, r, S::splat(1.0));
        let y = S::mul(p, S::exp2i(n));
        S::select_lt(x, S::splat(-87.0), S::splat(0.0), y)
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
        let t = S::mul(x, x);
        let mut p = S::splat(7.889_123e-5);
        p = S::fma(p, t, S::splat(-8.020_842e-4));
        p = S::fma(p, t, S::splat(5.189_535_7e-3));
        p = S::fma(p, t, S::splat(-2.685_444_4e-2));
        p = S::fma(p, t, S::splat(1.128_36e-1));
        p = S::fma(p, t, S::splat(-3.761_262_6e-1));
        p = S::fma(p, t, S::splat(1.128_379_1));
        let near = S::mul(p, x);

        // erf is 1 to f32 from 3.92 on; the operand order keeps NaN.
        let c = S::min(S::splat(4.0), a);
        let mut q = S::splat(2.043_384_3e-5);
        q = S::fma(q, c, S::splat(-4.266_014_4e-4));
        q = S::fma(q, c, S::splat(4.131_847e-3));
        q = S::fma(q, c, S::splat(-2.501_296e-2));
        q = S::fma(q, c, S::splat(1.081_101e-1));
        q = S::fma(q, c, S::splat(6.335_066_6e-1));
        q = S::fma(q, c, S::splat(1.129_433));
        q = S::fma(q, c, S::splat(-1.570_209_9e-4));
        let tail = exp_nonpositive::<S>(S::sub(S::splat(0.0), q));
        let far = S::copysign(S::sub(S::splat(1.0), tail), x);
        S::select_lt(a, S::splat(1.0), near, far)
    }
}

/// GELU with the exact erf: x·½(1 + erf(x/√2)), in the order of operations of fair-esm.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let e = erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
        S::mul(S::mul(x, S::splat(0.5)), S::add(S::splat(1.0), e))
    }
}

/// The elementwise functions of this module, for [`map`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// e to the power of x.
    Exp,
    /// The error function.
    Erf,
    /// x · ½ · (1 + erf(x/√2)).
    Gelu,
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
                        Function::Erf => erf::<S>(x),
                        Function::Gelu => gelu::<S>(x),
                    };
                    S::store(chunk.as_mut_ptr(), y);
                }
                part.copy_from_slice(&chunk[..part.len()]);
            }
        }
    }
    path.dispatch(Map(function, values));
}
