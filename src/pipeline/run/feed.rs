//! The reading side of a run: gives every record its place and forms batches.

use crate::admission::Prepared;
use crate::batching;
use crate::output::{Entered, Entry, Ledger, Skip, key};
use crate::pipeline::input::findings::Findings;
use crate::pipeline::input::records::{Next, Records, Skipped};
use crate::pipeline::input::unique_ids::refusal;
use crate::pipeline::job::OnDuplicateId;
use crate::pipeline::plan::batches::Batching;
use crate::pipeline::reporter::{Reporter, Totals};
use crate::pipeline::run::finished_rows::FinishedRows;
use crate::pipeline::run::known::KnownRows;
use crate::pipeline::run::work::Item;
use crate::tokenizer::bytes_of;
use anyhow::{Context, Result, bail};
use std::sync::mpsc::SyncSender;

/// Records that wait to be batched: sorting by length needs some to choose from.
const WAITING: usize = 16_384;

/// Bytes of an identifier that are kept for messages.
const SHOWN: usize = 1024;

/// Where records go.
pub struct Feed<'a> {
    /// Gives each its place.
    pub ledger: &'a mut Ledger,
    /// Says which ones the interrupted run has done.
    pub done: FinishedRows<'a>,
    /// Says which ones other output folders hold.
    pub known: Option<KnownRows<'a>>,
    /// How batches are formed.
    pub batching: Batching,
    /// Records with the identifier of an earlier one; in files, they were found by the first pass.
    pub on_duplicate_id: OnDuplicateId,
    /// Where they go.
    pub send: SyncSender<Vec<Item>>,
    /// Whether to continue.
    pub go_on: &'a dyn Fn() -> bool,
    /// Receives progress.
    pub reporter: &'a dyn Reporter,
}

/// What reading found.
#[derive(Debug, Default)]
pub struct Fed {
    /// Records that an interrupted run has done.
    pub kept: u64,
    /// Distinct sequences that other output folders hold.
    pub known: u64,
    /// Records to warn about.
    pub findings: Findings,
}

/// Reads every record, enters it into the ledger and sends batches to the workers.
///
/// Returns early, without an error, when the workers have stopped: their error is the one that counts.
///
/// # Errors
/// An input that cannot be read or is not that of the interrupted run, a record that cannot be
/// embedded and is not to be skipped, or an index that cannot be written.
pub fn feed(records: &mut Records<'_>, feed: Feed<'_>) -> Result<Fed> {
    let mut feeder = Feeder {
        feed,
        findings: Findings::default(),
        waiting: Vec::new(),
        tokens: 0,
        residues: 0,
        restored_residues: 0,
    };
    let mut is_received = true;
    while is_received && (feeder.feed.go_on)() {
        match records.next()? {
            Next::Ready(prepared) => is_received = feeder.take(records, prepared)?,
            Next::Skipped(skipped) => feeder.skip(records, &skipped)?,
            Next::Refused(message) => bail!(message),
            Next::End => {
                feeder.end()?;
                break;
            }
        }
    }
    Ok(Fed {
        kept: feeder.feed.done.kept(),
        known: feeder.feed.known.as_ref().map_or(0, KnownRows::count),
        findings: feeder.findings,
    })
}

/// Forms batches.
struct Feeder<'a> {
    feed: Feed<'a>,
    findings: Findings,
    waiting: Vec<Item>,
    /// Of the waiting records.
    tokens: usize,
    /// Of distinct records so far.
    residues: u64,
    /// Of distinct records that the interrupted run has done.
    restored_residues: u64,
}

