//! The memory that a run takes: what the model needs for good, and what one forward pass needs
//! while it lasts. A record that does not fit is told before anything is done for it.

use super::job::Job;
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::device::Dtype;
use crate::memory::{LimitedBy, MemoryLimit};
use anyhow::{Result, bail};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

/// The program itself, its tables and buffers, whatever it runs.
const PROGRAM: u64 = 20 << 20;
/// Stack, buffers and the allocator's reserve of one thread.
const THREAD: u64 = 4 << 20;
/// Address space that the allocator sets aside for one thread, which only `ulimit -v` counts.
const THREAD_ADDRESSES: u64 = 64 << 20;
/// Rows of the feed-forward network that are worked at a time.
const FEED_FORWARD_ROWS: u64 = 4096;

/// Bytes of a forward pass, from the shape of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassCost {
    /// Bytes of one row `[D]`.
    row: u64,
    /// Bytes of one row of the feed-forward network.
    inner_row: u64,
    head_dim: u64,
    layers: u64,
    max_tokens: u64,
}

impl PassCost {
    pub(super) fn new(config: &EsmConfig, layers: usize, max_tokens: usize) -> PassCost {
        PassCost {
            row: config.dim as u64 * 4,
            inner_row: config.intermediate as u64 * 4,
            head_dim: config.head_dim() as u64,
            layers: layers as u64,
            max_tokens: max_tokens as u64,
        }
    }

    /// Bytes that one pass over so many tokens takes, the longest sequence having `longest`.
    pub fn pass(&self, tokens: u64, longest: u64) -> u64 {
        // In attention: the residual stream, its norm, q, k, v and what comes out. In the
        // feed-forward network: the same stream twice, its norm, and the inner rows before and
        // after the product.
        let attention = tokens.saturating_mul(6 * self.row);
        let rows = tokens.min(FEED_FORWARD_ROWS);
        let forward = tokens.saturating_mul(5 * self.row) + rows * (self.row + self.inner_row);
        let scratch = longest.saturating_mul((2 * self.head_dim + 48) * 4);
        attention.max(forward).saturating_add(scratch)
    }

    /// Bytes that one record takes when it is embedded by itself.
    pub(super) fn record(&self, tokens: usize, windows: &[Range<usize>]) -> u64 {
        let tokens = tokens as u64;
        let Some(longest) = windows.iter().map(|w| w.len() as u64 + 2).max() else {
            return self.pass(tokens, tokens);
        };
        // Windows share passes; their blends are whole.
        let blends = self.layers.saturating_mul(tokens.saturating_mul(self.row));
        let pass = self.pass(self.max_tokens.max(longest), longest);
        pass.saturating_add(blends)
    }
}

/// What is left of the memory for forward passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes for all passes that run at the same time.
    pub bytes: u64,
    /// What sets them.
    pub by: LimitedBy,
    /// Bytes of one pass.
    pub cost: PassCost,
}

impl Room {
    /// What the limit of this process leaves; None where there is none.
    ///
    /// # Errors
    /// The model alone takes more.
    pub(super) fn new(
        job: &Job,
        checkpoint: &Checkpoint,
        fixed: u64,
        cost: PassCost,
    ) -> Result<Option<Room>> {
        let Some(limit) = MemoryLimit::here() else {
            return Ok(None);
        };
        let taken = match limit.by {
            LimitedBy::AddressSpace => fixed
                .saturating_add(mapped(checkpoint.files()))
                .saturating_add(job.threads as u64 * THREAD_ADDRESSES),
            _ => fixed,
        };
        let left = limit.bytes.saturating_sub(taken);
        if left < cost.pass(64, 64) {
            bail!(
                "{}: takes about {} of memory, but this process may use {} ({}). Raise the limit, \
                 choose a smaller model, or keep the weights in half the memory with --dtype f16",
                job.model.asked,
                Bytes(taken),
                Bytes(limit.bytes),
                limit.by
            );
        }
        Ok(Some(Room {
            bytes: left,
            by: limit.by,
            cost,
        }))
    }

    /// Tokens of a batch, `most` or fewer, of which each thread can have one at a time.
    pub(super) fn tokens(&self, most: usize, threads: usize) -> usize {
        const LEAST: usize = 64;
        let share = self.bytes / threads.max(1) as u64;
        let mut tokens = most;
        while tokens > LEAST && self.cost.pass(tokens as u64, tokens as u64) > share {
            tokens /= 2;
        }
        tokens
    }
}

/// Bytes of the checkpoint's files, which are mapped as long as the run lasts.
fn mapped(files: &[PathBuf]) -> u64 {
    let bytes = |path: &PathBuf| path.metadata().map_or(0, |file| file.len());
    files.iter().map(bytes).sum()
}

/// Bytes that a run takes whatever its records are: weights, tables, threads.
pub(super) fn fixed(job: &Job, top: usize, dtype: Dtype, config: &EsmConfig) -> u64 {
    let weight = if dtype == Dtype::F32 { 4 } else { 2 };
    let weights = top as u64 * block_weights(config) * weight;
    let table = config.vocab as u64 * config.dim as u64 * 4;
    weights + table + job.threads as u64 * THREAD + PROGRAM
}

/// Weights of the linear layers of one block.
fn block_weights(config: &EsmConfig) -> u64 {
    (4 * config.dim * config.dim + 2 * config.dim * config.intermediate) as u64
}

/// Lets passes begin only as long as there is memory for them. One that would not even fit alone
/// is let in when nothing else runs.
#[derive(Debug)]
pub struct Gate {
    room: u64,
    used: Mutex<u64>,
    freed: Condvar,
}

impl Gate {
    pub(super) fn new(room: Option<Room>) -> Gate {
        Gate {
            room: room.map_or(u64::MAX, |room| room.bytes),
            used: Mutex::new(0),
            freed: Condvar::new(),
        }
    }

    /// Waits until so many bytes are free; they are taken until the pass is dropped.
    pub fn enter(&self, bytes: u64) -> Entered<'_> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && used.saturating_add(bytes) > self.room {
            used = self
                .freed
                .wait(used)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *used = used.saturating_add(bytes);
        Entered { gate: self, bytes }
    }
}

/// Memory that a pass has.
#[derive(Debug)]
pub struct Entered<'a> {
    gate: &'a Gate,
    bytes: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut used = self
            .gate
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(self.bytes);
        self.gate.freed.notify_all();
    }
}

/// A size for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut size = self.0 as f64;
        let mut unit = 0;
        while size >= 1024.0 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        match (unit, UNITS.get(unit)) {
            (0, _) | (_, None) => write!(f, "{} B", self.0),
            (_, Some(unit)) => write!(f, "{size:.1} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn sizes_for_people() {
        assert_eq!(Bytes(0).to_string(), "0 B");
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Bytes(5 << 40).to_string(), "5.0 TiB");
    }

    #[test]
    fn passes_that_run_together_fit() {
        let gate = Gate {
            room: 100,
            used: Mutex::new(0),
            freed: Condvar::new(),
        };
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (gate, now, most) = (&gate, &now, &most);
                scope.spawn(move || {
                    for i in 0..200 {
                        let bytes = 20 + (thread * 31 + i * 7) % 60;
                        let _entered = gate.enter(bytes);
                        let sum = now.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        most.fetch_max(sum, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 100);
        // What is too large for all the room runs alone.
        drop(gate.enter(1000));
        assert_eq!(*gate.used.lock().unwrap(), 0);
    }
}
