//! Products in fixed point, for processors with AVX-512 VNNI.
//!
//! Inputs and weights are rounded to integers of 16 bits, with a scale of its own for every block
//! of a row. The products of a block are summed in integers of 32 bits, exactly: what is lost is
//! the rounding of the operands, at most 2e-4 of a block's length (norm) each. A sum cannot
//! overflow, because |Σ a·b| ≤ ‖a‖·‖b‖ and the scales keep ‖·‖ below 2^15.5. Blocks are summed
//! in f32. A row's bits depend on the row alone, as everywhere.

use super::Linear;
use super::blocking::{block_depth, blocks};
use super::matmul::{Arithmetic, Block, MatMul, Target};
use crate::ops::buffer::Buffer;
use crate::ops::fixed_point::{LARGEST, LENGTH, SMALLEST, pair};
use crate::ops::matrix::Chunked;
use crate::ops::simd::{Avx512 as S, Simd};
use crate::ops::tile::VECTORS;
use std::arch::x86_64::*;

/// Features of a step: two integers of 16 bits.
pub(super) const PAIR: usize = 2;

const LANES: usize = S::LANES;

/// Columns of a panel.
const WIDTH: usize = VECTORS * LANES;

/// A row's chunks lie pages apart, too far for the processor to fetch them ahead by itself: those
/// of the row so many on are asked for.
const ROWS_AHEAD: usize = 4;

/// Weights in fixed point.
pub(super) struct FixedPanels {
    /// Pairs of integers, `[panel, steps, WIDTH]`, kept as the floats of the same bits.
    pub(super) steps: Buffer<f32>,
    /// What the sums with a block are to be multiplied by, `[panel, block, WIDTH]`.
    scales: Vec<f32>,
}

/// Floats of working memory that turning `rows` rows into integers needs.
pub(super) fn scratch(steps: usize, rows: usize) -> usize {
    rows * (steps + blocks(steps))
}

impl FixedPanels {
    /// Room for `panels` panels of so many steps, all zero.
    ///
    /// # Errors
    /// The system has no memory left to give.
    pub(super) fn zeroed(panels: usize, steps: usize) -> std::io::Result<FixedPanels> {
        let len = panels.saturating_mul(steps).saturating_mul(WIDTH);
        Ok(FixedPanels {
            steps: Buffer::zeroed(len)?,
            scales: vec![0.0; panels * blocks(steps) * WIDTH],
        })
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        size_of::<f32>() * (self.steps.len() + self.scales.len())
    }

    /// Rows `[WIDTH, 2 · steps]` as the pairs of a panel, `[WIDTH, steps]`; keeps their scales.
    pub(super) fn round(&mut self, panel: usize, rows: &[f32], pairs: &mut [f32]) {
        let steps = pairs.len() / WIDTH;
        let depth = block_depth(steps);
        assert!(rows.len() == PAIR * pairs.len() && steps.is_multiple_of(LANES));
        let scales = &mut self.scales[panel * blocks(steps) * WIDTH..][..blocks(steps) * WIDTH];
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
                // SAFETY: both hold the block, whose features are whole pairs of chunks; fixed
                // point is chosen only where the processor has its instructions.
                scales[i * WIDTH + j] =
                    unsafe { round(from.as_ptr(), LANES, from.len(), to.as_mut_ptr(), LANES) };
            }
        }
    }
}

