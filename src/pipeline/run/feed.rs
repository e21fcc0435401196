//! The reading side of a run: gives every record its place and forms batches.

use crate::batching;
use crate::output::{Entry, Ledger, Skip, key};
use crate::pipeline::input::findings::Findings;
use crate::pipeline::input::records::{Next, Records};
use crate::pipeline::input::unique_ids::refusal;
use crate::pipeline::job::OnDuplicateId;
use crate::pipeline::plan::batches::Batching;
use crate::pipeline::reporter::{Reporter, Totals};
use crate::pipeline::run::finished_rows::FinishedRows;
use crate::pipeline::run::work::Item;
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
    /// Records to warn about.
    pub findings: Findings,
}

/// Reads every record, enters it into the ledger and sends batches to the workers.
///
/// Returns early, without an error, when the workers have stopped: their error is the one that counts.
///
/// # Errors
/// An input that cannot be read or is not that of the interrupted run, an unfit record that is not
/// to be skipped, or an index that cannot be written.
pub fn feed(records: &mut Records<'_>, feed: Feed<'_>) -> Result<Fed> {
    let Feed {
        ledger,
        mut done,
        batching,
        on_duplicate_id,
        send,
        go_on,
        reporter,
    } = feed;

    let mut findings = Findings::default();
    let mut waiting: Vec<Item> = Vec::new();
    let (mut tokens, mut residues, mut restored_residues) = (0, 0, 0);
    loop {
        if !go_on() {
            return Ok(Fed {
                kept: done.kept(),
                findings,
            });
        }
        let prepared = match records.next()? {
            Next::End => break,
            Next::Skipped(skipped) => {
                ledger.skip(&Skip {
                    ordinal: records.ordinal(),
                    file: skipped.path.as_os_str().as_encoded_bytes(),
                    line: skipped.line,
                    record: skipped.number,
                    id: &skipped.id,
                    reason: &skipped.reason,
                })?;
                continue;
            }
            Next::Refused(message) => bail!(message),
            Next::Ready(prepared) => prepared,
        };
        findings.add(prepared.nucleotides, prepared.gaps, || records.shown());
        let record = records.record();
        let entered = ledger.enter(&Entry {
            ordinal: records.ordinal(),
            id: &record.id,
            description: &record.description,
            length: prepared.residues() as u64,
            sequence: key(&prepared.tokens),
            truncated_from: prepared.truncated_from,
            windows: match prepared.windows.len() {
                0 => None,
                count => Some(count as u64),
            },
            unknown: prepared.unknown,
            lower: prepared.lower,
            masks: prepared.masks,
            gaps: prepared.gaps,
            invisible: prepared.invisible,
            nucleotides: prepared.nucleotides,
            stop: prepared.stop,
        })?;
        if entered.reused_id && on_duplicate_id == OnDuplicateId::Fail {
            bail!(refusal(&records.shown()));
        }
        if entered.duplicate_of.is_some() {
            continue;
        }
        residues += prepared.residues() as u64;
        if done.has(&entered).with_context(|| records.shown())? {
            restored_residues += prepared.residues() as u64;
            reporter.restored(1, prepared.residues() as u64);
            continue;
        }
        tokens += prepared.tokens.len();
        waiting.push(Item {
            place: entered.place,
            // For messages: thousands of records wait, and an identifier may have megabytes.
            id: record.id.iter().take(SHOWN).copied().collect(),
            tokens: prepared.tokens,
            windows: prepared.windows,
            input: entered.input,
        });
        if tokens >= batching.waiting_tokens() || waiting.len() >= WAITING {
            reporter.working();
            if !send_batches(&mut waiting, batching, batching.max_tokens, &send) {
                return Ok(Fed {
                    kept: done.kept(),
                    findings,
                });
            }
            tokens = 0;
        }
    }
    done.end(ledger.counts().records)?;
    let counts = ledger.counts();
    reporter.counted(Totals {
        records: Some(counts.unique_sequences),
        residues: Some(residues),
        duplicates: counts.duplicates,
        restored_records: done.kept(),
        restored_residues,
    });
    if !waiting.is_empty() {
        reporter.working();
    }
    send_batches(&mut waiting, batching, batching.budget(tokens), &send);
    Ok(Fed {
        kept: done.kept(),
        findings,
    })
}

/// Batches the waiting records; false when all workers have stopped.
fn send_batches(
    waiting: &mut Vec<Item>,
    batching: Batching,
    budget: usize,
    send: &SyncSender<Vec<Item>>,
) -> bool {
    let lengths: Vec<usize> = waiting.iter().map(|item| item.tokens.len()).collect();
    let mut items: Vec<Option<Item>> = waiting.drain(..).map(Some).collect();
    batching::batches(&lengths, budget, batching.one_each)
        .into_iter()
        .all(|batch| {
            let batch = batch
                .into_iter()
                .filter_map(|i| items.get_mut(i).and_then(Option::take))
                .collect();
            send.send(batch).is_ok()
        })
}
