//! The memory that a run takes: what the model needs for good, and what one forward pass needs
//! while it lasts. A record that does not fit is told before anything is done for it.

use crate::checkpoint::EsmConfig;
use crate::device::Dtype;
use crate::embedder::{TEAM_TOKENS, kept_tokens, shared_from};
use crate::memory::{LimitedBy, MemoryLimit};
use crate::model::PassMemory;
use crate::numerals;
use crate::pipeline::Job;
use anyhow::{Result, bail};
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};

/// The program itself, its tables and buffers, whatever it runs.
const PROGRAM: u64 = 10 << 20;
/// Stack, buffers and the allocator's reserve of one thread.
const THREAD: u64 = 1 << 20;
/// The same of a thread that never works.
const IDLE_THREAD: u64 = 64 << 10;
/// Address space of one thread's stack, which only `ulimit -v` counts.
const THREAD_ADDRESSES: u64 = 2 << 20;
/// Address space of the program, its libraries and its heap beyond what is in memory.
const PROGRAM_ADDRESSES: u64 = 44 << 20;
/// Tokens of a batch, at least.
const LEAST_TOKENS: usize = 64;
/// Threads besides the workers: for reading, syncing, checksums, signals and messages.
const OTHER_THREADS: u64 = 4;

/// Bytes of a run's forward passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassCost {
    memory: PassMemory,
    /// Bytes of one row `[D]`.
    row: u64,
    layers: u64,
    max_tokens: usize,
    threads: u64,
    one_each: bool,
}

impl PassCost {
    pub(crate) fn new(
        job: &Job,
        config: &EsmConfig,
        memory: PassMemory,
        layers: usize,
        max_tokens: usize,
    ) -> PassCost {
        PassCost {
            memory,
            row: config.dim as u64 * 4,
            layers: layers as u64,
            max_tokens,
            threads: job.compute.threads.max(1) as u64,
            one_each: job.compute.deterministic,
        }
    }

    /// Tokens of one batch at most.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Bytes that are taken once and kept for all passes, if none has more than so many tokens.
    pub(crate) fn kept(&self, tokens: usize) -> u64 {
        self.kept_by(self.threads, tokens)
    }

    /// The same if only so many threads work.
    pub(crate) fn kept_by(&self, threads: u64, tokens: usize) -> u64 {
        let each = self
            .memory
            .workspace(tokens.min(self.kept_tokens()))
            .saturating_add(self.memory.scratch(tokens.min(TEAM_TOKENS)));
        each.saturating_mul(threads)
    }

    /// Bytes that one pass over so many tokens takes beyond those, the longest sequence having
    /// `longest`.
    pub fn pass(&self, tokens: usize, longest: usize) -> u64 {
        self.passes(1, tokens, longest)
    }

    /// The same for so many passes at a time. The threads that share long records have working
    /// memory for one of them each.
    pub(crate) fn passes(&self, count: u64, tokens: usize, longest: usize) -> u64 {
        let kept = self.memory.workspace(self.kept_tokens());
        let workspace = self.memory.workspace(tokens).saturating_sub(kept);
        let passing = self.memory.passing(tokens, longest);
        let scratch = match longest > TEAM_TOKENS {
            true => self.memory.scratch(longest),
            false => 0,
        };
        let threads = match longest > shared_from(self.max_tokens) {
            true => self.threads,
            false => count,
        };
        workspace
            .saturating_add(passing)
            .saturating_mul(count)
            .saturating_add(scratch.saturating_mul(threads))
    }

    /// Bytes that one record takes when it is embedded by itself.
    pub(crate) fn record(&self, tokens: usize, windows: &[Range<usize>]) -> u64 {
        let Some(longest) = windows.iter().map(|w| w.len() + 2).max() else {
            return self.pass(tokens, tokens);
        };
        // Windows share passes; their blends are whole.
        let blends = self.layers.saturating_mul(tokens as u64 * self.row);
        let pass = self.pass(self.max_tokens.max(longest), longest);
        pass.saturating_add(blends)
    }

