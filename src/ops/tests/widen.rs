//! Half precision to f32.

use super::paths;
use crate::ops::simd::{Kernel, Simd};
use half::{bf16, f16};

/// Widens halves and bfloat16s.
struct Widen<'a> {
    f16: &'a [f16],
    bf16: &'a [bf16],
    wide: [&'a mut [f32]; 2],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let len = self.f16.len();
        assert!(len.is_multiple_of(S::LANES) && self.bf16.len() == len);
        assert!(self.wide.iter().all(|wide| wide.len() == len));
        for i in (0..len).step_by(S::LANES) {
            // SAFETY: all four have the same length, a multiple of the lanes.
            unsafe {
                let v = S::load_f16(self.f16.as_ptr().add(i));
                S::store(self.wide[0].as_mut_ptr().add(i), v);
                let v = S::load_bf16(self.bf16.as_ptr().add(i));
                S::store(self.wide[1].as_mut_ptr().add(i), v);
            }
        }
    }
}

#[test]
fn every_half_precision_number_is_widened_exactly() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let bfloats: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    for path in paths() {
        let (mut a, mut b) = (vec![0.0f32; 65_536], vec![0.0f32; 65_536]);
        path.dispatch(Widen {
            f16: &halves,
            bf16: &bfloats,
            wide: [&mut a, &mut b],
        });
        for (half, wide) in halves.iter().zip(&a) {
            let same = wide.to_bits() == half.to_f32().to_bits();
            assert!(same || (half.is_nan() && wide.is_nan()), "{path}: {half}");
        }
        for (bfloat, wide) in bfloats.iter().zip(&b) {
            let same = wide.to_bits() == bfloat.to_f32().to_bits();
            assert!(
                same || (bfloat.is_nan() && wide.is_nan()),
                "{path}: {bfloat}"
            );
        }
        // The least half, one and a half, and the largest.
        assert_eq!(a[0x0001], 2f32.powi(-24));
        assert_eq!((a[0x3e00], a[0x7bff]), (1.5, 65504.0));
        assert_eq!((b[0x0001], b[0x3fc0]), (2f32.powi(-133), 1.5));
    }
}
