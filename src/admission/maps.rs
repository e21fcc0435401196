//! What attention maps take: they grow with the square of a sequence.

use crate::model::ContactSums;
use crate::product::{Extent, OutDtype};

/// Bytes of a number in memory.
const FLOAT: u64 = size_of::<f32>() as u64;

/// Memory of a pass that hands attention maps over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapCost {
    /// Maps that contacts may be made of; None without contacts.
    pub channels: Option<usize>,
    /// Whether the mean over the heads is computed.
    pub mean: bool,
}

impl MapCost {
    /// Bytes of a pass over `tokens` tokens with a longest sequence of `longest`: the map of one head,
    /// the mean, and for each sequence the sums that contacts are made of.
    pub(super) fn pass(&self, tokens: usize, longest: usize) -> u64 {
        let map = (longest as u64).saturating_mul(longest as u64);
        let maps = if self.mean { 2 } else { 1 };
        let maps = map.saturating_mul(maps * FLOAT);
        let contacts = self.channels.map_or(0, |channels| {
            // No batch takes more than one of sequences that are all as long as the longest.
            let sequences = (tokens as u64).div_ceil(longest.max(1) as u64);
            ContactSums::bytes(longest, channels).saturating_mul(sequences)
        });
        maps.saturating_add(contacts)
    }
}

/// Largest file of attention maps.
const LARGEST: u64 = 4 << 30;

/// How large the attention maps of one record may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLimit {
    /// Maps of a record.
    pub maps: u64,
    /// How their numbers are stored.
    pub dtype: OutDtype,
}

impl MapLimit {
    /// The bytes of the maps of a record of `residues` residues, if they are too many.
    pub(super) fn exceeded(&self, residues: usize) -> Option<u64> {
        let elements = Extent::TokenPairs.elements(residues as u64);
        let map = elements.unwrap_or(u64::MAX);
        let bytes = map.saturating_mul(self.maps * self.dtype.bytes());
        (bytes > LARGEST).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_holds_one_map_and_the_sums_of_contacts() {
        let attentions = MapCost {
            channels: None,
            mean: false,
        };
        assert_eq!(attentions.pass(1002, 1002), 1002 * 1002 * 4);
        let mean = MapCost {
            mean: true,
            ..attentions
        };
        assert_eq!(mean.pass(1002, 1002), 2 * 1002 * 1002 * 4);
        let contacts = MapCost {
            channels: Some(660),
            ..attentions
        };
        // 650M: 60 MB at 1,000 residues, 150 MB at 2,000.
        assert!((20_000_000..60_000_000).contains(&contacts.pass(1002, 1002)));
        assert!((70_000_000..150_000_000).contains(&contacts.pass(2002, 2002)));
        assert!(contacts.pass(1024, 16) < contacts.pass(1024, 1024));
        assert_eq!(attentions.pass(0, 0), 0);
    }

    #[test]
    fn maps_of_four_gibibytes_are_the_largest() {
        let all = MapLimit {
            maps: 33 * 20,
            dtype: OutDtype::F32,
        };
        // 660 · 1,275² · 4 bytes are just below.
        assert_eq!(all.exceeded(1273), None);
        assert_eq!(all.exceeded(1274), Some(660 * 1276 * 1276 * 4));
        let half = MapLimit {
            dtype: OutDtype::F16,
            ..all
        };
        assert_eq!(half.exceeded(1274), None);
        assert_eq!(all.exceeded(usize::MAX), Some(u64::MAX));
    }
}
