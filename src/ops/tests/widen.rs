//! bfloat16 to f32.

use super::paths;
use crate::ops::simd::{Kernel, Simd};
use half::bf16;

/// Widens bfloat16s.
struct Widen<'a> {
    bf16: &'a [bf16],
    wide: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let len = self.bf16.len();
        assert!(len.is_multiple_of(S::LANES) && self.wide.len() == len);
        for i in (0..len).step_by(S::LANES) {
            // SAFETY: both have the same length, a multiple of the lanes.
            unsafe {
                let v = S::load_bf16(self.bf16.as_ptr().add(i));
                S::store(self.wide.as_mut_ptr().add(i), v);
            }
        }
    }
}

#[test]
fn every_bfloat16_is_widened_exactly() {
    let bfloats: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    for path in paths() {
        let mut wide = vec![0.0f32; 65_536];
        path.dispatch(Widen {
            bf16: &bfloats,
            wide: &mut wide,
        });
        for (bfloat, wide) in bfloats.iter().zip(&wide) {
            let same = wide.to_bits() == bfloat.to_f32().to_bits();
            assert!(
                same || (bfloat.is_nan() && wide.is_nan()),
                "{path}: {bfloat}"
            );
        }
        // The least, and one and a half.
        assert_eq!((wide[0x0001], wide[0x3fc0]), (2f32.powi(-133), 1.5));
    }
}
