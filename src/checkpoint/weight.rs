//! One weight, read row by row from its file as `f32`.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::error::CheckpointError;
use super::file::WeightFile;
use super::tensors::FloatType;

/// Numbers converted at a time where they are not contiguous.
const CHUNK: usize = 512;
/// Bytes that are read at a time: few system calls, and all of them in the second-level cache.
const WINDOW: usize = 256 << 10;
const F32_EXPONENT: u32 = 0x7f80_0000;
const F16_EXPONENT: u16 = 0x7c00;
const BF16_EXPONENT: u16 = 0x7f80;

/// One of `of` weights in a tensor that holds all of them: blocks of `block` rows, for example in the
/// order q, k, v, q, k, v, … (one head each), or q, k, v once (all heads).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) number: usize,
    pub(super) of: usize,
    pub(super) block: usize,
}

impl Part {
    /// The row of the fused tensor that holds row `row` of this part.
    fn stored(self, row: usize) -> usize {
        let block = self.block.max(1);
        (row / block * self.of + self.number) * block + row % block
    }
}

/// Where a weight's numbers are. Created by [`super::resolve`], which has checked that all of them are
/// in the file.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// The tensor's name as the file spells it.
    pub(super) tensor: String,
    /// The number of the file.
    pub(super) file: usize,
    pub(super) dtype: FloatType,
    /// Byte of the first number of the tensor.
    pub(super) offset: usize,
    /// The weight's rows and columns; a vector has one row.
    pub(super) shape: [usize; 2],
    /// Numbers from one row to the next, and from one column to the next.
    pub(super) strides: [usize; 2],
    /// Set for a part of a fused tensor. Its blocks run over rows, in a vector over columns.
    pub(super) part: Option<Part>,
    /// Whether the weight is a vector.
    pub(super) vector: bool,
    /// A row that counts as zero, whatever the file holds.
    pub(super) zero_row: Option<usize>,
    /// What an adapter adds to it.
    pub(super) added: Option<Box<Added>>,
}

/// What an adapter adds to a weight, computed in `f32` whenever a row is read.
#[derive(Clone, Debug)]
pub(super) struct Added {
    pub(super) scale: f32,
    /// `B`, `[rows, r]`; for a vector, what is added itself.
    pub(super) left: Resolved,
    /// `A`, `[r, columns]`; none for a vector.
    pub(super) right: Option<Resolved>,
}

/// A weight of the model, as a view of its file. Rows may be read by several threads at once.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a> {
    pub(super) resolved: &'a Resolved,
    pub(super) file: &'a WeightFile,
    /// The file of an adapter's numbers.
    pub(super) adapter: Option<&'a WeightFile>,
}

impl<'a> Weight<'a> {
    /// Rows and columns: `[out, in]` of a linear layer, `[1, n]` of a vector.
    pub fn shape(&self) -> [usize; 2] {
        self.resolved.shape
    }

    /// The tensor's name as the file spells it.
    pub fn name(&self) -> &str {
        &self.resolved.tensor
    }

    /// Its rows, for reading many of them.
    pub fn rows(&self) -> WeightRows<'a> {
        WeightRows {
            weight: *self,
            window: Vec::new(),
            at: 0,
            added: self.added().map(Box::new),
        }
    }

    fn added(&self) -> Option<AddedRows<'a>> {
        let (added, file) = (self.resolved.added.as_ref()?, self.adapter?);
        let weight = |resolved| Weight {
            resolved,
            file,
            adapter: None,
        };
        Some(AddedRows {
            scale: added.scale,
            left: weight(&added.left).rows(),
            right: added.right.as_ref().map(weight),
            factor: Vec::new(),
            row: Vec::new(),
            sum: Vec::new(),
        })
    }

    /// Writes one row as `f32` into `out`, whose length is the number of columns.
    ///
    /// # Errors
    /// As [`WeightRows::read`].
    pub fn read_row(&self, row: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        self.rows().read(row, out)
    }

    /// All rows, one after another.
    ///
    /// # Errors
    /// As [`WeightRows::read`].
    pub fn to_vec(&self) -> Result<Vec<f32>, CheckpointError> {
        let [count, columns] = self.resolved.shape;
        let mut rows = self.rows();
        let mut all = vec![0.0; count.saturating_mul(columns)];
        for (row, out) in all.chunks_exact_mut(columns.max(1)).enumerate() {
            rows.read(row, out)?;
        }
        Ok(all)
    }

    /// Bytes of the file from its first number to behind its last one, and how many of them are
    /// numbers; those of the whole tensor where it is a part of one.
    fn span(&self) -> (Range<usize>, usize) {
        let Resolved {
            offset,
            dtype,
            strides: [down, across],
            shape: [rows, columns],
            part,
            vector,
            ..
        } = *self.resolved;
        let fused = part.map_or(1, |part| part.of);
        let [rows, columns] = match vector {
            true => [1, columns * fused],
            false => [rows * fused, columns],
        };
        let last = rows.saturating_sub(1) * down + columns.saturating_sub(1) * across;
        let end = offset + (last + 1) * dtype.size();
        (offset..end, rows * columns * dtype.size())
    }

    fn no_such(&self, asked: String) -> CheckpointError {
        CheckpointError::NoSuchWeight {
            path: self.file.path().to_path_buf(),
            asked,
        }
    }
}

