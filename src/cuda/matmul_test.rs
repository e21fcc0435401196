//! The self-test of a matrix product: proof, on the GPU that will compute, that the bits of a row do not
//! depend on its place or on the height of the product.

use super::error::{CudaError, While};
use super::gpu::OpenGpu;
use super::memory::Memory;
use super::number_format::{floats, put, size};
use super::probe::probe;
use super::timing;
use crate::device::Dtype;
use cudarc::driver::result;
use std::time::Duration;

/// Different rows in the test of a product: a prime, so that copies of a row appear at every place of
/// every tile.
const DIFFERENT: usize = 257;
/// How often a slab is computed again if smaller products differ from it.
const REPEATS: usize = 4;

/// What the test of an algorithm found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The algorithm cannot be started.
    Nothing,
    /// The bits of a row depend on its place.
    Varies,
    /// A row has the same bits at every place of a slab, but not in smaller products.
    SameInSlabs,
    /// A row has the same bits in products of all heights.
    Same,
}

/// Rows of the test, of which a product is computed.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    /// The first of them, and their number.
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Addresses of their inputs and results. The results are zero before.
    pub(super) x: u64,
    pub(super) y: u64,
}

/// Starts the product of a piece on the GPU's stream.
pub(super) type Compute<'a> = &'a dyn Fn(Piece) -> Result<(), CudaError>;

/// A product that is tested.
#[derive(Clone, Copy)]
pub(super) struct Tested<'a> {
    pub(super) dtype: Dtype,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Bytes of a result.
    pub(super) result: usize,
    pub(super) weights: &'a Memory,
}

/// A slab of rows that the algorithms of a product are tested with.
pub(super) struct MatmulTest<'a> {
    gpu: &'a OpenGpu,
    x: Memory,
    y: Memory,
    found: Vec<u8>,
    /// Bytes of a row of x and of y.
    input: usize,
    output: usize,
    /// The different rows as the first passing algorithm computed them.
    first: Option<Vec<u8>>,
}

impl<'a> MatmulTest<'a> {
    pub(super) fn new(gpu: &'a OpenGpu, tested: Tested<'_>) -> Result<MatmulTest<'a>, CudaError> {
        let input = tested.inputs * size(tested.dtype);
        let output = tested.outputs * tested.result;
        let slab = gpu.heights.slab();
        let mut rows = Vec::new();
        put(tested.dtype, &numbers(DIFFERENT * tested.inputs), &mut rows);
        probes(gpu, tested, &mut rows)?;
        Ok(MatmulTest {
            gpu,
            x: Memory::upload(&gpu.stream, "a self-test", &copies(&rows, input, slab))?,
            y: Memory::zeroed(&gpu.stream, "a self-test", slab * output)?,
            found: vec![0u8; slab * output],
            input,
            output,
            first: None,
        })
    }

    /// Tests a way to compute the product, in a slab and in smaller products of these heights.
    pub(super) fn run(
        &mut self,
        compute: Compute<'_>,
        heights: &[usize],
    ) -> Result<Found, CudaError> {
        let slab = self.gpu.heights.slab();
        let mut found = std::mem::take(&mut self.found);
        let ran = self.piece(compute, 0, slab, &mut found);
        self.found = found;
        if !ran? {
            return Ok(Found::Nothing);
        }
        if !is_same_everywhere(&self.found, self.output) {
            return Ok(Found::Varies);
        }
        for &rows in heights.iter().filter(|rows| **rows < slab) {
            let mut piece = vec![0u8; rows * self.output];
            // Not from the first row, so that rows that the slab left in y are never the expected ones.
            for first in [(slab - rows).div_ceil(2), slab - rows] {
                let due = first * self.output..(first + rows) * self.output;
                let is_same = self.piece(compute, first, rows, &mut piece)?
                    && self.found.get(due) == Some(piece.as_slice());
                if !is_same {
                    return self.again_in_slabs(compute);
                }
            }
        }
        Ok(Found::Same)
    }

    /// Smaller products differ: finds out whether slabs agree with each other at least.
    fn again_in_slabs(&self, compute: Compute<'_>) -> Result<Found, CudaError> {
        let mut again = vec![0u8; self.found.len()];
        for _ in 0..REPEATS {
            let ran = self.piece(compute, 0, self.gpu.heights.slab(), &mut again)?;
            if !ran || again != self.found {
                return Ok(Found::Varies);
            }
        }
        Ok(Found::SameInSlabs)
    }

    /// The product of `rows` rows from `first` on; false if it cannot be started.
    fn piece(
        &self,
        compute: Compute<'_>,
        first: usize,
        rows: usize,
        found: &mut [u8],
    ) -> Result<bool, CudaError> {
        let stream = &self.gpu.stream;
        let doing = "testing an algorithm";
        let (x, y) = (self.x.at(first * self.input), self.y.at(0));
        // SAFETY: y has a slab, of which these rows are a part.
        unsafe { result::memset_d8_async(y, 0, rows * self.output, stream.cu_stream()) }
            .while_(doing)?;
        if compute(Piece { first, rows, x, y }).is_err() {
            return Ok(false);
        }
        // SAFETY: both sides have as many bytes, and the stream is waited for before they are read.
        unsafe { result::memcpy_dtoh_async(found, y, stream.cu_stream()) }.while_(doing)?;
        stream.synchronize().while_(doing)?;
        Ok(true)
    }

    /// Whether the latest rows have the bits of the first rows that this was called for.
    pub(super) fn has_first_bits(&mut self) -> bool {
        let count = DIFFERENT.min(self.gpu.heights.slab());
        let rows = self.found.get(..count * self.output);
        let rows = rows.unwrap_or_default();
        match &self.first {
            Some(first) => first == rows,
            None => {
                self.first = Some(rows.to_vec());
                true
            }
        }
    }

    /// The time of a launch for `rows` rows by itself, once the code is loaded.
    pub(super) fn single_time(
        &self,
        compute: Compute<'_>,
        rows: usize,
    ) -> Result<Duration, CudaError> {
        let (x, y, first) = (self.x.at(0), self.y.at(0), 0);
        timing::of_single_launch(&self.gpu.stream, || compute(Piece { first, rows, x, y }))
    }

    /// The time of `rows` rows, one of the heights.
    pub(super) fn time(&self, compute: Compute<'_>, rows: usize) -> Result<Duration, CudaError> {
        let (x, y, first) = (self.x.at(0), self.y.at(0), 0);
        timing::of_launch(&self.gpu.stream, || compute(Piece { first, rows, x, y }))
    }
}

