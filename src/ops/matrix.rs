//! How operations hand rows to each other.
//!
//! Between two products a matrix `[rows, features]` lies in chunks of one vector's width:
//! `[features / lanes, rows, lanes]`. The next product reads it as it is, so that nothing is
//! packed twice: the element of row t and feature f is `(f / lanes · stride + t) · lanes +
//! f % lanes`, with `stride` rows in the buffer. Features are padded with zeros to whole tiles.

use super::simd::{CpuPath, Kernel, Simd};
use super::tile;

/// A matrix in chunks, from some row of a buffer on.
#[derive(Clone, Copy)]
pub(super) struct Chunked {
    /// Its first row's element 0.
    pub(super) at: *mut f32,
    /// Rows of the whole buffer.
    pub(super) stride: usize,
}

impl Chunked {
    /// The same matrix from `rows` further rows on, for vectors of `lanes`.
    pub(super) fn skip(self, rows: usize, lanes: usize) -> Chunked {
        Chunked {
            at: self.at.wrapping_add(rows * lanes),
            stride: self.stride,
        }
    }
}

// SAFETY: a pointer that threads follow to rows of their own; each use says which.
unsafe impl Send for Chunked {}
// SAFETY: as above.
unsafe impl Sync for Chunked {}

/// A matrix `[rows, width]`, row after row.
#[derive(Clone, Copy)]
pub(super) struct RowMajor {
    /// Its first element.
    pub(super) at: *mut f32,
    /// Elements of a row.
    pub(super) width: usize,
}

impl RowMajor {
    /// The same matrix from `rows` further rows on.
    pub(super) fn skip(self, rows: usize) -> RowMajor {
        RowMajor {
            at: self.at.wrapping_add(rows * self.width),
            width: self.width,
        }
    }
}

// SAFETY: as for `Chunked`.
unsafe impl Send for RowMajor {}
// SAFETY: as above.
unsafe impl Sync for RowMajor {}

/// Elements of one vector of a path, and columns of its tile.
pub(super) fn lanes(path: CpuPath) -> usize {
    struct Lanes;
    impl Kernel for Lanes {
        type Output = usize;
        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> usize {
            S::LANES
        }
    }
    path.dispatch(Lanes)
}

/// Features with their padding: whole tiles of the path.
pub fn padded(features: usize, path: CpuPath) -> usize {
    features.next_multiple_of(tile::VECTORS * lanes(path))
}
