//! A digest of the input up to each record.

use crate::output::disk_map::Key;
use crate::output::index::{Entry, Skip};
use sha2::{Digest, Sha256};

/// Each digest covers the one before it: two are equal if all records up to there are equal.
#[derive(Debug, Default)]
pub(crate) struct InputDigest {
    last: [u8; 32],
}

impl InputDigest {
    /// The digest after one more record. Dropped characters are not part of it: no value depends on
    /// them, and the index is written again from the input.
    pub(crate) fn enter(&mut self, entry: &Entry) -> Key {
        let optional = |number: Option<u64>| number.map_or(0, |number| number.saturating_add(1));
        self.add(
            b'e',
            &[
                entry.length,
                optional(entry.truncated_from),
                optional(entry.windows),
                entry.unknown,
                entry.lower,
                entry.masks,
                u64::from(entry.stop),
            ],
            &[&entry.sequence, entry.id, entry.description],
        )
    }

    /// The digest after a skipped record.
    pub(crate) fn skip(&mut self, skip: &Skip) -> Key {
        self.add(b's', &[], &[skip.id, skip.reason.as_bytes()])
    }

    fn add(&mut self, kind: u8, numbers: &[u64], texts: &[&[u8]]) -> Key {
        let mut hash = Sha256::new_with_prefix(self.last);
        hash.update([kind]);
        for number in numbers {
            hash.update(number.to_le_bytes());
        }
        for text in texts {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        self.last = hash.finalize().into();
        let mut key = Key::default();
        for (to, from) in key.iter_mut().zip(self.last) {
            *to = from;
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn of(records: &[Entry]) -> Key {
        let mut digest = InputDigest::default();
        records
            .iter()
            .map(|entry| digest.enter(entry))
            .last()
            .unwrap()
    }

    #[test]
    fn every_field_and_every_earlier_record_counts() {
        let plain = Entry {
            id: b"ab",
            description: b"c",
            length: 3,
            ..Entry::default()
        };
        let mut changed = vec![plain; 11];
        changed[1].id = b"a";
        changed[2].description = b"d";
        changed[3].length = 4;
        changed[4].sequence = [1; 16];
        changed[5].truncated_from = Some(0);
        changed[6].windows = Some(0);
        changed[7].unknown = 1;
        changed[8].lower = 1;
        changed[9].masks = 1;
        changed[10].stop = true;
        let mut seen = HashSet::new();
        for entry in &changed {
            assert!(seen.insert(of(&[*entry])), "{entry:?}");
            assert!(seen.insert(of(&[*entry, plain])), "{entry:?}");
        }
        // The letters of one field do not stand for those of the next.
        let moved = Entry {
            id: b"a",
            description: b"bc",
            ..plain
        };
        assert!(seen.insert(of(&[moved])));
        assert_eq!(of(&[plain, plain]), of(&[plain, plain]));
    }

    #[test]
    fn a_record_left_out_counts() {
        let after = |skips: &[(&[u8], &str)]| {
            let mut digest = InputDigest::default();
            for (id, reason) in skips {
                let (id, reason) = (*id, *reason);
                digest.skip(&Skip {
                    ordinal: 0,
                    file: b"x",
                    line: 1,
                    record: 1,
                    id,
                    reason,
                });
            }
            digest.enter(&Entry::default())
        };
        let all = [
            after(&[]),
            after(&[(b"a", "r")]),
            after(&[(b"b", "r")]),
            after(&[(b"a", "s")]),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 4);
    }
}
