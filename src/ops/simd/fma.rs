//! a·b + c with one rounding, without an instruction for it.

use std::array::from_fn;

/// a·b + c lane by lane, rounded once.
///
/// The product of two f32 is exact in f64. The sum is rounded twice, to f64 and to f32, which gives
/// another result only if the first rounding ends halfway between two f32: those lanes, and results
/// below the normal range, are computed with care.
#[inline(always)]
pub(super) fn fma<const N: usize>(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
    if cfg!(target_feature = "fma") {
        return from_fn(|i| a[i].mul_add(b[i], c[i]));
    }
    /// The bits of an f64 that an f32 lacks, and the first of them.
    const DROPPED: u32 = (1 << 29) - 1;
    const HALF: u32 = 1 << 28;
    let sums: [f64; N] = from_fn(|i| f64::from(a[i]) * f64::from(b[i]) + f64::from(c[i]));
    let mut doubtful = false;
    for sum in sums {
        let halfway = sum.to_bits() as u32 & DROPPED == HALF;
        let small = (sum.abs() < f64::from(f32::MIN_POSITIVE)) & (sum != 0.0);
        doubtful |= halfway | small;
    }
    match doubtful {
        true => careful(&a, &b, &c),
        false => sums.map(|sum| sum as f32),
    }
}

#[cold]
#[inline(never)]
fn careful<const N: usize>(a: &[f32; N], b: &[f32; N], c: &[f32; N]) -> [f32; N] {
    from_fn(|i| sum_to_odd(f64::from(a[i]) * f64::from(b[i]), f64::from(c[i])) as f32)
}

/// p + c, of the two f64 around it the one whose last bit is set, unless it is exact. Rounding it
/// to a format with at least two bits less gives the same result as rounding the exact sum
/// (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using
/// rounding to odd", 2008). Neither overflow nor underflow is possible with a product of two f32.
fn sum_to_odd(p: f64, c: f64) -> f64 {
    let sum = p + c;
    // The exact error of the sum (Knuth's TwoSum); NaN if the sum is not finite.
    let of_c = sum - p;
    let error = (p - (sum - of_c)) + (c - of_c);
    let bits = sum.to_bits();
    f64::from_bits(match error.abs() > 0.0 && bits.is_multiple_of(2) {
        true if error.is_sign_negative() == sum.is_sign_negative() => bits + 1,
        true => bits - 1,
        false => bits,
    })
}

#[cfg(test)]
mod tests {
    use super::{fma, sum_to_odd};

    /// What the processor's instruction gives, if it has one.
    #[cfg(target_arch = "x86_64")]
    fn instruction(a: f32, b: f32, c: f32) -> Option<f32> {
        #[target_feature(enable = "fma")]
        fn fused(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
        // SAFETY: the processor has the instruction.
        is_x86_feature_detected!("fma").then(|| unsafe { fused(a, b, c) })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn instruction(_: f32, _: f32, _: f32) -> Option<f32> {
        None
    }

    fn check(a: f32, b: f32, c: f32) {
        let want = libm::fmaf(a, b, c);
        // In one lane of eight, beside lanes that need no care, and without the check for it.
        let lanes = |x: f32| std::array::from_fn(|i| if i == 5 { x } else { 1.0 });
        let found = fma::<8>(lanes(a), lanes(b), lanes(c));
        let odd = sum_to_odd(f64::from(a) * f64::from(b), f64::from(c)) as f32;
        for found in [Some(found[5]), Some(odd), instruction(a, b, c)] {
            let Some(found) = found else { continue };
            assert!(
                found.to_bits() == want.to_bits() || (found.is_nan() && want.is_nan()),
                "{a:e} · {b:e} + {c:e} is {want:e}, not {found:e}"
            );
        }
        assert_eq!(found[0], 2.0);
    }

    /// Numbers of all bit patterns, and a sequence that repeats.
    fn random(count: usize) -> impl Iterator<Item = u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        (0..count).map(move |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        })
    }

    #[test]
    fn every_combination_of_special_values_is_rounded_once() {
        let mut values = vec![0.0, f32::INFINITY, f32::NAN];
        for exponent in [
            1u32, 2, 23, 24, 63, 103, 115, 126, 127, 128, 139, 151, 190, 230, 254,
        ] {
            for fraction in [0, 1, 2, 0x40_0000, 0x40_0001, 0x7f_fffe, 0x7f_ffff] {
                values.push(f32::from_bits(exponent << 23 | fraction));
            }
        }
        // Below the normal range.
        values.extend([1, 2, 3, 0x40_0000, 0x7f_ffff].map(f32::from_bits));
        let signed: Vec<f32> = values.iter().flat_map(|x| [*x, -*x]).collect();
        for a in &signed {
            for b in &values {
                for c in &signed {
                    check(*a, *b, *c);
                }
            }
        }
    }

    #[test]
    fn random_bit_patterns_are_rounded_once() {
        for bits in random(400_000) {
            let (a, b) = (bits as u32, (bits >> 32) as u32);
            let [a, b] = [a, b].map(f32::from_bits);
            let c = f32::from_bits((bits >> 17) as u32 ^ 0x5bd1_e995);
            check(a, b, c);
            // As large as the product, and as its last bits.
            check(a, b, -(a * b));
            check(a, b, a * b * f32::EPSILON);
        }
    }

    /// Sums just beside the middle of two f32, where f64 cannot tell: c is odd, and the product is
    /// half of its last bit and a little more or less.
    #[test]
    fn sums_beside_the_middle_of_two_numbers_are_rounded_once() {
        let mut twice = 0;
        for bits in random(400_000) {
            let scale = f32::from_bits(((bits >> 40) as u32 % 200 + 30) << 23);
            let c = (1.0 + (bits as u32 & 0x7f_ffff) as f32 * f32::EPSILON) * scale;
            // (1 + x)(1 − x) = 1 − x², with x² far below the last bit of f64.
            let x = (((bits >> 23) & 0xf) + 1) as f32 * f32::EPSILON;
            let half = f32::EPSILON / 2.0 * scale;
            let a = if bits >> 60 & 1 == 0 {
                1.0 + x
            } else {
                1.0 + 2.0 * x
            };
            for b in [(1.0 - x) * half, -(1.0 - x) * half, half, (1.0 + x) * half] {
                check(a, b, c);
                check(-a, b, c);
                let rounded_twice = (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
                twice += usize::from(rounded_twice != libm::fmaf(a, b, c));
            }
        }
        // The cases that need care are among them.
        assert!(twice > 100_000, "{twice}");
    }
}
