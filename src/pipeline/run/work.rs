//! Worker threads: each takes the next batch, embeds it and writes its rows. No worker waits for
//! another, and their order does not matter because every row has its place.

use crate::admission::{Gate, PassCost};
use crate::embedder::{Computed, Embedder, EngineError, Sequence};
use crate::output::{ArrayWriter, Journal, Key, OutputError, Place, Proof, RecordWriter, Written};
use crate::pipeline::input::records::shown;
use crate::pipeline::reporter::Reporter;
use crate::pipeline::stop::Stop;
use crate::product::{Product, Request};
use crate::tokenizer::TokenId;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

/// One record to embed.
#[derive(Debug)]
pub struct Item {
    /// The place of its rows in the output.
    pub place: Place,
    /// First word of its header, possibly shortened, for messages.
    pub id: Vec<u8>,
    /// `<cls>`, residues, `<eos>`.
    pub tokens: Vec<TokenId>,
    /// Windows to embed one by one; empty to embed the whole sequence.
    pub windows: Vec<Range<usize>>,
    /// The input up to the record, for the journal.
    pub input: Key,
}

/// What workers share.
pub struct Workers<'a> {
    /// The model.
    pub embedder: &'a Embedder,
    /// What to compute for each record.
    pub request: &'a Request,
    /// Where rows go.
    pub rows: &'a ArrayWriter,
    /// Lists the records whose rows are written.
    pub journal: &'a Journal,
    /// Receives the progress after every batch.
    pub reporter: &'a dyn Reporter,
    /// Set by the first worker that fails, so that none takes another batch.
    pub failed: &'a AtomicBool,
    /// Asks workers to cancel their batches and take no more.
    pub stop: &'a Stop,
    /// Keeps the passes that run together within the memory.
    pub gate: &'a Gate,
    /// The memory of a pass.
    pub cost: PassCost,
}

impl Workers<'_> {
    /// Works until there are no more batches.
    ///
    /// # Errors
    /// The first batch that cannot be embedded or written, naming the record.
    pub fn run(&self, batches: &Mutex<Receiver<Vec<Item>>>) -> Result<()> {
        loop {
            let next = match batches.lock() {
                Ok(receiver) => receiver.recv(),
                // Another worker panicked while it took a batch: the run cannot continue.
                Err(_) => return Ok(()),
            };
            let Ok(batch) = next else { return Ok(()) };
            if self.failed.load(Ordering::Relaxed) || self.stop.is_asked() {
                return Ok(());
            }
            match self.embed(&batch) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            let residues = batch.iter().map(|item| item.place.length).sum();
            self.reporter.advance(batch.len() as u64, residues);
        }
    }

    /// Embeds and writes a batch; false if it was cancelled.
    fn embed(&self, batch: &[Item]) -> Result<bool> {
        let sequences: Vec<Sequence<'_>> = batch
            .iter()
            .map(|item| Sequence {
                tokens: &item.tokens,
                windows: &item.windows,
            })
            .collect();
        let each = batch.iter().map(|item| (item.tokens.len(), &*item.windows));
        let _entered = self.gate.enter(self.cost.batch(each));
        let mut proofs = vec![Proof::default(); batch.len()];
        let mut open = HashMap::new();
        let mut failed = None;
        let cancel = self.stop.cancel();
        let mut out = |computed: Computed<'_>| {
            let at = computed.sequence;
            let (Some(item), Some(proof)) = (batch.get(at), proofs.get_mut(at)) else {
                return ControlFlow::Continue(());
            };
            if let Some(fallback) = computed.fallback {
                proof.note_fallback(fallback);
            }
            match self.write(&computed, &item.place, &mut open) {
                Ok(written) => {
                    written.into_iter().for_each(|written| proof.add(written));
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some((at, error));
                    ControlFlow::Break(())
                }
            }
        };
        let done = self
            .embedder
            .embed(&sequences, self.request, cancel, &mut out);
        if failed.is_none() && done.is_ok() {
            // A product of which parts are missing.
            failed = open.into_iter().find_map(|((at, _), record)| {
                let missing = record.finish().err()?;
                Some((at, missing))
            });
        }
        if let Some((at, error)) = failed {
            return Err(error).with_context(|| name(batch, Some(at)));
        }
        match done {
            Ok(()) => {
                for (item, proof) in batch.iter().zip(&proofs) {
                    self.journal.enter(item.place.row, item.input, proof)?;
                }
                Ok(true)
            }
            Err(EngineError::Cancelled) => Ok(false),
            Err(error) => {
                let at = error.sequence();
                Err(error).with_context(|| name(batch, at))
            }
        }
    }

    /// Writes a product, or a part of one; returns what was written once a product is complete.
    fn write<'r>(
        &'r self,
        computed: &Computed<'_>,
        place: &Place,
        open: &mut HashMap<(usize, Product), RecordWriter<'r>>,
    ) -> Result<Option<Written>, OutputError> {
        let &Computed {
            sequence,
            product,
            values,
            fallback: _,
        } = computed;
        let product = match product {
            Product::Pooled { pool, .. } if self.rows.has(Product::Stacked { pool }) => {
                Product::Stacked { pool }
            }
            other => other,
        };
        if !product.is_streamed() {
            return self.rows.write(product, place, values).map(Some);
        }
        let mut record = match open.remove(&(sequence, product)) {
            Some(record) => record,
            None => self.rows.begin(product, place)?,
        };
        record.push(values)?;
        if record.is_complete() {
            return record.finish().map(Some);
        }
        open.insert((sequence, product), record);
        Ok(None)
    }
}

/// Names the record that an error concerns, or a whole batch.
fn name(batch: &[Item], at: Option<usize>) -> String {
    let Some(item) = batch.get(at.unwrap_or(0)) else {
        return "a batch".into();
    };
    let record = format!("record {} (row {})", shown(&item.id), item.place.row);
    match (at, batch.len()) {
        (Some(_), _) | (None, 1) => record,
        (None, count) => format!("a batch of {record} and {} more", count - 1),
    }
}