impl Feeder<'_> {
    fn skip(&mut self, records: &Records<'_>, skipped: &Skipped) -> Result<()> {
        self.feed.ledger.skip(&Skip {
            ordinal: records.ordinal(),
            file: skipped.path.as_os_str().as_encoded_bytes(),
            line: skipped.line,
            record: skipped.number,
            id: &skipped.id,
            reason: &skipped.reason,
        })?;
        Ok(())
    }

    /// Gives a record its place and queues it, unless its rows exist; false when all workers have
    /// stopped.
    fn take(&mut self, records: &Records<'_>, prepared: Prepared) -> Result<bool> {
        let (nucleotides, gaps) = (prepared.nucleotides, prepared.gaps);
        self.findings.add(nucleotides, gaps, || records.shown());
        let entered = self.enter(records, &prepared)?;
        if entered.reused_id && self.feed.on_duplicate_id == OnDuplicateId::Fail {
            bail!(refusal(&records.shown()));
        }
        if entered.duplicate_of.is_some() {
            return Ok(true);
        }
        let residues = prepared.residues() as u64;
        self.residues += residues;
        let sequence = key(&bytes_of(&prepared.tokens));
        let known = self.feed.known.as_mut();
        let known = known
            .map(|known| known.find(sequence))
            .transpose()?
            .flatten();
        let is_done = self.feed.done.has(&entered);
        if is_done.with_context(|| records.shown())? {
            self.restored_residues += residues;
            self.feed.reporter.restored(1, residues);
            return Ok(true);
        }
        if let (Some(found), Some(rows)) = (known, &self.feed.known) {
            rows.copy(&found, &entered)
                .with_context(|| records.shown())?;
            self.feed.reporter.restored(1, residues);
            return Ok(true);
        }
        self.tokens += prepared.tokens.len();
        self.waiting.push(Item {
            place: entered.place,
            // For messages: thousands of records wait, and an identifier may have megabytes.
            id: records.record().id.iter().take(SHOWN).copied().collect(),
            tokens: prepared.tokens,
            windows: prepared.windows,
            input: entered.input,
        });
        let batching = &self.feed.batching;
        let is_full = self.tokens >= batching.waiting_tokens() || self.waiting.len() >= WAITING;
        Ok(!is_full || self.send(batching.max_tokens))
    }

    fn enter(&mut self, records: &Records<'_>, prepared: &Prepared) -> Result<Entered> {
        let record = records.record();
        let windows = prepared.windows.len() as u64;
        let entered = self.feed.ledger.enter(&Entry {
            ordinal: records.ordinal(),
            id: &record.id,
            description: &record.description,
            length: prepared.residues() as u64,
            sequence: key(&bytes_of(&prepared.tokens)),
            truncated_from: prepared.truncated_from,
            windows: (windows > 0).then_some(windows),
            unknown: prepared.unknown,
            lower: prepared.lower,
            masks: prepared.masks,
            gaps: prepared.gaps,
            invisible: prepared.invisible,
            nucleotides: prepared.nucleotides,
            stop: prepared.stop,
        })?;
        Ok(entered)
    }

    /// Reports the totals and sends what waits.
    fn end(&mut self) -> Result<()> {
        let counts = self.feed.ledger.counts();
        self.feed.done.end(counts.records)?;
        self.feed.reporter.counted(Totals {
            records: Some(counts.unique_sequences),
            residues: Some(self.residues),
            duplicates: counts.duplicates,
            restored_records: self.feed.done.kept(),
            restored_residues: self.restored_residues,
            ..Totals::default()
        });
        if !self.waiting.is_empty() {
            self.send(self.feed.batching.budget(self.tokens));
        }
        Ok(())
    }

    /// Sends the waiting records in batches of up to `budget` tokens; false when all workers have
    /// stopped.
    fn send(&mut self, budget: usize) -> bool {
        self.feed.reporter.working();
        self.tokens = 0;
        let lengths: Vec<usize> = self.waiting.iter().map(|item| item.tokens.len()).collect();
        let mut items: Vec<Option<Item>> = self.waiting.drain(..).map(Some).collect();
        batching::batches(&lengths, budget, self.feed.batching.one_each)
            .into_iter()
            .all(|batch| {
                let batch = batch
                    .into_iter()
                    .filter_map(|i| items.get_mut(i).and_then(Option::take))
                    .collect();
                self.feed.send.send(batch).is_ok()
            })
    }
}
