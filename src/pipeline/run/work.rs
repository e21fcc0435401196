//! Worker threads: each takes the next batch, embeds it and writes its rows. Nobody waits for
//! anybody else, and order does not matter: every row has its place.

use crate::admission::{Gate, PassCost};
use crate::embedder::{EmbedError, Embedder, Sequence};
use crate::output::{ArrayWriter, Journal, Key, OutputError, Place, Pool, Proof};
use crate::pipeline::input::records::shown;
use crate::pipeline::reporter::Reporter;
use crate::pipeline::stop::Stop;
use crate::pooling;
use crate::product::{Product, Values};
use anyhow::{Context, Result};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

/// One record to embed.
#[derive(Debug)]
pub struct Item {
    /// Where its rows belong.
    pub place: Place,
    /// First word of its header, or the beginning of it, for messages.
    pub id: Vec<u8>,
    /// `<cls>`, residues, `<eos>`.
    pub tokens: Vec<u8>,
    /// Windows to embed one by one; empty to embed it whole.
    pub windows: Vec<Range<usize>>,
    /// The input up to the record, for the journal.
    pub input: Key,
}

/// What workers share.
pub struct Workers<'a> {
    /// The model.
    pub embedder: &'a Embedder,
    /// Layers to write.
    pub layers: &'a [usize],
    /// Pools to write.
    pub pools: &'a [Pool],
    /// Where rows go.
    pub rows: &'a ArrayWriter,
    /// Where records are entered whose rows are written.
    pub journal: &'a Journal,
    /// Told of every batch written.
    pub reporter: &'a dyn Reporter,
    /// Set by the first that fails: nobody takes any more batches.
    pub failed: &'a AtomicBool,
    /// Asks everyone to take no more batches and to give up what they have in hand.
    pub stop: &'a Stop,
    /// Keeps passes from taking more memory together than there is.
    pub gate: &'a Gate,
    /// What a pass takes.
    pub cost: PassCost,
}

impl Workers<'_> {
    /// Works until no batch comes any more.
    ///
    /// # Errors
    /// The first batch that cannot be embedded or written, naming the record.
    pub fn run(&self, batches: &Mutex<Receiver<Vec<Item>>>) -> Result<()> {
        loop {
            let next = match batches.lock() {
                Ok(receiver) => receiver.recv(),
                // Another worker panicked while it took a batch: there is nothing to go on with.
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

    /// Embeds and writes a batch; false if it was given up on request.
    fn embed(&self, batch: &[Item]) -> Result<bool> {
        let dim = self.embedder.config().dim;
        let sequences: Vec<Sequence<'_>> = batch
            .iter()
            .map(|item| Sequence {
                tokens: &item.tokens,
                windows: &item.windows,
            })
            .collect();
        let _entered = self.gate.enter(self.needed(batch));
        let mut proofs = vec![Proof::default(); batch.len()];
        let mut at = 0;
        let done = self
            .embedder
            .embed(&sequences, |r| -> Result<(), WorkError> {
                at = r.sequence;
                let (Some(item), Some(proof)) = (batch.get(at), proofs.get_mut(at)) else {
                    return Ok(());
                };
                let Some(&layer) = self.layers.get(r.layer) else {
                    return Ok(());
                };
                for &pool in self.pools {
                    let row = match pool {
                        Pool::Mean => match r.mean {
                            Some(mean) => mean,
                            None => &pooling::mean(r.residues, dim),
                        },
                        Pool::Bos => r.bos,
                        Pool::Max => match r.max {
                            Some(max) => max,
                            None => &pooling::max(r.residues, dim),
                        },
                    };
                    let product = Product::Pooled { layer, pool };
                    proof.add(self.rows.write(product, &item.place, row)?);
                }
                let product = Product::Residues { layer };
                if self.rows.has(product) {
                    let values = match r.halves {
                        [] => Values::F32(r.residues),
                        halves => Values::F16(halves),
                    };
                    proof.add(self.rows.write(product, &item.place, values)?);
                }
                if r.in_bf16 {
                    proof.note_bf16();
                }
                Ok(())
            });
        match done {
            Ok(()) => {
                for (item, proof) in batch.iter().zip(&proofs) {
                    self.journal.enter(item.place.row, item.input, proof)?;
                }
                Ok(true)
            }
            Err(WorkError::Embed(EmbedError::Stopped)) => Ok(false),
            Err(error) => {
                // What fails for all of a batch is not the fault of the record that was the last.
                let (at, others) = match &error {
                    WorkError::Embed(error) => match error.sequence() {
                        Some(sequence) => (sequence, 0),
                        None => (0, batch.len().saturating_sub(1)),
                    },
                    _ => (at, 0),
                };
                Err(error).with_context(|| {
                    let Some(item) = batch.get(at) else {
                        return "a batch".into();
                    };
                    let record = format!("record {} (row {})", shown(&item.id), item.place.row);
                    match others {
                        0 => record,
                        _ => format!("a batch of {record} and {others} more"),
                    }
                })
            }
        }
    }

    /// Memory that the passes of a batch take: whole sequences in one, then each that has windows.
    fn needed(&self, batch: &[Item]) -> u64 {
        let whole = batch.iter().filter(|item| item.windows.is_empty());
        let lengths = whole.map(|item| item.tokens.len());
        let longest = lengths.clone().max().unwrap_or(0);
        let windowed = batch.iter().filter(|item| !item.windows.is_empty());
        windowed
            .map(|item| self.cost.record(item.tokens.len(), &item.windows))
            .fold(self.cost.pass(lengths.sum(), longest), u64::max)
    }
}

/// What can go wrong with a batch.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error(transparent)]
    Output(#[from] OutputError),
}
