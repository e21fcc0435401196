//! Numbers as bytes, the same on every machine.

use prost::bytes::Bytes;

/// Bytes of a number.
pub const F32: usize = size_of::<f32>();

/// The numbers, little-endian.
pub fn little_endian(values: &[f32]) -> Bytes {
    let mut bytes = vec![0; F32 * values.len()];
    write(values, &mut bytes);
    bytes.into()
}

/// Writes numbers at the start of `bytes`, until one of them ends.
pub fn write(values: &[f32], bytes: &mut [u8]) {
    for (to, value) in bytes.chunks_exact_mut(F32).zip(values) {
        to.copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_the_lowest() {
        assert_eq!(*little_endian(&[1.0, -2.0]), [0, 0, 128, 63, 0, 0, 0, 192]);
        let mut bytes = [7; 9];
        write(&[1.0], &mut bytes);
        assert_eq!(bytes, [0, 0, 128, 63, 7, 7, 7, 7, 7]);
    }
}