/// Multiplies rows with weights in fixed point.
///
/// # Safety
/// As for `Linear::apply`; the scratch holds what [`scratch`] says and the sums; the processor
/// has AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn apply(
    linear: &Linear,
    panels: &FixedPanels,
    x: Chunked,
    rows: usize,
    target: Target,
    buffer: &mut [f32],
) {
    let steps = linear.steps;
    let depth = block_depth(steps);
    let (own, partial) = buffer.split_at_mut(scratch(steps, rows));
    let (pairs, scales) = own.split_at_mut(rows * steps);
    for (i, scales) in scales.chunks_exact_mut(rows).enumerate() {
        let first = i * depth;
        let features = (steps - first).min(depth) * PAIR;
        for (row, scale) in scales.iter_mut().enumerate() {
            let from = x.at.wrapping_add(first * PAIR * x.stride + row * LANES);
            let to = pairs.as_mut_ptr().wrapping_add(first * rows + row * LANES);
            // SAFETY: the row's block lies inside x and the pairs.
            *scale = unsafe { round(from, x.stride * LANES, features, to, rows * LANES) };
        }
    }
    let product = MatMul {
        linear,
        x: Chunked {
            at: pairs.as_mut_ptr(),
            stride: rows,
        },
        rows,
        target,
        partial: partial.as_mut_ptr(),
        widened: &mut [],
    };
    let fixed = Fixed {
        rows,
        scales: scales.as_ptr(),
        blocks: blocks(steps),
        weights: panels.scales.as_ptr(),
    };
    // SAFETY: the caller's.
    unsafe { product.work::<S, Fixed>(fixed) }
}

/// Rounds the block of a row and returns what its sums are to be multiplied by: not a number
/// where the block holds something that is not finite.
///
/// Features f and f + LANES of every two chunks share a step. Chunks of features start
/// `from_stride` floats apart, chunks of steps `to_stride`.
///
/// # Safety
/// `from` is readable for `features` features, whole pairs of chunks, and `to` writable for half
/// as many steps; the processor has AVX-512.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn round(
    from: *const f32,
    from_stride: usize,
    features: usize,
    to: *mut f32,
    to_stride: usize,
) -> f32 {
    let chunks = features / LANES;
    // SAFETY: the caller's.
    unsafe {
        // The maximum drops what is not a number; the sum of squares keeps it.
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
        // ‖block‖ in units of its largest element: 1 or more, unless all is nought.
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

/// Sums in fixed point, scaled back.
#[derive(Clone, Copy)]
struct Fixed {
    rows: usize,
    /// Of the inputs, `[block, rows]`.
    scales: *const f32,
    blocks: usize,
    /// Of the weights, `[panel, block, WIDTH]`.
    weights: *const f32,
}

impl Arithmetic<S> for Fixed {
    #[inline(always)]
    unsafe fn sums<const M: usize>(self, block: &Block) -> [[__m512; VECTORS]; M] {
        let (mut a, mut b) = (block.a.cast::<i32>(), block.b.cast::<i32>());
        let mut ahead = block.ahead;
        let scales = self
            .scales
            .wrapping_add(block.index * self.rows + block.row);
        let weights = (block.panel * self.blocks + block.index) * WIDTH;
        let weights = self.weights.wrapping_add(weights);
        // SAFETY: the caller's; both scales are there for the block's rows and columns.
        unsafe {
            let mut acc = [[_mm512_setzero_si512(); VECTORS]; M];
            for chunk in 1..=block.chunks {
                // As in `tile::accumulate_chunks`.
                let next = a.wrapping_add(block.a_chunk).cast();
                ahead.ask::<S, M>((chunk < block.chunks).then_some(next));
                for k in 0..LANES {
                    let mut columns = [_mm512_setzero_si512(); VECTORS];
                    for (j, column) in columns.iter_mut().enumerate() {
                        *column = _mm512_loadu_si512(b.add(j * LANES).cast());
                    }
                    for (i, row) in acc.iter_mut().enumerate() {
                        let x = _mm512_set1_epi32(*a.add(i * LANES + k));
                        for (sum, column) in row.iter_mut().zip(&columns) {
                            *sum = _mm512_dpwssd_epi32(*sum, x, *column);
                        }
                    }
                    b = b.wrapping_add(WIDTH);
                }
                a = a.wrapping_add(block.a_chunk);
            }
            let mut sums = [[_mm512_setzero_ps(); VECTORS]; M];
            for (i, (sums, acc)) in sums.iter_mut().zip(&acc).enumerate() {
                let x = _mm512_set1_ps(*scales.add(i));
                for (j, (sum, acc)) in sums.iter_mut().zip(acc).enumerate() {
                    let w = _mm512_loadu_ps(weights.add(j * LANES));
                    *sum = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(*acc), x), w);
                }
            }
            sums
        }
    }
}