/// A slab of copies of the different rows, each of `bytes` bytes.
fn copies(different: &[u8], bytes: usize, slab: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(slab * bytes);
    for row in 0..slab {
        let start = row_at(row) * bytes;
        all.extend_from_slice(different.get(start..start + bytes).unwrap_or_default());
    }
    all
}

/// Replaces every other row with a probe of an output's weights.
fn probes(gpu: &OpenGpu, tested: Tested<'_>, rows: &mut [u8]) -> Result<(), CudaError> {
    let Tested {
        dtype,
        inputs,
        outputs,
        weights,
        ..
    } = tested;
    let doing = "preparing a self-test";
    let bytes = inputs * size(dtype);
    let mut of_output = vec![0u8; bytes];
    for (number, row) in rows.chunks_exact_mut(bytes).enumerate().skip(1).step_by(2) {
        let from = weights.at(number * outputs / DIFFERENT * bytes);
        // SAFETY: both sides hold the weights of an output, and the stream is waited for.
        unsafe { result::memcpy_dtoh_async(&mut of_output, from, gpu.stream.cu_stream()) }
            .while_(doing)?;
        gpu.stream.synchronize().while_(doing)?;
        let mut made = Vec::with_capacity(bytes);
        put(dtype, &probe(&floats(dtype, &of_output)), &mut made);
        row.copy_from_slice(&made);
    }
    Ok(())
}

/// Which of the different rows is in a row of the slab: neighbours change from one round to the next.
pub(super) fn row_at(row: usize) -> usize {
    (row * 131 + row / DIFFERENT * 17) % DIFFERENT
}

/// Whether all copies of a row have the same bits.
fn is_same_everywhere(found: &[u8], bytes: usize) -> bool {
    let mut first: Vec<Option<&[u8]>> = vec![None; DIFFERENT];
    found
        .chunks_exact(bytes)
        .enumerate()
        .all(|(row, bits)| match first.get_mut(row_at(row)) {
            Some(Some(first)) => *first == bits,
            Some(unseen) => {
                *unseen = Some(bits);
                true
            }
            None => false,
        })
}

/// Numbers between −1 and 1 without a pattern.
pub(super) fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_at_many_places_of_a_tile() {
        for tile in [64, 128, 256] {
            let mut seen = vec![std::collections::HashSet::new(); DIFFERENT];
            for row in 0..16_896 {
                seen[row_at(row)].insert(row % tile);
            }
            assert!(seen.iter().all(|places| places.len() > 40), "{tile}");
        }
    }

    #[test]
    fn a_single_different_bit_is_noticed() {
        let bytes = 8;
        let row = |row: usize| [row_at(row) as u8; 8];
        let mut found: Vec<u8> = (0..16_896).flat_map(row).collect();
        assert!(is_same_everywhere(&found, bytes));
        found[9000 * bytes + 3] ^= 1;
        assert!(!is_same_everywhere(&found, bytes));
    }
}
