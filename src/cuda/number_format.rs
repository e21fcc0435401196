//! Numbers as the GPU stores them. Pure.

use crate::device::Dtype;
use half::{bf16, f16};

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
        Dtype::F16 => into.extend(values.iter().flat_map(|x| f16::from_f32(*x).to_ne_bytes())),
        Dtype::Bf16 => into.extend(values.iter().flat_map(|x| bf16::from_f32(*x).to_ne_bytes())),
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
}
