//! How a product is cut into blocks: along the inner dimension, and along the rows.

use crate::ops::tile::MAX_LANES;

/// The most steps of the inner dimension that are summed in registers: one panel's block of them,
/// 32 KiB at 32 columns, stays in the first-level cache for all rows. Short sums also round less.
/// A step is 32 bits of a row: one feature, or two in fixed point.
const MOST: usize = 256;

/// Blocks that all panels see before the next ones: [`row_block`] rows of them stay in the
/// second-level cache.
pub(super) const SPAN: usize = 3;

/// Blocks of an inner dimension of so many steps.
pub(in crate::ops) fn blocks(steps: usize) -> usize {
    steps.div_ceil(MOST)
}

/// Steps of each of these blocks, which are of nearly equal size; the last one may have fewer.
pub(in crate::ops) fn block_depth(steps: usize) -> usize {
    let each = steps.max(1).div_ceil(blocks(steps).max(1));
    each.next_multiple_of(MAX_LANES)
}

/// Whether a panel is left before its sums are complete, so that those of all panels are kept.
pub(in crate::ops) fn keeps_sums(steps: usize) -> bool {
    blocks(steps) > SPAN
}

/// Rows that a block of so many features works together: many, to read each weight seldom; few,
/// so that the inner layer of a small model stays in the second-level cache.
pub(in crate::ops) fn row_block(features: usize) -> usize {
    match features {
        ..=320 => 252,
        _ => 504,
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, block_depth, blocks};
    use crate::ops::tile::MAX_LANES;

    #[test]
    fn blocks_are_few_and_nearly_equal() {
        for steps in (8..6000).step_by(8) {
            let depth = block_depth(steps);
            let blocks = blocks(steps);
            assert_eq!(steps.div_ceil(depth), blocks);
            assert_eq!(steps.div_ceil(MOST), blocks);
            assert!(depth <= MOST && depth.is_multiple_of(MAX_LANES));
            let last = steps - (blocks - 1) * depth;
            assert!(
                depth - last < blocks * MAX_LANES,
                "{steps}: {depth}, {last}"
            );
        }
    }
}
