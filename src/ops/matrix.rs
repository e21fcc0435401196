//! How operations hand rows to each other.
//!
//! Between two products, a matrix `[rows, features]` is stored in chunks of one vector's width:
//! `[features / lanes, stride, lanes]`. The next product reads it in this form, so nothing is
//! packed twice. The element of row t and feature f is at
//! `(f / lanes · stride + t) · lanes + f % lanes`, where `stride` is the number of rows in the
//! buffer. Features are padded with zeros to whole tiles.

use super::simd::{CpuPath, Kernel, Simd};
use super::tile;
use std::marker::PhantomData;

/// The memory of a matrix in chunks. Kernels use it after they have checked the extent of the
/// [`Chunked`] or [`ChunkedMut`] it comes from.
#[derive(Clone, Copy)]
pub(super) struct Chunks {
    /// Element 0 of the first row.
    pub(super) at: *mut f32,
    /// Rows of the buffer.
    pub(super) stride: usize,
}

/// Sizes of a matrix in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) rows: usize,
    pub(super) chunks: usize,
    pub(super) lanes: usize,
}

/// Rows of a matrix in chunks, for reading.
#[derive(Clone, Copy)]
pub(super) struct Chunked<'a> {
    chunks: Chunks,
    extent: Extent,
    values: PhantomData<&'a [f32]>,
}

/// Rows of a matrix in chunks, for reading and writing.
pub(super) struct ChunkedMut<'a> {
    chunks: Chunks,
    extent: Extent,
    values: PhantomData<&'a mut [f32]>,
}

impl Chunks {
    /// The same chunks from row `first` on.
    fn starting_at(self, first: usize, lanes: usize) -> Chunks {
        Chunks {
            at: self.at.wrapping_add(first * lanes),
            ..self
        }
    }
}

impl Extent {
    /// All rows of a buffer of `len` elements.
    fn of_buffer(len: usize, stride: usize, lanes: usize) -> Extent {
        Extent {
            rows: stride,
            chunks: len / (stride * lanes).max(1),
            lanes,
        }
    }

    /// Features, padding included.
    pub(super) fn features(self) -> usize {
        self.chunks * self.lanes
    }
}

impl<'a> Chunked<'a> {
    /// A whole buffer, `[chunks, stride, lanes]`.
    pub(super) fn new(values: &'a [f32], stride: usize, lanes: usize) -> Chunked<'a> {
        Chunked {
            chunks: Chunks {
                // Never written: this type only hands it to kernels that read.
                at: values.as_ptr().cast_mut(),
                stride,
            },
            extent: Extent::of_buffer(values.len(), stride, lanes),
            values: PhantomData,
        }
    }

    /// `rows` rows from row `first` on.
    ///
    /// # Panics
    /// There are fewer.
    pub(super) fn rows(self, first: usize, rows: usize) -> Chunked<'a> {
        assert!(first <= self.extent.rows && rows <= self.extent.rows - first);
        Chunked {
            chunks: self.chunks.starting_at(first, self.extent.lanes),
            extent: Extent {
                rows,
                ..self.extent
            },
            ..self
        }
    }

    pub(super) fn extent(self) -> Extent {
        self.extent
    }

    /// For kernels, which may read rows and chunks inside the extent for as long as the matrix
    /// is borrowed.
    pub(super) fn chunks(self) -> Chunks {
        self.chunks
    }
}

impl<'a> ChunkedMut<'a> {
    /// A whole buffer, `[chunks, stride, lanes]`.
    pub(super) fn new(values: &'a mut [f32], stride: usize, lanes: usize) -> ChunkedMut<'a> {
        ChunkedMut {
            extent: Extent::of_buffer(values.len(), stride, lanes),
            chunks: Chunks {
                at: values.as_mut_ptr(),
                stride,
            },
            values: PhantomData,
        }
    }

    /// The rows in consecutive parts, `(first, rows)` each.
    ///
    /// # Panics
    /// The parts do not follow each other, or reach past the last row.
    pub(super) fn split(self, parts: &[(usize, usize)]) -> Vec<ChunkedMut<'a>> {
        let mut next = 0;
        let part = |&(first, rows): &(usize, usize)| {
            // No row is in two parts.
            assert!(first == next && rows <= self.extent.rows - first);
            next = first + rows;
            ChunkedMut {
                chunks: self.chunks.starting_at(first, self.extent.lanes),
                extent: Extent {
                    rows,
                    ..self.extent
                },
                values: PhantomData,
            }
        };
        parts.iter().map(part).collect()
    }

