//! The product of rows with packed weights in fixed point, for processors with AVX-512 VNNI.

use super::fixed_point::{FixedPanels, LANES, PAIR, WIDTH, round};
use super::matmul::{Arithmetic, Block, MatMul, Target};
use super::panels::Packed;
use crate::ops::matrix::Chunked;
use crate::ops::simd::Avx512 as S;
use crate::ops::tile::VECTORS;
use std::arch::x86_64::*;

/// Multiplies rows with weights in fixed point.
///
/// # Panics
/// As for `Linear::apply`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn apply(
    weights: &Packed,
    panels: &FixedPanels,
    x: Chunked<'_>,
    target: Target<'_>,
    buffer: &mut [f32],
) {
    let steps = weights.size.steps;
    let (depth, rows) = (weights.size.depth, x.extent().rows);
    assert!(x.extent().lanes == LANES && x.extent().features() >= PAIR * steps);
    let (operands, sums) = buffer.split_at_mut(weights.size.operand_scratch(rows));
    let (pairs, scales) = operands.split_at_mut(rows * steps);
    let from = x.chunks();
    for (i, scales) in scales.chunks_exact_mut(rows).enumerate() {
        let first = i * depth;
        let features = (steps - first).min(depth) * PAIR;
        for (row, scale) in scales.iter_mut().enumerate() {
            let to = pairs[first * rows + row * LANES..].as_mut_ptr();
            let at = first * PAIR * from.stride + row * LANES;
            // SAFETY: the row's block is inside x and the pairs.
            *scale = unsafe {
                let from_row = from.at.add(at);
                round(from_row, from.stride * LANES, features, to, rows * LANES)
            };
        }
    }
    let blocks = panels.blocks;
    assert!(panels.scales.len() >= blocks * weights.size.outputs);
    let fixed = Fixed {
        rows,
        scales: scales.as_ptr(),
        blocks,
        weights: panels.scales.as_ptr(),
    };
    let product = MatMul {
        weights,
        x: Chunked::new(pairs, rows, LANES),
        target,
        sums,
        widened: &mut [],
    };
    // SAFETY: this function is compiled with the instructions.
    unsafe { product.work::<S, Fixed>(fixed) }
}

/// Sums in fixed point, scaled back.
#[derive(Clone, Copy)]
struct Fixed {
    rows: usize,
    /// Of the rows, `[block, rows]`.
    scales: *const f32,
    blocks: usize,
    /// Of the weights, `[panel, block, WIDTH]`.
    weights: *const f32,
}

impl Arithmetic<S> for Fixed {
    #[inline(always)]
    unsafe fn sums<const M: usize>(self, block: &Block) -> [[__m512; VECTORS]; M] {
        let (mut a, mut b) = (block.a.cast::<i32>(), block.b.cast::<i32>());
        let mut prefetch = block.prefetch;
        let scales = self
            .scales
            .wrapping_add(block.index * self.rows + block.row);
        let weights = (block.panel * self.blocks + block.index) * WIDTH;
        let weights = self.weights.wrapping_add(weights);
        // SAFETY: the caller's; there are scales for all rows, panels and blocks.
        unsafe {
            let mut acc = [[_mm512_setzero_si512(); VECTORS]; M];
            for chunk in 1..=block.chunks {
                // As in `matmul::accumulate_chunks`.
                let next = a.wrapping_add(block.a_chunk).cast();
                prefetch.request::<S, M>((chunk < block.chunks).then_some(next));
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
