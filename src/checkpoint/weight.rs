//! One weight, read row by row from the mapped file as `f32`.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::error::CheckpointError;
use super::mapped::MappedFile;
use super::tensors::Dtype;

/// Numbers converted at a time where they do not stand side by side.
const CHUNK: usize = 512;
const F32_EXPONENT: u32 = 0x7f80_0000;
const F16_EXPONENT: u16 = 0x7c00;
const BF16_EXPONENT: u16 = 0x7f80;

/// Query, key or value in a tensor that holds all three: blocks of `block` rows in the order
/// q, k, v, q, k, v, … (one head each), or q, k, v once (all heads).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Third {
    pub(super) part: usize,
    pub(super) block: usize,
}

impl Third {
    /// The row of the fused tensor that holds row `row` of this third.
    fn stored(self, row: usize) -> usize {
        let block = self.block.max(1);
        (row / block * 3 + self.part) * block + row % block
    }
}

/// Where a weight's numbers are. Made by [`super::resolve`], which has checked that all of them
/// lie in the file.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// The tensor's name as the file spells it.
    pub(super) tensor: String,
    /// The number of the file.
    pub(super) file: usize,
    pub(super) dtype: Dtype,
    /// Byte of the first number of the tensor.
    pub(super) offset: usize,
    /// The weight's rows and columns; a vector has one row.
    pub(super) shape: [usize; 2],
    /// Numbers from one row to the next, and from one column to the next.
    pub(super) strides: [usize; 2],
    /// Set for a part of a fused tensor. Its blocks run over rows, in a vector over columns.
    pub(super) third: Option<Third>,
    /// Whether the weight is a vector.
    pub(super) vector: bool,
    /// A row that counts as zero, whatever stands there.
    pub(super) zero_row: Option<usize>,
}

/// A weight of the model, as a view of its file. Rows may be read by several threads at once.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a> {
    pub(super) resolved: &'a Resolved,
    pub(super) file: &'a MappedFile,
}

impl Weight<'_> {
    /// Rows and columns: `[out, in]` of a linear layer, `[1, n]` of a vector.
    pub fn shape(&self) -> [usize; 2] {
        self.resolved.shape
    }

    /// The tensor's name as the file spells it.
    pub fn name(&self) -> &str {
        &self.resolved.tensor
    }

    /// Writes one row as `f32` into `out`, which has as many places as there are columns.
    ///
    /// # Errors
    /// [`CheckpointError::NonFinite`] if the row holds NaN or an infinity,
    /// [`CheckpointError::NoSuchWeight`] if there is no such row or `out` has another length.
    pub fn read_row(&self, row: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        let [rows, columns] = self.resolved.shape;
        if row >= rows || out.len() != columns {
            return Err(self.no_such(format!(
                "row {row} of {} columns in `{}`, which is {rows} × {columns}",
                out.len(),
                self.resolved.tensor
            )));
        }
        let finite = match (self.resolved.third, self.resolved.vector) {
            (Some(third), true) => self.read_thirds(third, out)?,
            (Some(third), false) => self.read_run(third.stored(row), 0, out)?,
            (None, _) => self.read_run(row, 0, out)?,
        };
        if !finite
            && let Some((column, value)) = out.iter().enumerate().find(|(_, x)| !x.is_finite())
        {
            return Err(CheckpointError::NonFinite {
                tensor: self.resolved.tensor.clone(),
                path: self.file.path().to_path_buf(),
                row,
                column,
                value: *value,
            });
        }
        if self.resolved.zero_row == Some(row) {
            out.fill(0.0);
        }
        Ok(())
    }

    /// All rows, one after another.
    ///
    /// # Errors
    /// As [`Weight::read_row`].
    pub fn to_vec(&self) -> Result<Vec<f32>, CheckpointError> {
        let [rows, columns] = self.resolved.shape;
        let mut all = vec![0.0; rows.saturating_mul(columns)];
        for (row, out) in all.chunks_exact_mut(columns.max(1)).enumerate() {
            self.read_row(row, out)?;
        }
        Ok(all)
    }

    /// Tells the system that this weight's pages need not stay in memory, so that the file does
    /// not remain resident beside a copy of it. Reading the weight again reads the file again.
    pub fn release(&self) {
        let Resolved {
            offset,
            dtype,
            strides,
            shape,
            third,
            vector,
            ..
        } = *self.resolved;
        let fused = if third.is_some() { 3 } else { 1 };
        let [rows, columns] = if vector {
            [1, shape[1] * fused]
        } else {
            [shape[0] * fused, shape[1]]
        };
        let last = rows.saturating_sub(1) * strides[0] + columns.saturating_sub(1) * strides[1];
        self.file
            .release(offset..offset + (last + 1) * dtype.size());
    }

    /// A vector that is a third of another: block by block.
    fn read_thirds(&self, third: Third, out: &mut [f32]) -> Result<bool, CheckpointError> {
        let mut finite = true;
        for (number, block) in out.chunks_mut(third.block.max(1)).enumerate() {
            finite &= self.read_run(0, third.stored(number * third.block), block)?;
        }
        Ok(finite)
    }

    /// Numbers of one stored row from a stored column on; whether all are finite.
    fn read_run(
        &self,
        row: usize,
        column: usize,
        out: &mut [f32],
    ) -> Result<bool, CheckpointError> {
        let Resolved {
            offset,
            dtype,
            strides: [down, across],
            ..
        } = *self.resolved;
        let size = dtype.size();
        let start = offset + (row * down + column * across) * size;
        let outside = || self.no_such(format!("row {row} of `{}`", self.resolved.tensor));
        if across == 1 || out.len() == 1 {
            let bytes = self.file.get(start, out.len() * size).ok_or_else(outside)?;
            return Ok(decode(dtype, bytes, out));
        }
        let mut finite = true;
        let mut gathered = [0u8; CHUNK * 4];
        for (number, chunk) in out.chunks_mut(CHUNK).enumerate() {
            let bytes = gathered.get_mut(..chunk.len() * size).unwrap_or_default();
            for (i, to) in bytes.chunks_exact_mut(size).enumerate() {
                let from = start + (number * CHUNK + i) * across * size;
                to.copy_from_slice(self.file.get(from, size).ok_or_else(outside)?);
            }
            finite &= decode(dtype, bytes, chunk);
        }
        Ok(finite)
    }

    fn no_such(&self, asked: String) -> CheckpointError {
        CheckpointError::NoSuchWeight {
            path: self.file.path().to_path_buf(),
            asked,
        }
    }
}

/// Converts as many numbers as `out` has places; whether all are finite. The loops carry no
/// branch, so that they vectorise.
fn decode(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> bool {
    match dtype {
        Dtype::F32 => {
            let mut finite = true;
            for (to, from) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                let bits = u32::from_le_bytes(*from);
                finite &= bits & F32_EXPONENT != F32_EXPONENT;
                *to = f32::from_bits(bits);
            }
            finite
        }
        Dtype::Bf16 => {
            let mut finite = true;
            for (to, from) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                let bits = u16::from_le_bytes(*from);
                finite &= bits & BF16_EXPONENT != BF16_EXPONENT;
                *to = f32::from_bits(u32::from(bits) << 16);
            }
            finite
        }
        Dtype::F16 => decode_f16(bytes, out),
    }
}

/// In pieces of aligned halves, which the half crate converts with the processor's own
/// instruction where it has one.
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
