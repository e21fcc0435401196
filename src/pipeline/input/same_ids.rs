//! `--on-duplicate-id fail`: records with one identifier and different sequences, found while the
//! input is read for the first time.
//!
//! What was met is in a file that has no name any more, so that memory does not grow with the
//! number of records and nothing is left behind.

use crate::output::{DiskMap, Key, id_text, key};
use crate::pipeline::input::records::Records;
use crate::pipeline::job::{Job, OnDuplicateId};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// The identifiers met so far, each with its sequence.
pub struct SameIds(DiskMap);

impl SameIds {
    /// Nothing was met; `None` if the job does not ask for it.
    ///
    /// # Errors
    /// No place for a temporary file.
    pub fn of(job: &Job) -> Result<Option<SameIds>> {
        match job.inputs.on_duplicate_id {
            OnDuplicateId::Warn => Ok(None),
            OnDuplicateId::Fail => SameIds::near(&job.output.folder).map(Some),
        }
    }

    fn near(out: &Path) -> Result<SameIds> {
        let seen = DiskMap::temporary(out)
            .context("--on-duplicate-id fail needs a temporary file, which cannot be made")?;
        Ok(SameIds(seen))
    }

    /// Compares the record that was read last, which has these tokens.
    ///
    /// # Errors
    /// An earlier record has its identifier and another sequence, or the file fails.
    pub fn check(&mut self, records: &Records<'_>, tokens: &[u8]) -> Result<()> {
        let sequence = number(key(tokens));
        let met = self
            .0
            .get_or_insert(key(&id_text(&records.record().id)), sequence)
            .context("the temporary file of --on-duplicate-id fail cannot be used")?;
        match met {
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

/// What is wrong with the record at this place.
pub fn refusal(place: &str) -> String {
    format!(
        "{place}: an earlier record has the same id and another sequence, and --on-duplicate-id \
         fail was given. Make the ids unique, or leave that option out: index.tsv tells the \
         records apart by row"
    )
}
