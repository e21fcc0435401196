//! The names of records in files that need one for each.

use super::source::Source;
use super::{ExportError, sequences::Sequences};
use crate::output::{DiskMap, Record, id_text, key};
use crate::sha256::sha256_of;
use std::collections::HashMap;
use std::path::Path;

/// What names the records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keys {
    /// Their ids.
    #[default]
    Id,
    /// The number of their row, from 0.
    Row,
    /// biotrainer's hash of their sequences as in the FASTA: SHA-256 of the sequence, `_` and its
    /// length. Records with the same sequence are written once, under the first one's id.
    Hash,
}

/// The id as text.
pub(super) fn text(id: &[u8]) -> String {
    String::from_utf8_lossy(&id_text(id)).into_owned()
}

/// The names that were given.
pub(super) struct Names {
    keys: Keys,
    /// Whether `/` separates groups.
    has_groups: bool,
    seen: DiskMap,
    /// The number of uses of each id that was used more than once.
    uses: HashMap<String, u64>,
    sequences: Option<Sequences>,
    out: std::path::PathBuf,
}

impl Names {
    pub(super) fn new(
        source: &Source,
        keys: Keys,
        has_groups: bool,
        out: &Path,
    ) -> Result<Self, ExportError> {
        Ok(Self {
            keys,
            has_groups,
            seen: DiskMap::temporary(out),
            uses: HashMap::new(),
            sequences: match keys {
                Keys::Hash => Some(source.sequences()?),
                Keys::Id | Keys::Row => None,
            },
            out: out.to_path_buf(),
        })
    }

    /// Takes a name that no record may get.
    pub(super) fn reserve(&mut self, name: &str) -> Result<(), ExportError> {
        self.take(name).map(drop)
    }

    /// The name of the next record; None if an earlier record has its sequence.
    pub(super) fn next(&mut self, record: &Record) -> Result<Option<String>, ExportError> {
        match self.keys {
            Keys::Row => Ok(Some(record.row.to_string())),
            Keys::Hash => {
                let Some(sequences) = &mut self.sequences else {
                    return Ok(None);
                };
                let sequence = sequences.next(record)?.as_written;
                let length = sequence.len();
                let text = [sequence, format!("_{length}").as_bytes()].concat();
                let hash = sha256_of(text);
                Ok(self.take(&hash)?.then_some(hash))
            }
            Keys::Id => {
                let mut name = text(&record.id);
                if self.has_groups {
                    name = name.replace('/', "_");
                    if name == "." {
                        name = "_".into();
                    }
                }
                if name.is_empty() {
                    name = "unnamed".into();
                }
                self.unique(name).map(Some)
            }
        }
    }

    /// To be called after the last record.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        self.sequences.map_or(Ok(()), Sequences::finish)
    }

    fn unique(&mut self, name: String) -> Result<String, ExportError> {
        if self.take(&name)? {
            return Ok(name);
        }
        loop {
            let uses = self.uses.entry(name.clone()).or_insert(1);
            *uses += 1;
            let unique = format!("{name}_{uses}");
            if self.take(&unique)? {
                return Ok(unique);
            }
        }
    }

    /// Whether a name was free.
    fn take(&mut self, name: &str) -> Result<bool, ExportError> {
        let before = self.seen.get_or_insert(key(name.as_bytes()), 0);
        Ok(before.map_err(ExportError::io(&self.out))?.is_none())
    }
}
