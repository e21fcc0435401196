//! Weights and rows in fixed point.
//!
//! The only loss is the rounding of the operands, at most 2e-4 of a block's length (its norm) each.
//! Blocks are summed in f32. As everywhere, the bits of a row depend only on that row.

use super::size::LinearSize;
use crate::ops::buffer::Buffer;
use crate::ops::fixed_point::{LARGEST, LENGTH, SMALLEST};
use crate::ops::simd::{Kernel, Simd};
use crate::ops::tile::{self, MAX_WIDTH};

/// Features of a step: two 16-bit integers.
pub(super) const PAIR: usize = 2;

/// The chunks of a row are pages apart, too far for the processor to prefetch them by itself:
/// those of the row this far ahead are prefetched.
const ROWS_AHEAD: usize = 4;

/// Weights in fixed point.
pub(super) struct FixedPanels {
    /// Pairs of integers, `[panel, steps, width]`, stored as floats of the same bits.
    pub(super) steps: Buffer<f32>,
    /// The factor of the sums of a block, `[panel, block, width]`.
    pub(super) scales: Vec<f32>,
}

impl FixedPanels {
    /// Memory for `panels` panels, all zero.
    ///
    /// # Errors
    /// The system is out of memory.
    pub(super) fn zeroed(panels: usize, size: &LinearSize) -> std::io::Result<FixedPanels> {
        let columns = panels.saturating_mul(size.width);
        Ok(FixedPanels {
            steps: Buffer::zeroed(columns.saturating_mul(size.steps))?,
            scales: vec![0.0; columns.saturating_mul(size.blocks())],
        })
    }

    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        size_of::<f32>() * (self.steps.len() + self.scales.len())
    }
}

/// Rounds the rows of a panel, `[width, 2 · steps]`, to pairs, `[width, steps]`.
pub(super) struct RoundPanel<'a> {
    pub(super) size: &'a LinearSize,
    pub(super) rows: &'a [f32],
    pub(super) pairs: &'a mut [f32],
    /// `[block, width]`.
    pub(super) scales: &'a mut [f32],
}

impl Kernel for RoundPanel<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let LinearSize { steps, depth, .. } = *self.size;
        let (width, blocks) = (tile::width::<S>(), self.size.blocks());
        assert!(steps.is_multiple_of(S::LANES) && depth.is_multiple_of(S::LANES));
        assert!(self.rows.len() == PAIR * self.pairs.len() && self.scales.len() == blocks * width);
        for (j, (row, pairs)) in self
            .rows
            .chunks_exact(PAIR * steps)
            .zip(self.pairs.chunks_exact_mut(steps))
            .enumerate()
        {
            for (i, (from, to)) in row
                .chunks(PAIR * depth)
                .zip(pairs.chunks_mut(depth))
                .enumerate()
            {
                // SAFETY: both hold the block, whose features are pairs of chunks; the instructions
                // are the caller's.
                self.scales[i * width + j] = unsafe {
                    let from_row = from.as_ptr();
                    round::<S>(from_row, S::LANES, from.len(), to.as_mut_ptr(), S::LANES)
                };
            }
        }
    }
}

/// Rounds the block of a row and returns the factor of its sums: NaN if a value of the block is
/// not finite.
///
/// Features f and f + LANES of every two chunks share a step, which changes no sum of products.
/// Chunks of features start `from_stride` floats apart, chunks of steps `to_stride`.
///
/// # Safety
/// `from` is readable for `features` features, which are pairs of chunks, and `to` is writable for
/// `features / 2` steps; the processor has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn round<S: Simd>(
    from: *const f32,
    from_stride: usize,
    features: usize,
    to: *mut f32,
    to_stride: usize,
) -> f32 {
    let chunks = features / S::LANES;
    // SAFETY: the caller's.
    unsafe {
        let none = S::splat(0.0);
        // The maximum drops NaN; the sum of squares keeps it.
        let mut most = fold::<S, false>(from, from_stride, chunks, none);
        for part in (1..PARTS).rev() {
            most[0] = S::max(most[0], most[part]);
        }
        let most = S::max_lanes(most[0]);
        let unit = if most < SMALLEST { 0.0 } else { 1.0 / most };
        let mut squares = fold::<S, true>(from, from_stride, chunks, S::splat(unit));
        // In the order of one vector of 32 lanes.
        let mut parts = MAX_WIDTH / S::LANES;
        while parts > 1 {
            parts /= 2;
            for part in 0..parts {
                squares[part] = S::add(squares[part], squares[part + parts]);
            }
        }
        let length = S::sum_lanes(squares[0]).sqrt();
        // ‖block‖ in units of its largest element: 1 or more, unless all are zero.
        let scale = match length {
            0.0 => 0.0,
            length => (LENGTH / length).min(LARGEST) * unit,
        };
        let scales = S::splat(scale);
        for c in (0..chunks).step_by(PAIR) {
            let first = S::mul(S::load(from.add(c * from_stride)), scales);
            let second = S::mul(S::load(from.add((c + 1) * from_stride)), scales);
            S::store_pairs(to.add(c / PAIR * to_stride), first, second);
        }
        match length.is_finite() && most.is_finite() {
            true if scale == 0.0 => 0.0,
            true => 1.0 / scale,
            false => f32::NAN,
        }
    }
}

/// Most vectors that hold [`MAX_WIDTH`] lanes.
const PARTS: usize = 4;

/// The largest absolute values of the chunks or, with `SQUARES`, the sums of the squares of their
/// values times `unit`, both in [`MAX_WIDTH`] lanes on every path: that of feature f is f modulo
/// their number.
///
/// # Safety
/// As [`round`].
#[inline(always)]
unsafe fn fold<S: Simd, const SQUARES: bool>(
    from: *const f32,
    from_stride: usize,
    chunks: usize,
    unit: S::V,
) -> [S::V; PARTS] {
    let parts = MAX_WIDTH / S::LANES;
    // SAFETY: the caller's.
    unsafe {
        let mut all = [S::splat(0.0); PARTS];
        let whole = chunks - chunks % parts;
        for c in (0..whole).step_by(parts) {
            for (part, sum) in all.iter_mut().enumerate().take(parts) {
                *sum = add::<S, SQUARES>(*sum, from.add((c + part) * from_stride), unit);
            }
        }
        for (part, sum) in all.iter_mut().enumerate().take(parts) {
            if whole + part < chunks {
                *sum = add::<S, SQUARES>(*sum, from.add((whole + part) * from_stride), unit);
            }
        }
        all
    }
}

/// One vector of [`fold`].
///
/// # Safety
/// `at` is readable for a vector; the processor has the instructions of `S`.
#[inline(always)]
unsafe fn add<S: Simd, const SQUARES: bool>(sum: S::V, at: *const f32, unit: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        if SQUARES {
            let v = S::mul(S::load(at), unit);
            S::fma(v, v, sum)
        } else {
            S::prefetch_near(at.wrapping_add(ROWS_AHEAD * S::LANES).cast());
            S::max(S::abs(S::load(at)), sum)
        }
    }
}