    /// The same for the largest batches, of as many tokens or fewer, of which each thread can have
    /// one at a time within so many bytes.
    fn within(mut self, bytes: u64) -> PassCost {
        let takes = |cost: &PassCost| {
            let passes = cost
                .pass(cost.max_tokens, cost.max_tokens)
                .saturating_mul(cost.threads);
            cost.kept(cost.max_tokens).saturating_add(passes)
        };
        while self.max_tokens > LEAST_TOKENS && takes(&self) > bytes {
            self.max_tokens /= 2;
        }
        self
    }

    fn kept_tokens(&self) -> usize {
        match self.one_each {
            true => kept_tokens(0),
            false => kept_tokens(self.max_tokens),
        }
    }
}

/// What is left of the memory for forward passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Bytes for all passes that run at the same time.
    pub bytes: u64,
    /// What sets them.
    pub by: LimitedBy,
    /// Bytes of one pass.
    pub cost: PassCost,
}

impl MemoryBudget {
    /// What the limit of this process leaves, for batches of as many tokens as every thread can
    /// have one of at a time, or of as many as are asked for; None where there is no limit.
    ///
    /// # Errors
    /// The model alone takes more.
    pub(crate) fn new(job: &Job, fixed: u64, cost: PassCost) -> Result<Option<MemoryBudget>> {
        let Some(limit) = MemoryLimit::here() else {
            return Ok(None);
        };
        let fixed = match limit.by {
            LimitedBy::AddressSpace => fixed
                .saturating_add(all_threads(job).saturating_mul(THREAD_ADDRESSES))
                .saturating_add(PROGRAM_ADDRESSES),
            _ => fixed,
        };
        let cost = match job.compute.max_tokens {
            Some(_) => cost,
            None => cost.within(limit.bytes.saturating_sub(fixed)),
        };
        let taken = fixed.saturating_add(cost.kept(cost.max_tokens));
        let left = limit.bytes.saturating_sub(taken);
        if left < cost.pass(LEAST_TOKENS, LEAST_TOKENS) {
            bail!(
                "{}: takes about {} of memory, but this process may use {} ({}). Raise the limit, \
                 choose a smaller model, or keep the weights in half the memory with --dtype f16",
                job.model.asked,
                numerals::bytes(taken),
                numerals::bytes(limit.bytes),
                limit.by
            );
        }
        Ok(Some(MemoryBudget {
            bytes: left,
            by: limit.by,
            cost,
        }))
    }

    /// Bytes that one record takes.
    pub fn needed(&self, tokens: usize, windows: &[Range<usize>]) -> u64 {
        self.cost.record(tokens, windows)
    }
}

/// Threads that work, the team for long records, and the others.
fn all_threads(job: &Job) -> u64 {
    let team = if job.compute.threads > 1 {
        job.compute.threads
    } else {
        0
    };
    (job.compute.threads.max(1) + team) as u64 + OTHER_THREADS
}

/// What is not taken of that by threads that have nothing to do, if `busy` of them embed; whether
/// the team has is said too.
pub(crate) fn idle(job: &Job, busy: u64, is_shared: bool) -> u64 {
    let team = if is_shared || job.compute.threads < 2 {
        0
    } else {
        job.compute.threads as u64
    };
    let workers = (job.compute.threads as u64).saturating_sub(busy);
    (team + workers).saturating_mul(THREAD - IDLE_THREAD)
}

/// Bytes that a run takes whatever its records are: weights, tables, threads.
pub(crate) fn fixed(job: &Job, top: usize, dtype: Dtype, config: &EsmConfig) -> u64 {
    let weight = if dtype == Dtype::F32 { 4 } else { 2 };
    let weights = top as u64 * block_weights(config) * weight;
    let table = config.vocab as u64 * config.dim as u64 * 4;
    weights + table + all_threads(job) * THREAD + PROGRAM
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
    pub(crate) fn new(room: Option<MemoryBudget>) -> Gate {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

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
