//! Where the features of one head are, and how they get into working memory and back.

use super::head::{KEY_BLOCK, KeyRange, blocks};
use super::memory::{Memory, Sizes};
use super::probabilities::MapRows;
use super::query_tile::{QueryTile, load};
use super::rotary::{RotaryTable, score_scale};
use crate::ops::matrix::Chunks;
use crate::ops::simd::Simd;
use crate::ops::tile;

/// One head of one sequence in vectors of `S`.
///
/// Its features are in the chunks from `chunk` on, the first of them at lane `offset`; working
/// memory holds those chunks entirely.
pub(super) struct Geometry<'a, S: Simd> {
    pub(super) q: Chunks,
    pub(super) k: Chunks,
    pub(super) v: Chunks,
    pub(super) len: usize,
    pub(super) chunk: usize,
    pub(super) offset: usize,
    pub(super) head_dim: usize,
    pub(super) rotary: Option<&'a RotaryTable>,
    /// Where the probabilities go; None if they are not wanted.
    pub(super) map: Option<MapRows>,
    pub(super) sizes: Sizes,
    pub(super) memory: Memory,
    pub(super) tiles: &'a [FeatureTile],
    pub(super) lanes: std::marker::PhantomData<S>,
}

/// Keys that are stored together, `[features, stride]`.
#[derive(Clone, Copy)]
pub(super) struct KeyBlock {
    /// The first of them, counted from the start of the sequence.
    pub(super) first: usize,
    pub(super) count: usize,
    /// The head's first feature of it.
    pub(super) at: *mut f32,
}

/// Features of a head that are computed together; all are in one chunk.
pub(super) struct FeatureTile {
    /// Counted from the start of the head's first chunk.
    pub(super) feature: usize,
    pub(super) height: usize,
    /// Offset of the first of them for token 0, in elements.
    pub(super) at: usize,
}

impl FeatureTile {
    /// The tiles of `head_dim` features from lane `offset` of chunk `chunk` on.
    pub(super) fn all<S: Simd>(
        chunk: usize,
        offset: usize,
        head_dim: usize,
        stride: usize,
    ) -> Vec<FeatureTile> {
        let end = offset + head_dim;
        let mut tiles = Vec::new();
        for c in 0..end.div_ceil(S::LANES) {
            let start = (c * S::LANES).max(offset);
            let features = end.min((c + 1) * S::LANES) - start;
            for (f, height) in tile::heights(features, S::ROWS) {
                let feature = start + f;
                let at = (chunk + c) * stride * S::LANES + feature % S::LANES;
                tiles.push(FeatureTile {
                    feature,
                    height,
                    at,
                });
            }
        }
        tiles
    }
}

