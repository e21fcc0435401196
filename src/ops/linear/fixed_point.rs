//! Weights and rows in fixed point, for processors with AVX-512 VNNI.
//!
//! Both are rounded to 16-bit integers, with one scale for every block of a row. The products of a
//! block are summed exactly, in 32-bit integers: the only loss is the rounding of the operands, at
//! most 2e-4 of a block's length (its norm) each. A sum cannot overflow, because
//! |Σ a·b| ≤ ‖a‖·‖b‖ and the scales keep ‖·‖ below 2^15.5. Blocks are summed in f32. As everywhere,
//! the bits of a row depend only on that row.

use super::size::LinearSize;
use crate::ops::buffer::Buffer;
use crate::ops::fixed_point::{LARGEST, LENGTH, SMALLEST, pair};
use crate::ops::simd::{Avx512 as S, CpuPath, Simd};
use crate::ops::tile::VECTORS;
use std::arch::x86_64::*;

/// Features of a step: two 16-bit integers.
pub(super) const PAIR: usize = 2;

pub(super) const LANES: usize = S::LANES;

/// Columns of a panel.
pub(super) const WIDTH: usize = VECTORS * LANES;

/// The chunks of a row are pages apart, too far for the processor to prefetch them by itself:
/// those of the row this far ahead are prefetched.
const ROWS_AHEAD: usize = 4;

/// Weights in fixed point. They exist only where the processor has AVX-512 VNNI.
pub(super) struct FixedPanels {
    /// Pairs of integers, `[panel, steps, WIDTH]`, stored as floats of the same bits.
    pub(super) steps: Buffer<f32>,
    /// The factor of the sums of a block, `[panel, block, WIDTH]`.
    pub(super) scales: Vec<f32>,
    /// Steps of a block, and blocks.
    depth: usize,
    pub(super) blocks: usize,
}

impl FixedPanels {
    /// Memory for `panels` panels, all zero.
    ///
    /// # Errors
    /// The system is out of memory.
    ///
    /// # Panics
    /// The processor lacks AVX-512 VNNI.
    pub(super) fn zeroed(panels: usize, size: &LinearSize) -> std::io::Result<FixedPanels> {
        assert!(CpuPath::Avx512Vnni.is_available());
        let len = panels.saturating_mul(size.steps).saturating_mul(WIDTH);
        let blocks = size.blocks();
        Ok(FixedPanels {
            steps: Buffer::zeroed(len)?,
            scales: vec![0.0; panels * blocks * WIDTH],
            depth: size.depth,
            blocks,
        })
    }

    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        size_of::<f32>() * (self.steps.len() + self.scales.len())
    }

    /// Rows `[WIDTH, 2 · steps]` as the pairs of a panel, `[WIDTH, steps]`; stores their scales.
    pub(super) fn round(&mut self, panel: usize, rows: &[f32], pairs: &mut [f32]) {
        let steps = pairs.len() / WIDTH;
        let (depth, blocks) = (self.depth, self.blocks);
        assert!(rows.len() == PAIR * pairs.len() && steps.is_multiple_of(LANES));
        let scales = &mut self.scales[panel * blocks * WIDTH..][..blocks * WIDTH];
        for (j, (row, pairs)) in rows
            .chunks_exact(PAIR * steps)
            .zip(pairs.chunks_exact_mut(steps))
            .enumerate()
        {
            for (i, (from, to)) in row
                .chunks(PAIR * depth)
                .zip(pairs.chunks_mut(depth))
                .enumerate()
            {
                // SAFETY: both hold the block, whose features are pairs of chunks; the processor
                // has the instructions, or the panels would not exist.
                scales[i * WIDTH + j] =
                    unsafe { round(from.as_ptr(), LANES, from.len(), to.as_mut_ptr(), LANES) };
            }
        }
    }
}

/// Rounds the block of a row and returns the factor of its sums: NaN if a value of the block is
/// not finite.
///
/// Features f and f + LANES of every two chunks share a step. Chunks of features start
/// `from_stride` floats apart, chunks of steps `to_stride`.
///
/// # Safety
/// `from` is readable for `features` features, which are pairs of chunks, and `to` is writable for
/// `features / 2` steps; the processor has AVX-512.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn round(
    from: *const f32,
    from_stride: usize,
    features: usize,
    to: *mut f32,
    to_stride: usize,
) -> f32 {
    let chunks = features / LANES;
    // SAFETY: the caller's.
    unsafe {
        // The maximum drops NaN; the sum of squares keeps it.
        let mut most = [_mm512_setzero_ps(); 2];
        for c in (0..chunks).step_by(2) {
            for (i, most) in most.iter_mut().enumerate() {
                let at = from.add((c + i) * from_stride);
                S::prefetch_near(at.wrapping_add(ROWS_AHEAD * LANES).cast());
                let v = _mm512_loadu_ps(at);
                *most = _mm512_max_ps(_mm512_abs_ps(v), *most);
            }
        }
        let most = _mm512_reduce_max_ps(_mm512_max_ps(most[0], most[1]));
        let unit = if most < SMALLEST { 0.0 } else { 1.0 / most };
        let units = _mm512_set1_ps(unit);
        let mut squares = [_mm512_setzero_ps(); 2];
        for c in (0..chunks).step_by(2) {
            for (i, sum) in squares.iter_mut().enumerate() {
                let v = _mm512_mul_ps(_mm512_loadu_ps(from.add((c + i) * from_stride)), units);
                *sum = _mm512_fmadd_ps(v, v, *sum);
            }
        }
        let length = _mm512_reduce_add_ps(_mm512_add_ps(squares[0], squares[1])).sqrt();
        // ‖block‖ in units of its largest element: 1 or more, unless all are zero.
        let scale = match length {
            0.0 => 0.0,
            length => (LENGTH / length).min(LARGEST) * unit,
        };
        let scales = _mm512_set1_ps(scale);
        for c in (0..chunks).step_by(2) {
            let first = _mm512_mul_ps(_mm512_loadu_ps(from.add(c * from_stride)), scales);
            let second = _mm512_mul_ps(_mm512_loadu_ps(from.add((c + 1) * from_stride)), scales);
            pair(first, second, to.add(c / 2 * to_stride));
        }
        match length.is_finite() && most.is_finite() {
            true if scale == 0.0 => 0.0,
            true => 1.0 / scale,
            false => f32::NAN,
        }
    }
}
