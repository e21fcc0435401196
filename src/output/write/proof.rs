//! Checksums of the bytes that a record's rows became, in the order in which they are written.

use crc32fast::Hasher;

/// CRC-32 of what one call wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written(pub(crate) u32);

/// Everything that was written for one record: layers ascending, for each the pools in the order
/// of the layout, then the residue rows.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    hasher: Hasher,
    in_bf16: bool,
}

impl Proof {
    /// Adds what the next call wrote.
    pub fn add(&mut self, written: Written) {
        self.hasher.update(&written.0.to_le_bytes());
    }

    /// Notes that rows of the record were computed in bf16, as their numbers do not fit f16.
    pub fn note_bf16(&mut self) {
        self.in_bf16 = true;
    }

    pub(crate) fn is_in_bf16(&self) -> bool {
        self.in_bf16
    }

    /// The checksum of everything added so far.
    pub(crate) fn value(&self) -> u32 {
        self.hasher.clone().finalize()
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
