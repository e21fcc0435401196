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
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;

    const VALUES: [f32; 6] = [0.0, -1.5, 65504.0, 6.0e-8, 0.333, -0.0];

    fn mapped(bytes: &[u8]) -> (tempfile::TempDir, MappedFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        std::fs::write(&path, bytes).unwrap();
        let file = MappedFile::open(&path).unwrap();
        (folder, file)
    }

    fn resolved(shape: [usize; 2], strides: [usize; 2], offset: usize) -> Resolved {
        Resolved {
            tensor: "w".into(),
            file: 0,
            dtype: Dtype::F32,
            offset,
            shape,
            strides,
            third: None,
            vector: false,
            zero_row: None,
        }
    }

    /// The numbers 0, 1, 2, … after one odd byte, so that nothing is aligned.
    fn counting(count: usize) -> (tempfile::TempDir, MappedFile) {
        let mut bytes = vec![0xaa];
        bytes.extend((0..count).flat_map(|i| (i as f32).to_le_bytes()));
        mapped(&bytes)
    }

    #[test]
    fn every_dtype_gives_the_nearest_f32() {
        let f32s: Vec<u8> = VALUES.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f16s: Vec<u8> = VALUES
            .iter()
            .flat_map(|x| f16::from_f32(*x).to_le_bytes())
            .collect();
        let bf16s: Vec<u8> = VALUES
            .iter()
            .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
            .collect();
        let mut out = [0.0; 6];
        assert!(decode(Dtype::F32, &f32s, &mut out));
        assert_eq!(out.map(f32::to_bits), VALUES.map(f32::to_bits));
        assert!(decode(Dtype::F16, &f16s, &mut out));
        assert_eq!(
            out.map(f32::to_bits),
            VALUES.map(|x| f16::from_f32(x).to_f32().to_bits())
        );
        assert_eq!(out[3], 5.9604645e-8);
        assert!(decode(Dtype::Bf16, &bf16s, &mut out));
        assert_eq!(
            out.map(f32::to_bits),
            VALUES.map(|x| bf16::from_f32(x).to_f32().to_bits())
        );
        assert_eq!(out[4], 0.33203125);
    }

    #[test]
    fn nan_and_infinity_are_placed() {
        let mut bytes: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, f32::NEG_INFINITY, 6.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let (_folder, file) = mapped(&bytes);
        let matrix = resolved([2, 3], [3, 1], 0);
        let weight = Weight {
            resolved: &matrix,
            file: &file,
        };
        let mut out = [0.0; 3];
        weight.read_row(0, &mut out).unwrap();
        match weight.read_row(1, &mut out) {
            Err(CheckpointError::NonFinite {
                row: 1,
                column: 1,
                value,
                ..
            }) => {
                assert_eq!(value, f32::NEG_INFINITY)
            }
            other => panic!("{other:?}"),
        }
        bytes.truncate(2);
        bytes.copy_from_slice(&f16::NAN.to_le_bytes());
        assert!(!decode(Dtype::F16, &bytes, &mut out[..1]));
        assert!(!decode(
            Dtype::Bf16,
            &bf16::INFINITY.to_le_bytes(),
            &mut out[..1]
        ));
    }

    #[test]
    fn rows_of_columns_and_of_fused_tensors() {
        let (_folder, file) = counting(24);
        let transposed = resolved([2, 3], [1, 2], 1);
        let weight = Weight {
            resolved: &transposed,
            file: &file,
        };
        assert_eq!(weight.to_vec().unwrap(), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        // Two heads of width two: q0 k0 v0 q1 k1 v1, each two rows of two numbers.
        let key = Third { part: 1, block: 2 };
        let fused = Resolved {
            third: Some(key),
            ..resolved([4, 2], [2, 1], 1)
        };
        let weight = Weight {
            resolved: &fused,
            file: &file,
        };
        assert_eq!(
            weight.to_vec().unwrap(),
            [4.0, 5.0, 6.0, 7.0, 16.0, 17.0, 18.0, 19.0]
        );
        let bias = Resolved {
            vector: true,
            third: Some(key),
            ..resolved([1, 4], [12, 1], 1)
        };
        let weight = Weight {
            resolved: &bias,
            file: &file,
        };
        assert_eq!(weight.to_vec().unwrap(), [2.0, 3.0, 8.0, 9.0]);
        weight.release();
        assert_eq!(weight.to_vec().unwrap(), [2.0, 3.0, 8.0, 9.0]);
        // All of q, then all of k, then all of v.
        let apart = Resolved {
            third: Some(Third { part: 2, block: 4 }),
            ..resolved([4, 2], [2, 1], 1)
        };
        let weight = Weight {
            resolved: &apart,
            file: &file,
        };
        assert_eq!(
            weight.to_vec().unwrap(),
            [16.0, 17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0]
        );
    }

    #[test]
    fn a_row_that_is_not_there_is_an_error() {
        let (_folder, file) = counting(6);
        let matrix = Resolved {
            zero_row: Some(1),
            ..resolved([2, 3], [3, 1], 1)
        };
        let weight = Weight {
            resolved: &matrix,
            file: &file,
        };
        assert!(weight.read_row(2, &mut [0.0; 3]).is_err());
        assert!(weight.read_row(0, &mut [0.0; 2]).is_err());
        assert_eq!(weight.to_vec().unwrap(), [0.0, 1.0, 2.0, 0.0, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn any_half_is_converted_exactly(halves in proptest::collection::vec(any::<u16>(), 1..1100)) {
            let bytes: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
            let mut out = vec![0.0; halves.len()];
            let finite = decode(Dtype::F16, &bytes, &mut out);
            let wanted: Vec<f32> = halves.iter().map(|x| f16::from_bits(*x).to_f32()).collect();
            prop_assert_eq!(finite, wanted.iter().all(|x| x.is_finite()));
            for (out, wanted) in out.iter().zip(&wanted) {
                prop_assert!(out.to_bits() == wanted.to_bits() || (out.is_nan() && wanted.is_nan()));
            }
        }
    }
}
