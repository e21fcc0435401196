//! Products in half precision, for processors with AVX512-FP16.
//!
//! Inputs and weights are rounded to half precision. Products are summed in half precision over
//! [`RUN`] steps only; runs are then added in f32. Every row is scaled by a power of two so that
//! its largest element lies in 1 .. 2, which neither overflows nor loses small rows, and the
//! sums are scaled back in f32. A row's bits depend on the row alone, as everywhere.

use super::linear::{Finish, Target};
use super::rows::Chunked;
use super::simd::{Avx512 as S, Simd};
use super::tile::{self, MAX_ROWS, MAX_WIDTH, with_rows};
use half::f16;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Columns of a tile: two vectors of halves.
pub(super) const WIDTH: usize = 64;

/// Steps that are summed in half precision. Rounding errors grow with it, and so does the cost
/// of adding up without it.
const RUN: usize = 16;

/// Steps whose weights for one panel stay in the first-level cache.
const DEPTH: usize = 128;

/// Lanes of an f32 vector, as the rows have them.
const LANES: usize = S::LANES;

/// A product of `rows` rows with weights in panels, `[panel, depth, WIDTH]`.
pub(super) struct HalfProduct<'a> {
    pub(super) panels: &'a [f16],
    /// Inputs with their padding.
    pub(super) depth: usize,
    /// Padded to whole f32 tiles.
    pub(super) bias: &'a [f32],
    pub(super) outputs: usize,
    pub(super) x: Chunked,
    pub(super) rows: usize,
    pub(super) target: Target,
    /// [`scratch`] floats.
    pub(super) scratch: &'a mut [f32],
}

/// Floats of working memory that a product needs.
pub(super) fn scratch(depth: usize, rows: usize) -> usize {
    rows * depth + rows + rows * WIDTH
}

impl HalfProduct<'_> {
    /// # Safety
    /// As for `Linear::apply`; the processor has AVX512-FP16.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512fp16,avx2,fma,f16c")]
    pub(super) unsafe fn run(self) {
        let HalfProduct { depth, rows, x, .. } = self;
        assert!(self.scratch.len() >= scratch(depth, rows));
        let (pairs, rest) = self.scratch.split_at_mut(rows * depth);
        let (scales, partial) = rest.split_at_mut(rows);
        // SAFETY: x holds `rows` rows of `depth` features; `pairs` as many, `scales` the rows.
        unsafe { halve(x, depth, rows, pairs.as_mut_ptr(), scales) };
        let pairs = pairs.as_ptr().cast::<u32>();
        for panel in 0..self.panels.len() / (depth * WIDTH) {
            for k in (0..depth).step_by(DEPTH) {
                let steps = DEPTH.min(depth - k);
                let at = (panel * depth + k) * WIDTH;
                let b = &self.panels[at..at + steps * WIDTH];
                // The next block of weights lies behind this one; see `linear::Coming`.
                let portion = DEPTH.div_ceil(rows.div_ceil(MAX_ROWS)) * WIDTH * 2;
                for (i, (row, height)) in tile::heights(rows, MAX_ROWS).enumerate() {
                    let next = b.as_ptr().cast::<u8>().wrapping_add(b.len() * 2);
                    for byte in (0..portion).step_by(64) {
                        S::prefetch(next.wrapping_add(i * portion + byte));
                    }
                    let tile = Tile {
                        steps,
                        a: pairs.wrapping_add(k * rows + row * LANES),
                        a_chunk: rows * LANES,
                        b: b.as_ptr(),
                        partial: partial.as_mut_ptr().wrapping_add(row * WIDTH),
                        first: k == 0,
                    };
                    // SAFETY: the tile's rows lie inside the pairs and the partial sums.
                    unsafe { with_rows!(height, M, { tile.run::<M>() }) }
                }
            }
            for column in (0..WIDTH).step_by(MAX_WIDTH) {
                let n = panel * WIDTH + column;
                if n >= self.bias.len() {
                    break;
                }
                let finish = Finish {
                    bias: self.bias[n..].as_ptr(),
                    target: self.target,
                    row: 0,
                    column: n,
                    columns: MAX_WIDTH.min(self.outputs.saturating_sub(n)),
                };
                for row in 0..rows {
                    let sums = partial[row * WIDTH + column..].as_mut_ptr();
                    // SAFETY: one row of sums of MAX_WIDTH columns; the target has the row.
                    unsafe {
                        for j in (0..MAX_WIDTH).step_by(LANES) {
                            let at = sums.add(j);
                            let y = S::mul(S::load(at), S::splat(scales[row]));
                            S::store(at, y);
                        }
                        Finish { row, ..finish }.run::<S>(1, sums);
                    }
                }
            }
        }
    }
}

