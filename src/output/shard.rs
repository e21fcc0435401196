//! `shard.tsv`: the position of the records of one shard in the whole input.
//!
//! The folder of a shard is an ordinary output, with rows counted from 0, and has this table as well:
//! one line for each record of the shard, including skipped ones, in input order.
//!
//! | column | |
//! |---|---|
//! | `record` | its number in the whole input, from 0, counting skipped records |
//! | `sequence` | [`Key`] of the sequence, in hexadecimal; empty if the record was skipped |
//! | `masks` | `<mask>` tokens; empty if the record was skipped |

use crate::output::disk_map::Key;
use crate::output::index::Entry;
use crate::run_record::{PlanDigest, Shard};
use crate::sha256::{hex, parse_hex};
use serde::{Deserialize, Serialize};

/// First line of `shard.tsv`.
pub(super) const COLUMNS: &str = "record\tsequence\tmasks\n";
/// Longest line that is read.
pub(super) const LONGEST_LINE: usize = 128;

/// Which shard of an input is in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Its number, from 1.
    pub number: u64,
    /// Number of shards.
    pub of: u64,
    /// Records of the whole input, including skipped ones.
    pub input_records: u64,
    /// The plan that has the records of the shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanDigest>,
}

impl From<ShardEntry> for Shard {
    fn from(entry: ShardEntry) -> Shard {
        Shard {
            number: entry.number,
            of: entry.of,
        }
    }
}

/// The line of a record with rows.
pub(super) fn line(entry: &Entry) -> String {
    let key = hex(&entry.sequence);
    format!("{}\t{key}\t{}\n", entry.ordinal, entry.masks)
}

/// The line of a record that was skipped.
pub(super) fn skipped_line(ordinal: u64) -> String {
    format!("{ordinal}\t\t\n")
}

/// One line, read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShardLine {
    pub(super) ordinal: u64,
    /// Key and masks, unless the record was skipped.
    pub(super) embedded: Option<(Key, u64)>,
}

impl ShardLine {
    /// Reads a line without its end; `None` unless it is one that a run writes.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(line).ok()?.split('\t');
        let (ordinal, key, masks) = (fields.next()?, fields.next()?, fields.next()?);
        let embedded = match (key, masks) {
            ("", "") => None,
            _ => Some((parse_hex(key)?, masks.parse().ok()?)),
        };
        let line = Self {
            ordinal: ordinal.parse().ok()?,
            embedded,
        };
        fields.next().is_none().then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::disk_map::key;

    #[test]
    fn lines_are_read_back() {
        let entry = Entry {
            ordinal: 41,
            sequence: key(b""),
            masks: 2,
            ..Entry::default()
        };
        let text = line(&entry);
        assert_eq!(text, "41\te3b0c44298fc1c149afbf4c8996fb924\t2\n");
        let embedded = ShardLine::parse(text.trim_end().as_bytes()).unwrap();
        assert_eq!(embedded.ordinal, 41);
        assert_eq!(embedded.embedded, Some((key(b""), 2)));
        assert_eq!(skipped_line(7), "7\t\t\n");
        let skipped = ShardLine {
            ordinal: 7,
            embedded: None,
        };
        assert_eq!(ShardLine::parse(b"7\t\t"), Some(skipped));
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "7",
            "7\t",
            "7\t\t\t",
            "x\t\t",
            "7\t\t1",
            "7\te3b0c44298fc1c149afbf4c8996fb924\t",
            "7\te3b0c44298fc1c149afbf4c8996fb92\t1",
            "7\te3b0c44298fc1c149afbf4c8996fb92é\t1",
            "7\t+3b0c44298fc1c149afbf4c8996fb924\t1",
            "-7\t\t",
        ] {
            assert_eq!(ShardLine::parse(line.as_bytes()), None, "{line:?}");
        }
    }
}
