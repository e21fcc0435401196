//! The reading side of a run: gives every record its place and forms batches.

use super::records::{Next, Records};
use super::work::Item;
use crate::batching;
use crate::output::{Entry, Ledger, Skip, key};
use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

/// Records that wait to be batched, at most: sorting by length needs some to choose from.
const WAITING: usize = 16_384;

/// How batches are formed.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Tokens of one batch at most.
    pub max_tokens: usize,
    /// One sequence per batch.
    pub one_each: bool,
    /// Threads that share the work.
    pub threads: usize,
}

impl Batching {
    /// Tokens that may wait to be batched.
    fn waiting_tokens(&self) -> usize {
        self.max_tokens.saturating_mul(16 * self.threads)
    }

    /// Tokens of one batch when `waiting` are to be shared: small inputs use every thread.
    fn budget(&self, waiting: usize) -> usize {
        const LEAST: usize = 256;
        let share = waiting.div_ceil(2 * self.threads.max(1));
        self.max_tokens.min(share.max(LEAST))
    }
}

/// Reads every record, enters it into the ledger and sends batches to the workers.
///
/// Returns early, and well, when the workers have stopped: their error is the one that counts.
///
/// # Errors
/// An input that cannot be read, an unfit record that is not to be skipped, or an index that
/// cannot be written.
pub fn feed(
    records: &mut Records<'_>,
    ledger: &mut Ledger,
    batching: Batching,
    send: &SyncSender<Vec<Item>>,
    stop: &AtomicBool,
    advance: &dyn Fn(u64, u64),
) -> Result<()> {
    let mut waiting: Vec<Item> = Vec::new();
    let mut tokens = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
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
            Next::Ready(prepared) => prepared,
        };
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
            stop: prepared.stop,
        })?;
        if entered.duplicate_of.is_some() {
            advance(1, prepared.residues() as u64);
            continue;
        }
        tokens += prepared.tokens.len();
        waiting.push(Item {
            place: entered.place,
            id: record.id.clone(),
            tokens: prepared.tokens,
            windows: prepared.windows,
        });
        if tokens >= batching.waiting_tokens() || waiting.len() >= WAITING {
            if !send_batches(&mut waiting, batching, batching.max_tokens, send) {
                return Ok(());
            }
            tokens = 0;
        }
    }
    send_batches(&mut waiting, batching, batching.budget(tokens), send);
    Ok(())
}

/// Batches what waits; false when nobody receives any more.
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
