//! How a product is cut into blocks: along the inner dimension, and along the rows.

use crate::ops::tile::MAX_LANES;

/// Upper limit for the steps of the inner dimension that are summed in registers: one panel's block
/// of this depth, 32 KiB at 32 columns, stays in the first-level cache for all rows. Short sums
/// also round less. A step is 32 bits of a row: one feature, or two in fixed point.
const MAX_DEPTH: usize = 256;

/// Blocks that all panels are multiplied with before the next ones: [`row_block`] rows of them stay
/// in the second-level cache.
pub(super) const SPAN: usize = 3;

/// Steps of each block of an inner dimension of `steps` steps, a multiple of [`MAX_LANES`]. The
/// blocks are as few as possible and of nearly equal size; the last may be shorter.
pub(super) fn block_depth(steps: usize) -> usize {
    let blocks = steps.div_ceil(MAX_DEPTH).max(1);
    let each = steps.max(1).div_ceil(blocks);
    each.next_multiple_of(MAX_LANES)
}

/// Rows that go through a transformer block of this width together: many, to read each weight
/// seldom; few, so that the inner layer of a small model stays in the second-level cache.
pub(in crate::ops) fn row_block(features: usize) -> usize {
    match features {
        ..=320 => 252,
        _ => 504,
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_DEPTH, block_depth};
    use crate::ops::tile::MAX_LANES;

    #[test]
    fn blocks_are_few_and_nearly_equal() {
        for steps in (8..6000).step_by(8) {
            let depth = block_depth(steps);
            let blocks = steps.div_ceil(depth);
            assert_eq!(steps.div_ceil(MAX_DEPTH), blocks);
            assert!(depth <= MAX_DEPTH && depth.is_multiple_of(MAX_LANES));
            let last = steps - (blocks - 1) * depth;
            assert!(
                depth - last < blocks * MAX_LANES,
                "{steps}: {depth}, {last}"
            );
        }
    }
}
