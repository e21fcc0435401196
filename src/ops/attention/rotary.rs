//! Rotary position embedding in the rotate-half form: `x·cos + cat(−x₂, x₁)·sin`.

use crate::ops::simd::Simd;

/// Extra positions at the end, so that a vector may start at any position.
const PADDING: usize = 32;

/// Cosine and sine of an angle `position · frequency`.
///
/// The angle is the f32 product that the reference implementations compute; its cosine and sine
/// are computed in f64 and rounded. The `libm` crate gives the same bits on every system, which
/// the C library does not.
pub(crate) fn cos_sin(position: usize, frequency: f32) -> (f32, f32) {
    let angle = f64::from(position as f32 * frequency);
    (libm::cos(angle) as f32, libm::sin(angle) as f32)
}

/// The factor of attention scores, 1/√head_dim: the square root and the quotient in f64.
pub(crate) fn score_scale(head_dim: usize) -> f32 {
    (1.0 / (head_dim as f64).sqrt()) as f32
}

/// Cosines and sines of `position · inv_freq`. Position 0 is `<cls>`.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    half: usize,
    positions: usize,
    /// Positions with their padding.
    stride: usize,
    /// `[head_dim / 2, stride]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RotaryTable {
    /// A table for positions 0 .. `positions`.
    pub fn new(inv_freq: &[f32], positions: usize) -> RotaryTable {
        let half = inv_freq.len();
        let stride = positions + PADDING;
        let (mut cos, mut sin) = (
            Vec::with_capacity(stride * half),
            Vec::with_capacity(stride * half),
        );
        for frequency in inv_freq {
            for position in 0..stride {
                let (c, s) = cos_sin(position, *frequency);
                cos.push(c);
                sin.push(s);
            }
        }
        RotaryTable {
            half,
            positions,
            stride,
            cos,
            sin,
        }
    }

    /// Floats of a table for heads of `head_dim` features.
    pub fn floats(head_dim: usize, positions: usize) -> usize {
        (positions + PADDING) * head_dim
    }

    /// Number of positions in the table.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// head_dim of the vectors that the table rotates.
    pub fn head_dim(&self) -> usize {
        2 * self.half
    }

    /// Scales and rotates a head's tokens `[head_dim, tokens]` in place, in whole vectors. Token 0
    /// is at `position`.
    ///
    /// # Safety
    /// `x` holds `head_dim` rows `stride` apart of `tokens` elements, padded to whole vectors;
    /// `position + tokens` is within the table; the processor has the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn rotate<S: Simd>(
        &self,
        x: *mut f32,
        stride: usize,
        tokens: usize,
        position: usize,
        scale: f32,
    ) {
        debug_assert!(position + tokens <= self.positions);
        // SAFETY: the caller's; the table's padding covers the last vector.
        unsafe {
            let scale = S::splat(scale);
            for f in 0..self.half {
                let cos = self.cos.as_ptr().add(f * self.stride + position);
                let sin = self.sin.as_ptr().add(f * self.stride + position);
                let (x1, x2) = (x.add(f * stride), x.add((f + self.half) * stride));
                for t in (0..tokens).step_by(S::LANES) {
                    let a = S::mul(S::load(x1.add(t)), scale);
                    let b = S::mul(S::load(x2.add(t)), scale);
                    let (c, s) = (S::load(cos.add(t)), S::load(sin.add(t)));
                    S::store(x1.add(t), S::sub(S::mul(a, c), S::mul(b, s)));
                    S::store(x2.add(t), S::fma(a, s, S::mul(b, c)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{cos_sin, score_scale};

    fn crc(values: impl Iterator<Item = f32>) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        values.for_each(|value| crc.update(&value.to_le_bytes()));
        crc.finalize()
    }

    /// The checksums are those of glibc 2.36, whose `cos` and `sin` version 0.1.0 used.
    #[test]
    fn rotary_angles_have_the_bits_of_version_0_1_0() {
        let expected = [
            (16, 0xde2d_9c2e),
            (24, 0x76d0_710b),
            (32, 0x9695_b1db),
            (64, 0x7492_8daa),
            (128, 0x2728_3f01),
        ];
        for (head_dim, expected) in expected {
            let frequency = |i: usize| {
                let exponent = (2 * i) as f32 / head_dim as f32;
                1.0 / libm::pow(10_000.0, f64::from(exponent)) as f32
            };
            let angles = (0..head_dim / 2).flat_map(|i| {
                let frequency = frequency(i);
                (0..20_000).map(move |position| cos_sin(position, frequency))
            });
            let found = crc(angles.flat_map(|(cos, sin)| [cos, sin]));
            assert_eq!(found, expected, "head_dim {head_dim}: {found:#010x}");
        }
    }

    /// As above: `powf(-0.5)` of glibc.
    #[test]
    fn score_scales_have_the_bits_of_version_0_1_0() {
        let scales = [16, 24, 32, 64, 128].map(|head_dim| score_scale(head_dim).to_bits());
        let expected = [
            0x3e80_0000,
            0x3e51_05ec,
            0x3e35_04f3,
            0x3e00_0000,
            0x3db5_04f3,
        ];
        assert_eq!(scales, expected);
        assert_eq!(crc((1..=1024).map(score_scale)), 0x6784_4198);
    }
}
