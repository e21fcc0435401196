//! How fast a GPU is, as `doctor` reports it.

use serde::Serialize;

/// What a GPU does with the blocks of a model of one shape, in f16.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasuredModel {
    /// Width of the model.
    pub dim: usize,
    /// Attention heads.
    pub heads: usize,
    /// Tokens that the kernels were timed with.
    pub tokens: usize,
    /// The matrix products, by shape of their weights.
    pub products: Vec<MeasuredProduct>,
    /// The kernels that work on each token by itself.
    pub rows: Vec<MeasuredKernel>,
    /// Attention within sequences of some lengths.
    pub attention: Vec<MeasuredAttention>,
}

/// A matrix product.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasuredProduct {
    /// Rows of the weights.
    pub outputs: usize,
    /// Columns of the weights.
    pub inputs: usize,
    /// Algorithms that cuBLASLt offers and whose settings are acceptable.
    pub offered: usize,
    /// Those that were tested.
    pub tested: usize,
    /// Those that passed: a row has the same bits at every place.
    pub passed: usize,
    /// Times of the fastest of those, by number of rows, ascending; empty if none passed.
    pub times: Vec<MeasuredRows>,
    /// Time of a slab, the largest number of rows, with the kernel that follows; null if none passed or the
    /// own product cannot be started.
    pub milliseconds_with_next: Option<f64>,
    /// Times of the same by the program's own product.
    pub own: Vec<MeasuredTiles>,
    /// What is used: settings of an algorithm of cuBLASLt, or `esm-embed`.
    pub used: String,
}

/// A matrix product of a slab by the program's own kernel, with what follows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeasuredTiles {
    /// Rows of the highest tiles.
    pub tile_rows: usize,
    /// Time.
    pub milliseconds: f64,
}

/// A matrix product of some rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeasuredRows {
    /// Number of rows.
    pub rows: usize,
    /// Time.
    pub milliseconds: f64,
    /// Rate.
    pub tflop_per_second: f64,
}

/// A kernel that is limited by memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasuredKernel {
    /// Its name.
    pub kernel: &'static str,
    /// Time.
    pub milliseconds: f64,
    /// Rate, of the bytes that have to move.
    pub gb_per_second: f64,
}

/// Attention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeasuredAttention {
    /// Tokens of each sequence.
    pub length: usize,
    /// Number of sequences.
    pub sequences: usize,
    /// Time.
    pub milliseconds: f64,
    /// Rate, of 4 length² dim FLOP for each sequence.
    pub tflop_per_second: f64,
}
