//! The register tile under every matrix product: `acc[i][j] += Σₖ a[k][i] · b[k][j]`.
//!
//! One accumulator per output element, and k in ascending order: the bits of an element depend only
//! on its row of `a` and its column of `b`, not on the height of the tile or on other elements.

use super::simd::Simd;

/// Vectors of one tile row: a full tile is `ROWS × (2 · LANES)`.
pub(crate) const VECTORS: usize = 2;

/// Columns of a full tile.
#[inline(always)]
pub(crate) const fn width<S: Simd>() -> usize {
    VECTORS * S::LANES
}

/// Largest number of columns of any path, for buffers on the stack.
pub(crate) const MAX_WIDTH: usize = 32;
/// Largest number of lanes of any path.
pub(crate) const MAX_LANES: usize = MAX_WIDTH / VECTORS;
/// Largest number of rows of any path.
pub(crate) const MAX_ROWS: usize = 14;

/// Accumulates `depth` steps into `acc`.
///
/// Row i of step k is `a[k · a_stride + i]`; column j is `b[k · b_stride + j]`.
///
/// # Safety
/// `a` is readable for `M` elements and `b` for `N · LANES` elements at every step, and the
/// processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, const M: usize, const N: usize>(
    depth: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    acc: &mut [[S::V; N]; M],
) {
    let (mut a, mut b) = (a, b);
    for _ in 0..depth {
        // SAFETY: within the elements of the step by the caller's contract; after the last step,
        // the pointers are not read.
        unsafe {
            let mut columns = [S::splat(0.0); N];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = S::load(b.add(j * S::LANES));
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let x = S::splat(*a.add(i));
                for (sum, column) in row.iter_mut().zip(&columns) {
                    *sum = S::fma(x, *column, *sum);
                }
            }
            a = a.wrapping_add(a_stride);
            b = b.wrapping_add(b_stride);
        }
    }
}

/// Calls `$body` with the constant `$M` equal to `$rows` (1 ..= 14).
///
/// Every height is compiled, so that a short tile wastes no rows and has the same order of
/// operations as a full one.
macro_rules! with_rows {
    ($rows:expr, $M:ident, $body:block) => {
        match $rows {
            1 => {
                const $M: usize = 1;
                $body
            }
            2 => {
                const $M: usize = 2;
                $body
            }
            3 => {
                const $M: usize = 3;
                $body
            }
            4 => {
                const $M: usize = 4;
                $body
            }
            5 => {
                const $M: usize = 5;
                $body
            }
            6 => {
                const $M: usize = 6;
                $body
            }
            rows if S::ROWS > 6 => match rows {
                7 => {
                    const $M: usize = 7;
                    $body
                }
                8 => {
                    const $M: usize = 8;
                    $body
                }
                9 => {
                    const $M: usize = 9;
                    $body
                }
                10 => {
                    const $M: usize = 10;
                    $body
                }
                11 => {
                    const $M: usize = 11;
                    $body
                }
                12 => {
                    const $M: usize = 12;
                    $body
                }
                13 => {
                    const $M: usize = 13;
                    $body
                }
                14 => {
                    const $M: usize = 14;
                    $body
                }
                _ => unreachable!("a tile has up to ROWS rows"),
            },
            _ => unreachable!("a tile has up to ROWS rows"),
        }
    };
}
pub(crate) use with_rows;

/// Splits `rows` into tiles of nearly equal height, up to `limit`: (start, height) each.
pub(crate) fn heights(rows: usize, limit: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = rows.div_ceil(limit).max(1);
    let (each, extra) = (rows / tiles, rows % tiles);
    (0..tiles)
        .map(move |t| (t * each + t.min(extra), each + usize::from(t < extra)))
        .filter(|&(_, height)| height > 0)
}

#[cfg(test)]
mod tests {
    use super::heights;

    #[test]
    fn heights_cover_every_row_once_and_are_nearly_equal() {
        for most in [6, 14] {
            for rows in 0..200 {
                let mut next = 0;
                let all: Vec<_> = heights(rows, most).collect();
                for &(start, height) in &all {
                    assert_eq!(start, next);
                    assert!((1..=most).contains(&height));
                    next += height;
                }
                assert_eq!(next, rows);
                assert_eq!(all.len(), rows.div_ceil(most));
            }
        }
    }
}
