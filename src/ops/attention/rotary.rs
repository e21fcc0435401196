//! Rotary position embedding in the rotate-half form: `x·cos + cat(−x₂, x₁)·sin`.

use crate::ops::simd::Simd;

/// Positions are padded to this many, so that any vector of them can be read whole.
const PADDING: usize = 32;

/// cos and sin of `position · inv_freq`, position 0 being `<cls>`.
///
/// The angle is the f32 product that the reference implementations form; its cosine and sine
/// are correctly rounded.
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
                let angle = f64::from(position as f32 * frequency);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
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

    /// Floats of a table for heads of so many features.
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

    /// Scales and rotates a head's tokens `[head_dim, tokens]` in place; token 0 stands at
    /// `position`, and tokens are worked in whole vectors.
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
