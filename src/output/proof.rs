//! Checksums of the bytes that a record's rows became, in the order in which they are written.

use crc32fast::Hasher;

/// CRC-32 of what one call wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written(pub(super) u32);

/// Everything that was written for one record: layers ascending, for each the pools in the order
/// of the layout, then the residue rows.
#[derive(Debug, Clone, Default)]
pub struct Proof(Hasher);

impl Proof {
    /// Adds what the next call wrote.
    pub fn add(&mut self, written: Written) {
        self.0.update(&written.0.to_le_bytes());
    }

    /// The checksum of everything added so far.
    pub(super) fn value(&self) -> u32 {
        self.0.clone().finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_number_count() {
        let proof = |parts: &[u32]| {
            let mut proof = Proof::default();
            for &part in parts {
                proof.add(Written(part));
            }
            proof.value()
        };
        // CRC-32 of the bytes 01 00 00 00 02 00 00 00, as zlib computes it.
        assert_eq!(proof(&[1, 2]), 0x0381_177c);
        assert_ne!(proof(&[2, 1]), proof(&[1, 2]));
        assert_ne!(proof(&[1, 2, 0]), proof(&[1, 2]));
        assert_eq!(proof(&[]), 0);
    }
}
