//! What the journal says of a record: 24 bytes.
//!
//! They are the [`Key`] of the input up to the record (16), the CRC-32 of its values (4, see
//! [`Proof`](super::proof::Proof)), and the CRC-32 of a tag, the row and these 20 bytes (4). Values that do not
//! fit f16 have the tag of the format in which they were computed.

use crate::output::disk_map::Key;
use crate::product::Fallback;
use crc32fast::Hasher;

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 24;

/// Bytes of a slot that its last checksum covers.
const COVERED: usize = SLOT_BYTES - 4;

/// Ensures that zeros and slots of other formats do not count as valid.
const TAG: &[u8] = b"esm-embed journal 1";
/// The same for values that do not fit f16, by the format in which they were computed.
const TAG_BF16: &[u8] = b"esm-embed journal 1 bf16";
const TAG_F32: &[u8] = b"esm-embed journal 1 f32";

/// What a slot says about its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The input up to the record, as [`Entered::input`](crate::output::Entered::input).
    pub input: Key,
    /// Checksum of its values.
    pub rows: u32,
    /// The format in which values were computed because they do not fit f16.
    pub fallback: Option<Fallback>,
}

impl Done {
    /// The slot of `row`.
    pub fn to_slot(&self, row: u64) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        let (covered, check) = slot.split_at_mut(COVERED);
        let (input, rows) = covered.split_at_mut(self.input.len());
        input.copy_from_slice(&self.input);
        rows.copy_from_slice(&self.rows.to_le_bytes());
        check.copy_from_slice(&checksum(self.fallback, row, covered).to_le_bytes());
        slot
    }

    /// Reads the slot of `row`; `None` unless it is intact and belongs to that row.
    pub fn from_slot(row: u64, slot: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (covered, check) = slot.split_at_checked(COVERED)?;
        let is =
            |fallback: &Option<Fallback>| check == checksum(*fallback, row, covered).to_le_bytes();
        let known = [None, Some(Fallback::Bf16), Some(Fallback::F32)];
        let fallback = known.into_iter().find(is)?;
        let (input, rows) = covered.split_first_chunk()?;
        Some(Self {
            input: *input,
            rows: u32::from_le_bytes(*rows.first_chunk()?),
            fallback,
        })
    }
}

fn checksum(fallback: Option<Fallback>, row: u64, covered: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(match fallback {
        None => TAG,
        Some(Fallback::Bf16) => TAG_BF16,
        Some(Fallback::F32) => TAG_F32,
    });
    hasher.update(&row.to_le_bytes());
    hasher.update(covered);
    hasher.finalize()
}

/// The intact slots of a journal, or of a part of one that begins with the slot of row `first`.
pub fn read_journal(first: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, Done)> {
    let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
    slots.iter().enumerate().filter_map(move |(i, slot)| {
        let row = first.checked_add(i as u64)?;
        Some((row, Done::from_slot(row, slot)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DONE: Done = Done {
        input: *b"0123456789abcdef",
        rows: 0x0403_0201,
        fallback: None,
    };

    #[test]
    fn literal_bytes() {
        // The last four bytes are zlib's CRC-32 of the tag, eight bytes of row and the other 20.
        assert_eq!(
            DONE.to_slot(5),
            *b"0123456789abcdef\x01\x02\x03\x04\x6b\x22\x65\x55"
        );
        assert_eq!(Done::from_slot(5, &DONE.to_slot(5)), Some(DONE));
        for (fallback, check) in [
            (Fallback::Bf16, *b"\x3b\x46\xd2\xda"),
            (Fallback::F32, *b"\x69\xb9\x5e\x85"),
        ] {
            let done = Done {
                fallback: Some(fallback),
                ..DONE
            };
            let slot = done.to_slot(5);
            assert_eq!(slot[..20], DONE.to_slot(5)[..20]);
            assert_eq!(slot[20..], check);
            assert_eq!(Done::from_slot(5, &slot), Some(done));
        }
    }

    #[test]
    fn damaged_slots_do_not_count() {
        let slot = DONE.to_slot(5);
        assert_eq!(Done::from_slot(6, &slot), None);
        assert_eq!(Done::from_slot(0, &[0; SLOT_BYTES]), None);
        for cut in 0..SLOT_BYTES {
            let mut torn = slot;
            torn[cut..].fill(0);
            assert_eq!(Done::from_slot(5, &torn), None, "{cut}");
        }
    }

    fn fallback() -> impl Strategy<Value = Option<Fallback>> {
        prop::sample::select(vec![None, Some(Fallback::Bf16), Some(Fallback::F32)])
    }

    proptest! {
        #[test]
        fn a_slot_is_read_back(row: u64, input: [u8; 16], rows: u32, fallback in fallback()) {
            let done = Done { input, rows, fallback };
            prop_assert_eq!(Done::from_slot(row, &done.to_slot(row)), Some(done));
        }

        #[test]
        fn a_slot_with_a_changed_bit_does_not_count(row: u64, input: [u8; 16], rows: u32, fallback in fallback(), bit in 0..SLOT_BYTES * 8) {
            let mut slot = Done { input, rows, fallback }.to_slot(row);
            slot[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Done::from_slot(row, &slot), None);
        }

        /// Any bytes are read without a panic, and only intact slots count.
        #[test]
        fn any_bytes_are_a_journal(
            first in prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)],
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0..8_usize,
        ) {
            prop_assert_eq!(read_journal(first, &bytes).count(), 0);
            let Some(row) = first.checked_add(at as u64) else { return Ok(()) };
            if let Some(slot) = bytes.chunks_exact_mut(SLOT_BYTES).nth(at) {
                slot.copy_from_slice(&DONE.to_slot(row));
                let found: Vec<_> = read_journal(first, &bytes).collect();
                prop_assert_eq!(found, [(row, DONE)]);
            }
        }
    }
}
