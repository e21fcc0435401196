//! One head of one sequence.
//!
//! Queries go through the keys in tiles of one width: once for the scores `[keys, queries]` and the
//! largest of them, once for the probabilities and the values. Memory is linear in the length of the
//! sequence. Several tiles of a long sequence go through together, so that each block of keys, and
//! then of values, is read from memory once for all of them. The bits do not depend on that.

use super::ahead::Ahead;
use super::float::Float;
use super::geometry::{FeatureTile, Geometry, KeyBlock};
use super::memory::{Memory, Sizes};
use super::probabilities::MapRows;
use super::query_tile::{QueryTile, store};
use super::rotary::RotaryTable;
use crate::ops::matrix::{Chunked, ChunkedMut, Extent};
use crate::ops::simd::{Kernel, Simd};

/// Keys whose probabilities are computed and used together: their scores stay in the first-level
/// cache. Summing block by block bounds the rounding error of long sequences.
pub(super) const KEY_BLOCK: usize = 256;

/// Some queries of one head of one sequence.
pub(super) struct Head<'a> {
    /// From the sequence's first token on; the result replaces the queries.
    pub(super) q: ChunkedMut<'a>,
    pub(super) k: Chunked<'a>,
    pub(super) v: Chunked<'a>,
    pub(super) len: usize,
    /// First feature of this head.
    pub(super) column: usize,
    pub(super) head_dim: usize,
    pub(super) rotary: Option<&'a RotaryTable>,
    pub(super) queries: std::ops::Range<usize>,
    /// Where their probabilities go, `[queries, len]`; None if they are not wanted.
    pub(super) map: Option<&'a mut [f32]>,
    /// See [`Sizes::total`].
    pub(super) buffer: &'a mut [f32],
}

/// Keys whose probabilities are computed and used together.
#[derive(Clone, Copy)]
pub(super) struct KeyRange {
    /// Their block, counted from 0.
    pub(super) block: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// How a head is computed. N is the number of vectors in a row of a tile.
pub(super) trait Scheme<S: Simd> {
    /// Whether it needs memory for integers.
    const IN_FIXED_POINT: bool;

    /// Prepares keys and values.
    ///
    /// # Safety
    /// As for [`Geometry`]'s methods.
    unsafe fn prepare(head: &Geometry<S>);

    /// Prepares the queries of a tile.
    ///
    /// # Safety
    /// As above.
    unsafe fn start<const N: usize>(head: &Geometry<S>, tile: &QueryTile);

    /// Scores of a block of keys, and the largest so far.
    ///
    /// # Safety
    /// As above.
    unsafe fn scores<const N: usize>(
        head: &Geometry<S>,
        tile: &QueryTile,
        keys: KeyBlock,
        ahead: Ahead,
    );

    /// Probabilities of some keys in place of their scores, and their values.
    ///
    /// # Safety
    /// As above; the tile has all its scores.
    unsafe fn values<const N: usize>(
        head: &Geometry<S>,
        tile: &QueryTile,
        keys: KeyRange,
        ahead: Ahead,
    );
}

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's.
        unsafe { self.work::<S, Float>() }
    }
}

impl Head<'_> {
    /// # Safety
    /// The processor has the instructions of `S` and of the scheme.
    ///
    /// # Panics
    /// The matrices, the rotary table or the working memory are too small.
    #[inline(always)]
    pub(super) unsafe fn work<S: Simd, A: Scheme<S>>(mut self) {
        let (len, head_dim) = (self.len, self.head_dim);
        let features = self.column + head_dim;
        // Tokens are read in whole vectors.
        let rows = len + S::LANES;
        let fits = |e: Extent| e.lanes == S::LANES && e.rows >= rows && e.features() >= features;
        assert!(fits(self.q.extent()) && fits(self.k.extent()) && fits(self.v.extent()));
        assert!(self.queries.end <= len);
        if let Some(table) = self.rotary {
            assert!(table.head_dim() == head_dim && table.positions() >= len);
        }
        let first = self.queries.start;
        let map = self.map.map(|map| {
            assert!(map.len() == self.queries.len() * len);
            let at = map.as_mut_ptr();
            MapRows { at, first }
        });
        let sizes = Sizes::new(head_dim, len, S::LANES, A::IN_FIXED_POINT);
        let memory = Memory::new(self.buffer, &sizes);
        let (chunk, offset) = (self.column / S::LANES, self.column % S::LANES);
        let v = self.v.chunks();
        let tiles = FeatureTile::all::<S>(chunk, offset, head_dim, v.stride);
        let head = Geometry::<S> {
            q: self.q.chunks(),
            k: self.k.chunks(),
            v,
            len,
            chunk,
            offset,
            head_dim,
            rotary: self.rotary,
            map,
            sizes,
            memory,
            tiles: &tiles,
            lanes: std::marker::PhantomData,
        };
        // A short last tile has one vector a row.
        let last = self.queries.len() % sizes.width;
        let narrow = if last <= S::LANES { last } else { 0 };
        let wide = self.queries.len() - narrow;
        // SAFETY: the caller's; sizes were checked, and the memory is as `Sizes` says.
        unsafe {
            A::prepare(&head);
            for (at, count) in blocks(wide, sizes.tiles * sizes.width) {
                group::<S, A, 2>(&head, first + at, count);
            }
            if narrow > 0 {
                group::<S, A, 1>(&head, first + wide, narrow);
            }
        }
    }
}

/// `count` queries from `first` on, up to the tiles of a group.
///
/// # Safety
/// As for [`Geometry`]'s methods.
#[inline(always)]
unsafe fn group<S: Simd, A: Scheme<S>, const N: usize>(
    head: &Geometry<S>,
    first: usize,
    count: usize,
) {
    let width = N * S::LANES;
    let all = count.div_ceil(width);
    let tiles = || head.query_tiles(first, count, width).enumerate();
    let ahead = |tile: usize, scores: *const f32| Ahead {
        tile,
        // Keys and values of a short sequence are in the cache.
        tiles: if head.sizes.tiles > 1 { all } else { 0 },
        scores,
    };
    // SAFETY: the caller's.
    unsafe {
        for (_, tile) in tiles() {
            A::start::<N>(head, &tile);
            store::<S, N>(tile.most(), &[S::splat(f32::NEG_INFINITY); N]);
            store::<S, N>(tile.total(), &[S::splat(0.0); N]);
        }
        // Backwards: the scores that are used first are then the last that got into the cache.
        for keys in head.key_blocks().rev() {
            for (i, tile) in tiles() {
                A::scores::<N>(head, &tile, keys, ahead(i, tile.memory.scores));
            }
        }
        for (block, (first, count)) in blocks(head.len, KEY_BLOCK).enumerate() {
            let keys = KeyRange {
                block,
                first,
                count,
            };
            for (i, tile) in tiles() {
                let next = head.scores_after(all, i, width, keys);
                A::values::<N>(head, &tile, keys, ahead(i, next));
            }
        }
        for (_, tile) in tiles() {
            head.divide_probabilities(&tile);
            head.finish::<N>(&tile);
        }
    }
}

/// `len` in blocks of `size`, the last one shorter: (start, length).
#[inline(always)]
pub(super) fn blocks(
    len: usize,
    size: usize,
) -> impl DoubleEndedIterator<Item = (usize, usize)> + ExactSizeIterator {
    (0..len)
        .step_by(size)
        .map(move |start| (start, size.min(len - start)))
}
