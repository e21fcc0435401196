//! What linear layers and attention in fixed point share.
//!
//! Numbers are rounded to 16-bit integers, with one scale for every block of a row. The products of
//! a block are summed exactly, in 32-bit integers. A sum cannot overflow, because
//! |Σ a·b| ≤ ‖a‖·‖b‖ and the scales keep ‖·‖ below 2^15.5.

/// The length (norm) of a block of integers before rounding. Rounding adds up to half the square
/// root of the number of features, which is at most 512 (two in each of `blocking::MAX_DEPTH`
/// steps): (46 000 + 12)² < 2³¹.
pub(super) const LENGTH: f32 = 46_000.0;

/// The largest integer.
pub(super) const LARGEST: f32 = 32_767.0;

/// A block whose largest value is below this becomes zero: its scale would not be finite.
pub(super) const SMALLEST: f32 = 1e-30;
