//! Numbers in as few bytes as they need: seven bits in each, the lowest first (LEB128).

use std::io::{self, ErrorKind, Read};

/// Appends a number.
pub fn write(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Reads a number.
///
/// # Errors
/// Reading fails or ends early, or the number has more than ten bytes.
pub fn read(from: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        let [byte] = byte;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back_and_take_few_bytes() {
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut written = Vec::new();
            write(number, &mut written);
            assert_eq!(written, bytes, "{number}");
            assert_eq!(read(&mut &*written).unwrap(), number);
            assert!(read(&mut &written[..bytes.len() - 1]).is_err(), "{number}");
        }
        let error = read(&mut &[0x80; 11][..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