    /// Another way to the rows from row `first` on.
    ///
    /// # Safety
    /// No element that is written through one of the matrices is used through another at the same
    /// time.
    ///
    /// # Panics
    /// There are fewer rows.
    pub(super) unsafe fn shared_rows(&self, first: usize) -> ChunkedMut<'_> {
        assert!(first <= self.extent.rows);
        ChunkedMut {
            chunks: self.chunks.starting_at(first, self.extent.lanes),
            extent: Extent {
                rows: self.extent.rows - first,
                ..self.extent
            },
            values: PhantomData,
        }
    }

    pub(super) fn reborrow(&mut self) -> ChunkedMut<'_> {
        ChunkedMut { ..*self }
    }

    /// The same rows for reading.
    pub(super) fn as_ref(&self) -> Chunked<'_> {
        Chunked {
            chunks: self.chunks,
            extent: self.extent,
            values: PhantomData,
        }
    }

    pub(super) fn extent(&self) -> Extent {
        self.extent
    }

    /// For kernels, which may read and write rows and chunks inside the extent for as long as the
    /// matrix is borrowed.
    pub(super) fn chunks(&mut self) -> Chunks {
        self.chunks
    }
}

// SAFETY: it is a shared borrow of floats.
unsafe impl Send for Chunked<'_> {}
// SAFETY: as above.
unsafe impl Sync for Chunked<'_> {}
// SAFETY: it is an exclusive borrow of floats; through a shared reference they are only read,
// except where the caller of `shared_rows` answers for it.
unsafe impl Send for ChunkedMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for ChunkedMut<'_> {}

/// The rows of a matrix `[rows, width]` in consecutive parts, `(first, rows)` each.
///
/// # Panics
/// The parts do not follow each other, or reach past the last row.
pub(super) fn split_rows<'a>(
    values: &'a mut [f32],
    width: usize,
    parts: &[(usize, usize)],
) -> Vec<&'a mut [f32]> {
    let (mut next, mut rest) = (0, values);
    let part = |&(first, rows): &(usize, usize)| {
        assert_eq!(first, next);
        next = first + rows;
        let (part, left) = std::mem::take(&mut rest).split_at_mut(rows * width);
        rest = left;
        part
    };
    parts.iter().map(part).collect()
}

/// Elements of one vector of a path, which are also the features of a chunk.
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

#[cfg(test)]
mod tests {
    use super::{Chunked, ChunkedMut, Extent, split_rows};

    #[test]
    fn parts_of_a_matrix_are_its_rows() {
        // Two chunks of three rows of two lanes.
        let mut values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let last = Extent {
            rows: 2,
            chunks: 2,
            lanes: 2,
        };
        let part = Chunked::new(&values, 3, 2).rows(1, 2);
        assert_eq!((part.extent(), last.features()), (last, 4));
        // SAFETY: element 0 of row 0 of chunk 1 is inside the extent.
        assert_eq!(unsafe { *part.chunks().at.add(3 * 2) }, 8.0);

        let mut parts = ChunkedMut::new(&mut values, 3, 2).split(&[(0, 1), (1, 2)]);
        assert_eq!(parts[1].extent(), last);
        // SAFETY: element 0 of row 0 of chunk 0 is inside the extent.
        unsafe { *parts[1].chunks().at = 20.0 };
        drop(parts);
        assert_eq!(values[2], 20.0);

        let parts = split_rows(&mut values, 4, &[(0, 1), (1, 2)]);
        assert_eq!((parts[0].len(), parts[1][0], parts[1].len()), (4, 4.0, 8));
    }
}
