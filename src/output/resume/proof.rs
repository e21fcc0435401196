//! Checksums of the values of a record.

use crate::product::Fallback;
use crc32fast::Hasher;

/// What one call wrote: the values of a record in one array, as a CRC-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Number of the array in the layout.
    pub(crate) array: usize,
    pub(crate) checksum: u32,
}

/// Everything that was written for one record, in any order.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    written: Vec<Written>,
    fallback: Option<Fallback>,
}

impl Proof {
    /// Adds what one call wrote.
    pub fn add(&mut self, written: Written) {
        self.written.push(written);
    }

    /// Notes that values of the record were computed in this format because they do not fit f16.
    pub fn note_fallback(&mut self, fallback: Fallback) {
        self.fallback = Some(fallback);
    }

    pub(crate) fn fallback(&self) -> Option<Fallback> {
        self.fallback
    }

    /// The checksum of everything added so far, in the order of the layout's arrays.
    pub(crate) fn value(&self) -> u32 {
        let mut written = self.written.clone();
        written.sort_by_key(|written| written.array);
        let mut hasher = Hasher::new();
        for Written { checksum, .. } in written {
            hasher.update(&checksum.to_le_bytes());
        }
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_their_number_count_and_the_order_of_calls_does_not() {
        let proof = |parts: &[(usize, u32)]| {
            let mut proof = Proof::default();
            for &(array, checksum) in parts {
                proof.add(Written { array, checksum });
            }
            proof.value()
        };
        // CRC-32 of the bytes 01 00 00 00 02 00 00 00, as zlib computes it.
        assert_eq!(proof(&[(0, 1), (1, 2)]), 0x0381_177c);
        assert_eq!(proof(&[(1, 2), (0, 1)]), 0x0381_177c);
        assert_ne!(proof(&[(0, 2), (1, 1)]), proof(&[(0, 1), (1, 2)]));
        assert_ne!(proof(&[(0, 1), (1, 2), (2, 0)]), proof(&[(0, 1), (1, 2)]));
        assert_eq!(proof(&[]), 0);
    }
}
