//! How many rows a matrix product has. Pure.
//!
//! A row has the same bits in products with a few fixed numbers of rows, which the self-test proves. A
//! batch is cut into pieces of these heights, and the last piece is padded.

/// Rows of the smaller products. Fewer than 256 take as long as 256.
const SMALLER: [usize; 3] = [256, 1024, 4096];

/// Rows of a slab for each multiprocessor, so that each has some tiles to compute.
const OF_MULTIPROCESSOR: usize = 128;

/// The fixed cost of a product, in rows: it has to be started, and few rows do not fill the GPU.
const OVERHEAD: usize = 768;

/// The heights of products on a GPU, ascending. The last is that of a slab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heights(Vec<usize>);

impl Heights {
    /// For a GPU with this number of multiprocessors.
    pub(super) fn of(multiprocessors: usize) -> Heights {
        let slab = (OF_MULTIPROCESSOR * multiprocessors).max(SMALLER[0]);
        let smaller = SMALLER.into_iter().filter(|height| *height < slab);
        Heights(smaller.chain([slab]).collect())
    }

    /// Rows of a slab.
    pub(super) fn slab(&self) -> usize {
        self.0.last().copied().unwrap_or(SMALLER[0])
    }

    pub(super) fn all(&self) -> &[usize] {
        &self.0
    }

    /// The pieces of `rows` rows, the largest first: whole slabs, and the cheapest pieces for the rest.
    pub(super) fn pieces(&self, rows: usize) -> Vec<usize> {
        let slabs = rows / self.slab();
        let mut all = vec![self.slab(); slabs];
        all.extend(self.rest(rows % self.slab(), self.0.len()));
        all
    }

    /// Slabs of `rows` rows, and the rest as it is: for products that take any number of rows.
    pub(super) fn unpadded(&self, rows: usize) -> Vec<usize> {
        let mut all = vec![self.slab(); rows / self.slab()];
        all.extend(Some(rows % self.slab()).filter(|rest| *rest > 0));
        all
    }

    /// Whole slabs for `rows` rows.
    pub(super) fn slabs(&self, rows: usize) -> Vec<usize> {
        vec![self.slab(); rows.div_ceil(self.slab())]
    }

    /// The cheapest pieces of the first `count` heights.
    fn rest(&self, rows: usize, count: usize) -> Vec<usize> {
        let Some((&height, last)) = self.0.get(..count).and_then(<[usize]>::split_last) else {
            return Vec::new();
        };
        if rows == 0 {
            return Vec::new();
        }
        if last.is_empty() {
            return vec![height; rows.div_ceil(height)];
        }
        let mut cut = vec![height; rows / height];
        cut.extend(self.rest(rows % height, count - 1));
        let padded = vec![height; rows.div_ceil(height)];
        match cost(&padded) <= cost(&cut) {
            true => padded,
            false => cut,
        }
    }
}

/// Pieces in order, in parts of at most `rows` rows each. A higher piece is a part by itself.
pub(super) fn parts(pieces: &[usize], rows: usize) -> Vec<&[usize]> {
    let (mut all, mut left) = (Vec::new(), pieces);
    while let Some((first, rest)) = left.split_first() {
        let mut height = *first;
        let more = rest.iter().take_while(|piece| {
            height = height.saturating_add(**piece);
            height <= rows
        });
        let (part, after) = left.split_at(1 + more.count());
        all.push(part);
        left = after;
    }
    all
}

fn cost(pieces: &[usize]) -> usize {
    pieces.iter().map(|height| height + OVERHEAD).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_follow_from_the_gpu() {
        assert_eq!(Heights::of(132).all(), [256, 1024, 4096, 16_896]);
        assert_eq!(Heights::of(14).all(), [256, 1024, 1792]);
        assert_eq!(Heights::of(8).all(), [256, 1024]);
        assert_eq!(Heights::of(0).all(), [256]);
    }

    #[test]
    fn pieces_cost_little() {
        let heights = Heights::of(132);
        for (rows, pieces) in [
            (0, vec![]),
            (1, vec![256]),
            (256, vec![256]),
            (257, vec![1024]),
            (1025, vec![1024, 256]),
            (1500, vec![1024, 1024]),
            (3000, vec![4096]),
            (4096, vec![4096]),
            (5000, vec![4096, 1024]),
            (12_000, vec![4096, 4096, 4096]),
            (16_896, vec![16_896]),
            (17_000, vec![16_896, 256]),
            (33_000, vec![16_896, 16_896]),
        ] {
            assert_eq!(heights.pieces(rows), pieces, "{rows}");
        }
        assert_eq!(heights.slabs(17_000), [16_896, 16_896]);
        assert_eq!(heights.unpadded(17_000), [16_896, 104]);
        assert_eq!(heights.unpadded(16_896), [16_896]);
    }

    #[test]
    fn parts_are_as_high_as_allowed() {
        let pieces = [1024, 1024, 256, 256, 256];
        let parts = |rows| super::parts(&pieces, rows);
        assert_eq!(parts(1024), [&pieces[..1], &pieces[1..2], &pieces[2..]]);
        assert_eq!(parts(1300), [&pieces[..1], &pieces[1..3], &pieces[3..]]);
        assert_eq!(parts(300).len(), 5);
        assert_eq!(parts(usize::MAX), [&pieces]);
        assert!(super::parts(&[], 1024).is_empty());
    }

    #[test]
    fn pieces_hold_all_rows_and_only_the_last_is_padded() {
        for multiprocessors in [1, 8, 14, 46, 132] {
            let heights = Heights::of(multiprocessors);
            for rows in (1..3 * heights.slab()).step_by(97) {
                let pieces = heights.pieces(rows);
                let all: usize = pieces.iter().sum();
                assert!(all >= rows, "{rows}");
                assert!(all - pieces.last().unwrap() < rows, "{rows}: {pieces:?}");
                assert!(pieces.iter().all(|height| heights.all().contains(height)));
                assert!(pieces.is_sorted_by(|a, b| a >= b));
            }
        }
    }
}