/// Rows in chunks as halves, each twice in a 32-bit lane so that one load spreads it over a
/// vector, scaled to below 2; and what each row's sums are to be multiplied by.
///
/// # Safety
/// x is readable for `rows` rows of `depth` features, `pairs` writable for as many; the
/// processor has AVX512-FP16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512fp16,avx2,fma,f16c")]
unsafe fn halve(x: Chunked, depth: usize, rows: usize, pairs: *mut f32, scales: &mut [f32]) {
    for (row, scale) in scales.iter_mut().enumerate() {
        let from = x.at.wrapping_add(row * LANES);
        let to = pairs.wrapping_add(row * LANES);
        // SAFETY: the caller's.
        unsafe {
            let mut most = _mm512_setzero_ps();
            for chunk in (0..depth).step_by(LANES) {
                let v = _mm512_loadu_ps(from.add(chunk * x.stride));
                most = _mm512_max_ps(_mm512_abs_ps(v), most);
            }
            let most = _mm512_reduce_max_ps(most);
            // The exponent of the largest element; 0 and what is not finite stay as they are.
            let exponent = (most.to_bits() >> 23) as i32 - 127;
            let exponent = match most.is_normal() {
                true => exponent.clamp(-100, 100),
                false => 0,
            };
            *scale = f32::from_bits(((127 + exponent) as u32) << 23);
            let inverse = _mm512_set1_ps(f32::from_bits(((127 - exponent) as u32) << 23));
            for chunk in (0..depth).step_by(LANES) {
                let v = _mm512_loadu_ps(from.add(chunk * x.stride));
                let h = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(
                    _mm512_mul_ps(v, inverse),
                );
                let low = _mm512_cvtepu16_epi32(h);
                let both = _mm512_or_si512(low, _mm512_slli_epi32::<16>(low));
                _mm512_storeu_si512(to.add(chunk * rows).cast(), both);
            }
        }
    }
}

/// One tile of one block of the inner dimension.
struct Tile {
    steps: usize,
    a: *const u32,
    a_chunk: usize,
    b: *const f16,
    /// `[M, WIDTH]`.
    partial: *mut f32,
    first: bool,
}

/// Half-precision sums of the runs of a block.
#[repr(align(64))]
struct Runs(#[allow(dead_code)] [f16; DEPTH / RUN * MAX_ROWS * WIDTH]);

impl Tile {
    /// # Safety
    /// `a` holds `steps` steps of M rows in chunks, `b` as many of WIDTH columns; `partial` is
    /// writable for M rows and holds the sums so far unless this is the first block; the
    /// processor has AVX512-FP16.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512fp16,avx2,fma,f16c")]
    unsafe fn run<const M: usize>(&self) {
        let mut runs = MaybeUninit::<Runs>::uninit();
        let runs = runs.as_mut_ptr().cast::<__m512i>();
        let (mut a, mut b) = (self.a, self.b);
        let mut count = 0;
        // SAFETY: the caller's; the runs of a block fit into `Runs`, and each is written before
        // it is read.
        unsafe {
            for start in (0..self.steps).step_by(RUN) {
                let mut acc = [[_mm512_castsi512_ph(_mm512_setzero_si512()); 2]; M];
                for _ in 0..RUN.min(self.steps - start) / LANES {
                    for k in 0..LANES {
                        let b0 = _mm512_castsi512_ph(_mm512_loadu_si512(b.cast()));
                        let b1 = _mm512_castsi512_ph(_mm512_loadu_si512(b.add(32).cast()));
                        for (i, row) in acc.iter_mut().enumerate() {
                            let pair = _mm512_set1_epi32(*a.add(i * LANES + k) as i32);
                            let x = _mm512_castsi512_ph(pair);
                            row[0] = _mm512_fmadd_ph(x, b0, row[0]);
                            row[1] = _mm512_fmadd_ph(x, b1, row[1]);
                        }
                        b = b.add(WIDTH);
                    }
                    a = a.wrapping_add(self.a_chunk);
                }
                for (i, row) in acc.iter().enumerate() {
                    for (j, v) in row.iter().enumerate() {
                        *runs.add((count * M + i) * 2 + j) = _mm512_castph_si512(*v);
                    }
                }
                count += 1;
            }
            let runs = runs.cast::<__m256i>();
            for i in 0..M {
                for j in 0..WIDTH / LANES {
                    let at = self.partial.add(i * WIDTH + j * LANES);
                    let mut sum = match self.first {
                        true => _mm512_setzero_ps(),
                        false => _mm512_loadu_ps(at),
                    };
                    for run in 0..count {
                        let part = *runs.add((run * M + i) * (WIDTH / LANES) + j);
                        sum = _mm512_add_ps(sum, _mm512_cvtph_ps(part));
                    }
                    _mm512_storeu_ps(at, sum);
                }
            }
        }
    }
}
