//! `on_duplicate_id=fail`: records with the same identifier and different sequences, found in the
//! first pass over the input.
//!
//! Many identifiers are in files without names, so that little is in memory and nothing is left behind.

use crate::output::{DiskMap, Key, id_text, key};
use crate::pipeline::input::records::Records;
use crate::pipeline::job::{Job, OnDuplicateId};
use crate::tokenizer::{TokenId, bytes_of};
use anyhow::{Context, Result, bail};

/// The identifiers so far, each with its sequence.
pub struct UniqueIds(DiskMap);

impl UniqueIds {
    /// No identifiers yet; `None` if the job allows duplicates.
    pub fn of(job: &Job) -> Option<UniqueIds> {
        match job.inputs.on_duplicate_id {
            OnDuplicateId::Warn => None,
            OnDuplicateId::Fail => Some(UniqueIds(DiskMap::temporary(&job.output.folder))),
        }
    }

    /// Compares the record that was read last, which has these tokens.
    ///
    /// # Errors
    /// An earlier record has its identifier and another sequence, or the file fails.
    pub fn check(&mut self, records: &Records<'_>, tokens: &[TokenId]) -> Result<()> {
        let sequence = number(key(&bytes_of(tokens)));
        let earlier = self
            .0
            .get_or_insert(key(&id_text(&records.record().id)), sequence)
            .context("the temporary files for `on_duplicate_id=fail` cannot be used")?;
        match earlier {
            Some(first) if first != sequence => bail!(refusal(&records.shown())),
            _ => Ok(()),
        }
    }
}

/// Half of a key, as a number that can be stored.
fn number(key: Key) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) >> 1
}

/// Why the record at this place is refused.
pub fn refusal(place: &str) -> String {
    format!(
        "{place}: an earlier record has the same id and another sequence, which \
         `on_duplicate_id=fail` does not allow\n\
         hint: make the ids unique, or leave out `on_duplicate_id`: index.tsv tells the records \
         apart by row"
    )
}
