//! Numbers as the GPU stores them. Pure.

use crate::device::Dtype;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Numbers converted at a time, with the vector instructions that CPUs have for it.
const SLICE: usize = 256;

/// Bytes of a number.
pub(super) fn size(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 | Dtype::Tf32 => 4,
        Dtype::F16 | Dtype::Bf16 => 2,
    }
}

/// Appends numbers, rounded to nearest.
pub(super) fn put(dtype: Dtype, values: &[f32], into: &mut Vec<u8>) {
    match dtype {
        Dtype::F32 | Dtype::Tf32 => into.extend(values.iter().flat_map(|x| x.to_ne_bytes())),
        Dtype::F16 => put_halves(values, f16::to_ne_bytes, into),
        Dtype::Bf16 => put_halves(values, bf16::to_ne_bytes, into),
    }
}

fn put_halves<H: Copy + Default>(values: &[f32], bytes: fn(H) -> [u8; 2], into: &mut Vec<u8>)
where
    [H]: HalfFloatSliceExt,
{
    let mut halves = [H::default(); SLICE];
    for values in values.chunks(SLICE) {
        let (halves, _) = halves.split_at_mut(values.len());
        halves.convert_from_f32_slice(values);
        into.extend(halves.iter().flat_map(|half| bytes(*half)));
    }
}

/// Stored numbers as floats.
pub(super) fn floats(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F16 => pairs().map(|b| f16::from_ne_bytes(*b).to_f32()).collect(),
        Dtype::Bf16 => pairs().map(|b| bf16::from_ne_bytes(*b).to_f32()).collect(),
        Dtype::F32 | Dtype::Tf32 => {
            let fours = bytes.as_chunks::<4>().0.iter();
            fours.map(|b| f32::from_ne_bytes(*b)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_each_format_and_back() {
        for (dtype, expected) in [
            (Dtype::F16, &[0x00, 0x3c, 0x00, 0xc1][..]),
            (Dtype::Bf16, &[0x80, 0x3f, 0x20, 0xc0]),
            (Dtype::F32, &[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]),
        ] {
            let mut bytes = Vec::new();
            put(dtype, &[1.0, -2.5], &mut bytes);
            assert_eq!(bytes, expected);
            assert_eq!(bytes.len(), 2 * size(dtype));
            assert_eq!(floats(dtype, &bytes), [1.0, -2.5]);
        }
    }

    #[test]
    fn slices_are_rounded_as_single_numbers() {
        let values: Vec<f32> = (0..2 * SLICE + 3)
            .map(|i| (i as f32 - 200.0) * 0.123_456_7)
            .collect();
        let (mut halves, mut bfloats) = (Vec::new(), Vec::new());
        put(Dtype::F16, &values, &mut halves);
        put(Dtype::Bf16, &values, &mut bfloats);
        let expected = |round: fn(f32) -> [u8; 2]| -> Vec<u8> {
            values.iter().flat_map(|x| round(*x)).collect()
        };
        assert_eq!(halves, expected(|x| f16::from_f32(x).to_ne_bytes()));
        assert_eq!(bfloats, expected(|x| bf16::from_f32(x).to_ne_bytes()));
    }
}