/// The rows of a weight. Those that follow each other are read from the file together.
#[derive(Debug)]
pub struct WeightRows<'a> {
    weight: Weight<'a>,
    /// Bytes of the file from byte `at` on.
    window: Vec<u8>,
    at: usize,
    added: Option<Box<AddedRows<'a>>>,
}

/// The rows of what an adapter adds.
#[derive(Debug)]
struct AddedRows<'a> {
    scale: f32,
    left: WeightRows<'a>,
    right: Option<Weight<'a>>,
    /// All numbers of `right`, once they have been read.
    factor: Vec<f32>,
    row: Vec<f32>,
    sum: Vec<f32>,
}

impl AddedRows<'_> {
    /// Adds `scale · (B · A)[row]`: the products first, in the order of the rank, then their sum.
    fn add(&mut self, row: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        let Some(right) = &self.right else {
            self.sum.resize(out.len(), 0.0);
            self.left.read(row, &mut self.sum)?;
            self.add_sum(out);
            return Ok(());
        };
        if self.factor.is_empty() {
            self.factor = right.to_vec()?;
        }
        self.row.resize(right.shape()[0], 0.0);
        self.left.read(row, &mut self.row)?;
        self.sum.clear();
        self.sum.resize(out.len(), 0.0);
        let rows = self.factor.chunks_exact(out.len().max(1));
        for (weight, row) in self.row.iter().zip(rows) {
            for (sum, value) in self.sum.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        self.add_sum(out);
        Ok(())
    }

    fn add_sum(&self, out: &mut [f32]) {
        for (out, sum) in out.iter_mut().zip(&self.sum) {
            *out += self.scale * sum;
        }
    }
}

