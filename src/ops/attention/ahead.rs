//! What the tiles of a group request from memory for each other.

use crate::ops::prefetch::Prefetch;

/// Floats of two cache lines, which are requested together.
const ROW: usize = 32;

/// While one tile of a group works on a block of keys, it requests the scores of the next tile, and a
/// share of the next block's keys or values, which all tiles need.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// The tile's index in the group, and the tiles of the group; zero tiles request nothing.
    pub(super) tile: usize,
    pub(super) tiles: usize,
    /// Scores of the next tile.
    pub(super) scores: *const f32,
}

impl Ahead {
    /// The next tile's scores of a block, `len` floats.
    pub(super) fn scores(&self, len: usize) -> Prefetch {
        match self.tiles {
            0 => Prefetch::nothing(self.scores),
            _ => Prefetch::new(self.scores, ROW, ROW / 2, len.div_ceil(ROW)),
        }
    }

    /// This tile's share of `len` floats from `at` on.
    pub(super) fn share(&self, at: *const f32, len: usize) -> Prefetch {
        if self.tiles == 0 {
            return Prefetch::nothing(at);
        }
        let rows = len.div_ceil(ROW * self.tiles);
        let at = at.wrapping_add(self.tile * rows * ROW);
        Prefetch::new(at, ROW, ROW / 2, rows)
    }
}
