//! Prefetching: what is needed soon is requested from memory while something else is computed.
//!
//! By itself, the processor prefetches within a page at best. A burst of requests fills the buffers
//! that other loads need; therefore they are spread over the work.

use super::simd::Simd;

/// Rows of a tile's width to request, whose two vectors may be apart.
#[derive(Clone, Copy)]
pub(crate) struct Prefetch {
    at: *const u8,
    /// Bytes from one row to the next, and from a row's first vector to its second.
    row: usize,
    vector: usize,
    rows: usize,
}

impl Prefetch {
    /// `rows` rows from `at` on, `row` elements apart, whose vectors are `vector` elements apart.
    /// Nothing is read there.
    pub(crate) fn new<T>(at: *const T, row: usize, vector: usize, rows: usize) -> Prefetch {
        Prefetch {
            at: at.cast(),
            row: row * size_of::<T>(),
            vector: vector * size_of::<T>(),
            rows,
        }
    }

    /// Only the element at `at`, which is in the cache: this is cheaper than a branch for every
    /// chunk.
    pub(crate) fn nothing<T>(at: *const T) -> Prefetch {
        Prefetch::new(at, 0, 0, 0)
    }

    /// Splits off the first of `parts` parts; `self` keeps the rest.
    pub(crate) fn split(&mut self, parts: usize) -> Prefetch {
        let first = Prefetch {
            rows: self.rows.div_ceil(parts.max(1)),
            ..*self
        };
        self.at = self.at.wrapping_add(first.rows * self.row);
        self.rows -= first.rows;
        first
    }

    /// Rows of each request if all rows are to be requested in `times` requests.
    pub(crate) fn portion(&self, times: usize) -> usize {
        self.rows.div_ceil(times.max(1))
    }

    /// Requests the next row, into the first level of the cache (`NEAR`) or the second. After the
    /// last row it requests that row again.
    #[inline(always)]
    pub(crate) fn request<S: Simd, const NEAR: bool>(&mut self) {
        for at in [self.at, self.at.wrapping_add(self.vector)] {
            match NEAR {
                true => S::prefetch_near(at),
                false => S::prefetch(at),
            }
        }
        let more = self.rows > 1;
        self.at = self.at.wrapping_add(if more { self.row } else { 0 });
        self.rows -= usize::from(more);
    }

    /// Requests the next `rows` rows into the second level.
    #[inline(always)]
    pub(crate) fn request_rows<S: Simd>(&mut self, rows: usize) {
        for _ in 0..rows {
            self.request::<S, false>();
        }
    }

    /// Requests all rows into the second level.
    #[inline(always)]
    pub(crate) fn request_all<S: Simd>(mut self) {
        self.request_rows::<S>(self.rows);
    }
}

#[cfg(test)]
mod tests {
    use super::Prefetch;

    #[test]
    fn parts_cover_every_row_once() {
        for rows in [0, 1, 16, 255, 256] {
            for parts in [1, 2, 18, 36, 300] {
                let mut all = Prefetch::new::<f32>(std::ptr::null(), 32, 16, rows);
                let (mut next, mut at) = (0, 0);
                for left in (1..=parts).rev() {
                    let part = all.split(left);
                    assert_eq!(part.at as usize, at);
                    assert!(part.portion(16) * 16 >= part.rows);
                    next += part.rows;
                    at += part.rows * 128;
                }
                assert_eq!((next, all.rows), (rows, 0));
            }
        }
    }
}
