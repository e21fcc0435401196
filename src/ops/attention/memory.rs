//! The working memory of one head.

use super::head::KEY_BLOCK;
use crate::ops::tile::VECTORS;

/// Tokens above which several tiles of queries go through the keys together: keys and values of shorter
/// sequences stay in the second-level cache.
const LONG: usize = 2048;
/// Queries that go through the keys of a long sequence together.
pub const QUERY_GROUP: usize = 128;
/// Floats of the scores of such a group, unless one tile has more: full groups up to 131,072 tokens. Memory
/// matters more than the rate in still longer sequences, which take days.
const GROUP_SCORES: usize = 1 << 24;
/// Keys of a long sequence that are stored together: whole tiles of every path, an odd number of
/// vectors of sixteen lanes, and less than a second-level cache.
const SHARED_KEYS: usize = 336;

/// Floats of working memory that one head of one sequence needs.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Queries of a full tile.
    pub(super) width: usize,
    /// Tiles of queries that go through the keys together.
    pub(super) tiles: usize,
    /// Features with their padding.
    pub(super) features: usize,
    /// Keys that are stored together.
    pub(super) block: usize,
    /// Elements between features of such keys: an odd number of vectors, so that features do not
    /// share the same sets of a cache.
    pub(super) stride: usize,
    /// Keys, `[blocks, features, stride]`.
    keys: usize,
    /// Queries and outputs of a tile, `[features, width]` each.
    tile: usize,
    /// Scores of a tile, `[len, width]`.
    scores: usize,
    /// LANES × LANES, for heads that do not fill chunks.
    square: usize,
    /// In fixed point: scales of the keys, `[len]`; values, `[len / 2, features]`, and their
    /// scales, `[blocks of keys, features]`.
    fixed: [usize; 3],
}

/// Numbers of each query of a tile: see [`super::query_tile::QueryTile`].
const STATISTICS: usize = 3;

impl Sizes {
    pub(super) fn new(head_dim: usize, len: usize, lanes: usize, fixed: bool) -> Sizes {
        let width = VECTORS * lanes;
        // A head that does not start at a chunk reaches into one more.
        let features = head_dim.next_multiple_of(lanes) + lanes;
        let (block, tiles) = match len > LONG {
            true => {
                let tiles = GROUP_SCORES / (len * width);
                (SHARED_KEYS, tiles.clamp(1, QUERY_GROUP / width))
            }
            false => (len.max(1), 1),
        };
        let stride = (block.div_ceil(lanes) | 1) * lanes;
        Sizes {
            width,
            tiles,
            features,
            block,
            stride,
            keys: len.div_ceil(block) * features * stride,
            tile: features * width,
            scores: len * width,
            square: lanes * lanes,
            fixed: match fixed {
                true => [
                    len.next_multiple_of(lanes),
                    len.div_ceil(2) * features,
                    len.div_ceil(KEY_BLOCK) * features,
                ],
                false => [0; 3],
            },
        }
    }

    /// Floats of one tile of queries.
    fn of_tile(&self) -> usize {
        2 * self.tile + self.scores + STATISTICS * self.width
    }

    pub(super) fn total(&self) -> usize {
        let fixed: usize = self.fixed.iter().sum();
        self.keys + self.tiles * self.of_tile() + self.square + fixed
    }
}

/// Working memory, see [`Sizes`].
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) keys: *mut f32,
    /// The first tile of queries; the next follows after [`Sizes::of_tile`].
    tiles: *mut f32,
    pub(super) square: *mut f32,
    pub(super) key_scales: *mut f32,
    pub(super) values: *mut f32,
    pub(super) value_scales: *mut f32,
}

/// The memory of one tile of queries.
#[derive(Clone, Copy)]
pub(super) struct TileMemory {
    /// `[features, width]`
    pub(super) queries: *mut f32,
    /// `[features, width]`
    pub(super) output: *mut f32,
    /// `[len, width]`
    pub(super) scores: *mut f32,
    /// `[width]` each.
    pub(super) statistics: [*mut f32; STATISTICS],
}

impl Memory {
    /// # Panics
    /// The buffer is smaller than [`Sizes::total`].
    pub(super) fn new(buffer: &mut [f32], sizes: &Sizes) -> Memory {
        let mut rest = &mut buffer[..sizes.total()];
        let mut take = |len: usize| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(len);
            rest = others;
            part.as_mut_ptr()
        };
        Memory {
            keys: take(sizes.keys),
            tiles: take(sizes.tiles * sizes.of_tile()),
            square: take(sizes.square),
            key_scales: take(sizes.fixed[0]),
            values: take(sizes.fixed[1]),
            value_scales: take(sizes.fixed[2]),
        }
    }

    /// The memory of tile i.
    pub(super) fn tile(&self, sizes: &Sizes, i: usize) -> TileMemory {
        let queries = self.tiles.wrapping_add(i * sizes.of_tile());
        let output = queries.wrapping_add(sizes.tile);
        let scores = output.wrapping_add(sizes.tile);
        let statistics = scores.wrapping_add(sizes.scores);
        TileMemory {
            queries,
            output,
            scores,
            statistics: std::array::from_fn(|row| statistics.wrapping_add(row * sizes.width)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_queries_takes_little_memory_beside_one_tile() {
        for lanes in [4, 8, 16] {
            let sizes = |len| Sizes::new(64, len, lanes, false);
            let width = sizes(1).width;
            assert_eq!(sizes(2048).tiles, 1);
            assert_eq!(sizes(2049).tiles, QUERY_GROUP / width);
            assert_eq!(sizes(131_072).tiles, QUERY_GROUP / width);
            assert_eq!(sizes(131_073).tiles, QUERY_GROUP / width - 1);
            // One tile's scores and the keys: nothing else grows with the length.
            let giant = sizes(3_000_000);
            assert_eq!(giant.tiles, (GROUP_SCORES / (width * 3_000_000)).max(1));
            let least = giant.keys + giant.scores;
            assert!(giant.total() - least <= GROUP_SCORES);
        }
    }
}