impl WeightRows<'_> {
    /// Writes one row as `f32` into `out`, whose length is the number of columns.
    ///
    /// # Errors
    /// [`CheckpointError::NonFinite`] if the row holds NaN or an infinity, and
    /// [`CheckpointError::AdapterOverflow`] if it does with an adapter,
    /// [`CheckpointError::NoSuchWeight`] if there is no such row or `out` has another length,
    /// [`CheckpointError::Changed`] or [`CheckpointError::Io`] if the file can no longer be read.
    pub fn read(&mut self, row: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        let Weight { resolved, file, .. } = self.weight;
        let [rows, columns] = resolved.shape;
        if row >= rows || out.len() != columns {
            return Err(self.weight.no_such(format!(
                "row {row} of {} columns in `{}`, which is {rows} × {columns}",
                out.len(),
                resolved.tensor
            )));
        }
        let finite = match (resolved.part, resolved.vector) {
            (Some(part), true) => self.read_part(part, out)?,
            (Some(part), false) => self.read_run(part.stored(row), 0, out)?,
            (None, _) => self.read_run(row, 0, out)?,
        };
        let not_finite = |out: &[f32]| {
            let mut values = (0..).zip(out.iter().copied());
            values.find(|(_, value)| !value.is_finite())
        };
        if !finite && let Some((column, value)) = not_finite(out) {
            return Err(CheckpointError::NonFinite {
                tensor: resolved.tensor.clone(),
                path: file.path().to_path_buf(),
                row,
                column,
                value,
            });
        }
        if let Some(added) = &mut self.added {
            added.add(row, out)?;
            if let Some((column, value)) = not_finite(out) {
                return Err(CheckpointError::AdapterOverflow {
                    path: added.left.weight.file.path().to_path_buf(),
                    added: added.left.weight.name().to_owned(),
                    tensor: resolved.tensor.clone(),
                    row,
                    column,
                    value,
                });
            }
        }
        if resolved.zero_row == Some(row) {
            out.fill(0.0);
        }
        Ok(())
    }

    /// A vector that is a part of another: block by block.
    fn read_part(&mut self, part: Part, out: &mut [f32]) -> Result<bool, CheckpointError> {
        let mut finite = true;
        for (number, block) in out.chunks_mut(part.block.max(1)).enumerate() {
            finite &= self.read_run(0, part.stored(number * part.block), block)?;
        }
        Ok(finite)
    }

    /// Numbers of one stored row from a stored column on; whether all are finite.
    fn read_run(
        &mut self,
        row: usize,
        column: usize,
        out: &mut [f32],
    ) -> Result<bool, CheckpointError> {
        let Resolved {
            offset,
            dtype,
            strides: [down, across],
            ..
        } = *self.weight.resolved;
        let size = dtype.size();
        let start = offset + (row * down + column * across) * size;
        if across == 1 || out.len() == 1 {
            let bytes = self.bytes(start, out.len() * size, WINDOW)?;
            return Ok(decode(dtype, bytes, out));
        }
        // The row is spread over the weight: read all of it, unless it is spread over much more.
        let (span, numbers) = self.weight.span();
        let window = match span.len() <= 2 * numbers {
            true => span.len(),
            false => size,
        };
        let mut finite = true;
        let mut gathered = [0u8; CHUNK * 4];
        for (number, chunk) in out.chunks_mut(CHUNK).enumerate() {
            let bytes = gathered.get_mut(..chunk.len() * size).unwrap_or_default();
            for (i, to) in bytes.chunks_exact_mut(size).enumerate() {
                let from = start + (number * CHUNK + i) * across * size;
                to.copy_from_slice(self.bytes(from, size, window)?);
            }
            finite &= decode(dtype, bytes, chunk);
        }
        Ok(finite)
    }

    /// `length` bytes of the file from `start`. If they are not in the window, `window` bytes are
    /// read, up to the end of the weight.
    fn bytes(
        &mut self,
        start: usize,
        length: usize,
        window: usize,
    ) -> Result<&[u8], CheckpointError> {
        let held = self.at..self.at + self.window.len();
        if !(held.contains(&start) && start + length <= held.end) {
            let (span, _) = self.weight.span();
            // All of a weight that is held as a whole, wherever its first row begins.
            let at = match window >= span.len() {
                true => span.start,
                false => start,
            };
            let bytes = window.min(span.end.saturating_sub(at)).max(length);
            self.window.resize(bytes, 0);
            if let Err(error) = self.weight.file.read_into(at, &mut self.window) {
                self.window.clear();
                return Err(error);
            }
            self.at = at;
        }
        let from = start - self.at;
        self.window.get(from..from + length).ok_or_else(|| {
            let name = &self.weight.resolved.tensor;
            self.weight.no_such(format!("byte {start} in `{name}`"))
        })
    }
}

/// Fills `out` with converted numbers; whether all are finite. The loops have no branches, so that they
/// vectorize.
fn decode(dtype: FloatType, bytes: &[u8], out: &mut [f32]) -> bool {
    match dtype {
        FloatType::F32 => {
            let mut finite = true;
            for (to, from) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                let bits = u32::from_le_bytes(*from);
                finite &= bits & F32_EXPONENT != F32_EXPONENT;
                *to = f32::from_bits(bits);
            }
            finite
        }
        FloatType::Bf16 => {
            let mut finite = true;
            for (to, from) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                let bits = u16::from_le_bytes(*from);
                finite &= bits & BF16_EXPONENT != BF16_EXPONENT;
                *to = f32::from_bits(u32::from(bits) << 16);
            }
            finite
        }
        FloatType::F16 => decode_f16(bytes, out),
    }
}

/// In aligned pieces, which the half crate converts with the processor's instruction, if there is one.
fn decode_f16(bytes: &[u8], out: &mut [f32]) -> bool {
    let mut finite = true;
    let mut aligned = [f16::ZERO; CHUNK];
    for (to, from) in out.chunks_mut(CHUNK).zip(bytes.chunks(CHUNK * 2)) {
        let halves = aligned.get_mut(..to.len()).unwrap_or_default();
        for (half, from) in halves.iter_mut().zip(from.as_chunks::<2>().0) {
            let bits = u16::from_le_bytes(*from);
            finite &= bits & F16_EXPONENT != F16_EXPONENT;
            *half = f16::from_bits(bits);
        }
        halves.convert_to_f32_slice(to);
    }
    finite
}

#[cfg(test)]
#[path = "weight_tests.rs"]
mod tests;
