//! The product of rows with packed weights in fixed point.

use super::fixed_point::{FixedPanels, PAIR, round};
use super::matmul::{Arithmetic, Block, MatMul, Target};
use super::panels::Packed;
use crate::ops::matrix::Chunked;
use crate::ops::simd::{Kernel, Simd};
use crate::ops::tile::{self, VECTORS};

/// Rounds rows and multiplies them with weights in fixed point.
pub(super) struct FixedMatMul<'a> {
    pub(super) weights: &'a Packed,
    pub(super) panels: &'a FixedPanels,
    pub(super) x: Chunked<'a>,
    pub(super) target: Target<'a>,
    /// See `LinearSize::scratch`.
    pub(super) buffer: &'a mut [f32],
}

impl Kernel for FixedMatMul<'_> {
    type Output = ();
    const IN_FIXED_POINT: bool = true;

    /// # Panics
    /// As for `Linear::apply`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self {
            weights, panels, x, ..
        } = self;
        let size = &weights.size;
        let (steps, depth, rows) = (size.steps, size.depth, x.extent().rows);
        assert!(x.extent().lanes == S::LANES && x.extent().features() >= PAIR * steps);
        assert!(steps.is_multiple_of(S::LANES) && depth.is_multiple_of(S::LANES));
        let (operands, sums) = self.buffer.split_at_mut(size.operand_scratch(rows));
        let (pairs, scales) = operands.split_at_mut(rows * steps);
        let from = x.chunks();
        for (i, scales) in scales.chunks_exact_mut(rows.max(1)).enumerate() {
            let first = i * depth;
            let features = (steps - first).min(depth) * PAIR;
            for (row, scale) in scales.iter_mut().enumerate() {
                let to = pairs[first * rows + row * S::LANES..].as_mut_ptr();
                let at = first * PAIR * from.stride + row * S::LANES;
                // SAFETY: the row's block is inside x and the pairs; the instructions are the
                // caller's.
                *scale = unsafe {
                    let (from_row, stride) = (from.at.add(at), from.stride * S::LANES);
                    round::<S>(from_row, stride, features, to, rows * S::LANES)
                };
            }
        }
        let blocks = size.blocks();
        assert!(panels.scales.len() >= blocks * size.outputs);
        let fixed = Fixed {
            rows,
            scales: scales.as_ptr(),
            blocks,
            weights: panels.scales.as_ptr(),
        };
        let product = MatMul {
            weights,
            x: Chunked::new(pairs, rows, S::LANES),
            target: self.target,
            sums,
            widened: &mut [],
        };
        // SAFETY: the caller's.
        unsafe { product.work::<S, Fixed>(fixed) }
    }
}

/// Sums in fixed point, scaled back.
#[derive(Clone, Copy)]
struct Fixed {
    rows: usize,
    /// Of the rows, `[block, rows]`.
    scales: *const f32,
    blocks: usize,
    /// Of the weights, `[panel, block, width]`.
    weights: *const f32,
}

impl<S: Simd> Arithmetic<S> for Fixed {
    #[inline(always)]
    unsafe fn sums<const M: usize>(self, block: &Block) -> [[S::V; VECTORS]; M] {
        let (mut a, mut b) = (block.a, block.b);
        let mut prefetch = block.prefetch;
        let scales = self
            .scales
            .wrapping_add(block.index * self.rows + block.row);
        let weights = (block.panel * self.blocks + block.index) * tile::width::<S>();
        let weights = self.weights.wrapping_add(weights);
        // SAFETY: the caller's; there are scales for all rows, panels and blocks.
        unsafe {
            let mut acc = [[S::no_sums(); VECTORS]; M];
            for chunk in 1..=block.chunks {
                // As in `matmul::accumulate_chunks`.
                let next = a.wrapping_add(block.a_chunk);
                prefetch.request::<S, M>((chunk < block.chunks).then_some(next));
                for k in 0..S::steps() {
                    let columns = [S::load_pairs(b), S::load_pairs(b.add(S::LANES))];
                    for (i, row) in acc.iter_mut().enumerate() {
                        let x = S::splat_pair(a.add(i * S::LANES + k));
                        for (sum, column) in row.iter_mut().zip(&columns) {
                            *sum = S::add_products(*sum, x, *column);
                        }
                    }
                    b = b.wrapping_add(tile::width::<S>());
                }
                a = next;
            }
            let mut sums = [[S::splat(0.0); VECTORS]; M];
            for (i, (sums, acc)) in sums.iter_mut().zip(&acc).enumerate() {
                let x = S::splat(*scales.add(i));
                for (j, (sum, acc)) in sums.iter_mut().zip(acc).enumerate() {
                    let w = S::load(weights.add(j * S::LANES));
                    *sum = S::mul(S::mul(S::sums_to_f32(*acc), x), w);
                }
            }
            sums
        }
    }
}
