//! Rotary position embedding in the rotate-half form: `x·cos + cat(−x₂, x₁)·sin`.

/// cos and sin of `position · inv_freq`, `[positions, head_dim / 2]` each, position 0 being
/// `<cls>`.
///
/// The angle is the f32 product that the reference implementations form; its cosine and sine
/// are correctly rounded.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RotaryTable {
    /// A table for positions 0 .. `positions`.
    pub fn new(inv_freq: &[f32], positions: usize) -> RotaryTable {
        let half = inv_freq.len();
        let (mut cos, mut sin) = (
            Vec::with_capacity(positions * half),
            Vec::with_capacity(positions * half),
        );
        for position in 0..positions {
            for frequency in inv_freq {
                let angle = f64::from(position as f32 * frequency);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        RotaryTable { half, cos, sin }
    }

    /// Number of positions in the table.
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(0)
    }

    /// head_dim of the vectors that the table rotates.
    pub fn head_dim(&self) -> usize {
        2 * self.half
    }

    /// `out = rotate(x · scale)` for one token's head, `head_dim` elements each.
    #[inline(always)]
    pub(crate) fn rotate(&self, position: usize, scale: f32, x: &[f32], out: &mut [f32]) {
        let half = self.half;
        let cos = &self.cos[position * half..][..half];
        let sin = &self.sin[position * half..][..half];
        let (x1, x2) = x.split_at(half);
        let (y1, y2) = out.split_at_mut(half);
        for i in 0..half {
            let (a, b) = (x1[i] * scale, x2[i] * scale);
            y1[i] = a * cos[i] - b * sin[i];
            y2[i] = b * cos[i] + a * sin[i];
        }
    }
}
