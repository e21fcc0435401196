//! One tile of queries on its way through the keys.

use super::memory::TileMemory;
use crate::ops::simd::Simd;

/// A tile width of queries, one per lane from the scores to the output: softmax runs down the columns
/// and no reduction crosses lanes.
#[derive(Clone, Copy)]
pub(super) struct QueryTile {
    /// The first query, counted from the start of the sequence.
    pub(super) first: usize,
    /// Queries; the last vector may have fewer than its lanes.
    pub(super) count: usize,
    pub(super) memory: TileMemory,
}

impl QueryTile {
    /// The largest score of each query.
    pub(super) fn most(&self) -> *mut f32 {
        self.memory.statistics[0]
    }

    /// The sum of the probabilities of each query, before they are divided by it.
    pub(super) fn total(&self) -> *mut f32 {
        self.memory.statistics[1]
    }

    /// In fixed point: the scale of each query.
    pub(super) fn scale(&self) -> *mut f32 {
        self.memory.statistics[2]
    }
}

/// A number for each of N vectors of queries.
///
/// # Safety
/// N vectors are readable at `at`, and the processor has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn load<S: Simd, const N: usize>(at: *const f32) -> [S::V; N] {
    // SAFETY: the caller's.
    unsafe {
        let mut row = [S::splat(0.0); N];
        for (j, v) in row.iter_mut().enumerate() {
            *v = S::load(at.add(j * S::LANES));
        }
        row
    }
}

/// Stores one.
///
/// # Safety
/// N vectors are writable at `at`, and the processor has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn store<S: Simd, const N: usize>(at: *mut f32, row: &[S::V; N]) {
    // SAFETY: the caller's.
    unsafe {
        for (j, v) in row.iter().enumerate() {
            S::store(at.add(j * S::LANES), *v);
        }
    }
}