/// All methods: the processor has the instructions of `S`, the tensors hold `len` rows and one
/// vector's worth more, and working memory has the sizes of [`Sizes`].
impl<S: Simd> Geometry<'_, S> {
    /// Chunks that the head has features in.
    #[inline(always)]
    pub(super) fn chunks(&self) -> usize {
        (self.offset + self.head_dim).div_ceil(S::LANES)
    }

    /// Token t of chunk c, counted from the head's first.
    #[inline(always)]
    pub(super) fn at(&self, x: Chunks, c: usize, t: usize) -> *mut f32 {
        x.at.wrapping_add(((self.chunk + c) * x.stride + t) * S::LANES)
    }

    /// `count` queries from `first` on in tiles, each with separate memory.
    #[inline(always)]
    pub(super) fn query_tiles(
        &self,
        first: usize,
        count: usize,
        width: usize,
    ) -> impl Iterator<Item = QueryTile> {
        let tiles = blocks(count, width).enumerate();
        tiles.map(move |(i, (at, count))| QueryTile {
            first: first + at,
            count,
            memory: self.memory.tile(&self.sizes, i),
        })
    }

    /// The keys in blocks.
    #[inline(always)]
    pub(super) fn key_blocks(&self) -> impl DoubleEndedIterator<Item = KeyBlock> {
        let sizes = self.sizes;
        let apart = sizes.features * sizes.stride;
        let keys = self.memory.keys.wrapping_add(self.offset * sizes.stride);
        let blocks = blocks(self.len, sizes.block).enumerate();
        blocks.map(move |(block, (first, count))| KeyBlock {
            first,
            count,
            at: keys.wrapping_add(block * apart),
        })
    }

    /// The keys that are stored before a block. For the first block there are none, and nothing is
    /// read there.
    #[inline(always)]
    pub(super) fn keys_before(&self, keys: KeyBlock) -> *const f32 {
        keys.at
            .wrapping_sub(self.sizes.features * self.sizes.stride)
    }

    /// The scores that are used after those of tile `i` of a group and `keys`; nothing is read
    /// there.
    #[inline(always)]
    pub(super) fn scores_after(
        &self,
        tiles: usize,
        i: usize,
        width: usize,
        keys: KeyRange,
    ) -> *const f32 {
        let (tile, key) = match i + 1 < tiles {
            true => (i + 1, keys.first),
            false => (0, keys.first + KEY_BLOCK),
        };
        let next = self.memory.tile(&self.sizes, tile);
        next.scores.wrapping_add(key * width)
    }

    /// Keys as `[feature, key]`, rotated.
    #[inline(always)]
    pub(super) unsafe fn take_keys(&self) {
        let stride = self.sizes.stride;
        for KeyBlock { first, count, at } in self.key_blocks() {
            let to = at.wrapping_sub(self.offset * stride);
            // SAFETY: the caller's.
            unsafe {
                for c in 0..self.chunks() {
                    for t in (0..count).step_by(S::LANES) {
                        let to = to.add(c * S::LANES * stride + t);
                        S::transpose(self.at(self.k, c, first + t), S::LANES, to, stride);
                    }
                }
                self.rotate(to, stride, first, count, 1.0);
            }
        }
    }

    /// The queries of a tile as `[feature, query]`, rotated, for scores in units of ln 2: softmax
    /// then takes powers of two.
    #[inline(always)]
    pub(super) unsafe fn take_queries<const N: usize>(&self, tile: &QueryTile) {
        let QueryTile { first, count, .. } = *tile;
        let scale = score_scale(self.head_dim) * std::f32::consts::LOG2_E;
        let (to, stride) = (tile.memory.queries, N * S::LANES);
        let end = self.offset + self.head_dim;
        for c in 0..self.chunks() {
            let start = (c * S::LANES).max(self.offset);
            let features = end.min((c + 1) * S::LANES) - start;
            for t in (0..count).step_by(S::LANES) {
                let tokens = S::LANES.min(count - t);
                let from = self.at(self.q, c, first + t);
                // SAFETY: the caller's; only this head's lanes of this tile's tokens are read,
                // because other threads may write the others.
                unsafe {
                    let to = to.add(c * S::LANES * stride + t);
                    if tokens == S::LANES && features == S::LANES {
                        S::transpose(from, S::LANES, to, stride);
                        continue;
                    }
                    let square = self.memory.square;
                    for i in 0..tokens {
                        let at = i * S::LANES + start % S::LANES;
                        copy_features(from.add(at), square.add(at), features);
                    }
                    S::transpose(square, S::LANES, to, stride);
                }
            }
        }
        // SAFETY: the caller's.
        unsafe { self.rotate(to, stride, first, count, scale) }
    }

    /// Scales and rotates `count` tokens `[feature, token]` in place, in whole vectors. The first
    /// is at position `first`.
    #[inline(always)]
    unsafe fn rotate(&self, to: *mut f32, stride: usize, first: usize, count: usize, scale: f32) {
        // SAFETY: the caller's.
        unsafe {
            let to = to.add(self.offset * stride);
            match self.rotary {
                Some(table) => table.rotate::<S>(to, stride, count, first, scale),
                None if scale != 1.0 => {
                    for f in 0..self.head_dim {
                        for t in (0..count).step_by(S::LANES) {
                            let at = to.add(f * stride + t);
                            S::store(at, S::mul(S::load(at), S::splat(scale)));
                        }
                    }
                }
                None => {}
            }
        }
    }

    /// Divides a tile's output by the sums of the probabilities and replaces its queries with it.
    #[inline(always)]
    pub(super) unsafe fn finish<const N: usize>(&self, tile: &QueryTile) {
        // SAFETY: the caller's.
        unsafe {
            let total = load::<S, N>(tile.total());
            for f in self.offset..self.offset + self.head_dim {
                for (j, t) in total.iter().enumerate() {
                    let at = tile.memory.output.add((f * N + j) * S::LANES);
                    S::store(at, S::div(S::load(at), *t));
                }
            }
            self.write_output::<N>(tile);
        }
    }

    /// Replaces the tile's queries with its output.
    #[inline(always)]
    unsafe fn write_output<const N: usize>(&self, tile: &QueryTile) {
        let QueryTile { first, count, .. } = *tile;
        let width = N * S::LANES;
        let end = self.offset + self.head_dim;
        for c in 0..self.chunks() {
            let start = (c * S::LANES).max(self.offset);
            let features = end.min((c + 1) * S::LANES) - start;
            for t in (0..count).step_by(S::LANES) {
                let tokens = S::LANES.min(count - t);
                let to = self.at(self.q, c, first + t);
                // SAFETY: the caller's; only this head's lanes of this tile's tokens are
                // written in the tensor.
                unsafe {
                    let from = tile.memory.output.add(c * S::LANES * width + t);
                    if tokens == S::LANES && features == S::LANES {
                        S::transpose(from, width, to, S::LANES);
                        continue;
                    }
                    let square = self.memory.square;
                    S::transpose(from, width, square, S::LANES);
                    for i in 0..tokens {
                        let at = i * S::LANES + start % S::LANES;
                        copy_features(square.add(at), to.add(at), features);
                    }
                }
            }
        }
    }
}

/// Copies `count` features. Most heads have a multiple of eight, for which no function is called.
///
/// # Safety
/// `from` is readable and `to` writable for `count` numbers, and they do not overlap.
#[inline(always)]
unsafe fn copy_features(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's.
    unsafe {
        if count.is_multiple_of(8) {
            for f in (0..count).step_by(8) {
                std::ptr::copy_nonoverlapping(from.add(f), to.add(f), 8);
            }
        } else {
            std::ptr::copy_nonoverlapping(from, to, count);
        }
    }
}
