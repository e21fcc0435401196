//! The memory that a model takes for good, and what that leaves for forward passes.

use super::pass_cost::PassCost;
use crate::checkpoint::EsmConfig;
use crate::memory::{LimitedBy, MemoryLimit};
use crate::model::LmHead;
use crate::numerals;
use crate::ops::{Activation, WeightType};
use thiserror::Error;

/// The program itself, its tables and buffers.
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

/// Memory that a loaded model and the threads of the program take, whatever the sequences are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelMemory {
    weights: u64,
    threads: usize,
}

impl ModelMemory {
    /// A model of which blocks 1 to `top` are loaded, and `threads` threads that embed. On GPUs
    /// `top` is 0: their memory holds the blocks.
    pub fn new(
        config: &EsmConfig,
        top: usize,
        weight_type: WeightType,
        threads: usize,
    ) -> ModelMemory {
        let weight = match weight_type {
            WeightType::F32 => 4,
            WeightType::F16 | WeightType::Bf16 => 2,
        };
        let matrices = match config.activation {
            Activation::Gelu => 2,
            Activation::SwiGlu => 3,
        };
        let block = 4 * config.dim * config.dim + matrices * config.dim * config.intermediate;
        let embedding = config.vocab as u64 * config.dim as u64 * 4;
        ModelMemory {
            weights: top as u64 * block as u64 * weight + embedding,
            threads,
        }
    }

    /// The same model with its language-model head.
    pub fn with_lm_head(self, config: &EsmConfig) -> ModelMemory {
        ModelMemory {
            weights: self.weights.saturating_add(LmHead::bytes(config)),
            ..self
        }
    }

    /// Bytes in memory if every thread works.
    pub fn bytes(&self) -> u64 {
        self.weights + self.all_threads() * THREAD + PROGRAM
    }

    /// Bytes in memory if only `busy` threads embed, and if all threads share long sequences only
    /// where `is_shared`.
    pub fn bytes_with(&self, busy: u64, is_shared: bool) -> u64 {
        let threads = self.threads as u64;
        let team = match is_shared {
            true => 0,
            false => self.team(),
        };
        let idle = team + threads.saturating_sub(busy);
        self.bytes()
            .saturating_sub(idle.saturating_mul(THREAD - IDLE_THREAD))
    }

    /// Bytes as this limit counts them.
    fn counted(&self, by: LimitedBy) -> u64 {
        match by {
            LimitedBy::AddressSpace => self
                .bytes()
                .saturating_add(self.all_threads().saturating_mul(THREAD_ADDRESSES))
                .saturating_add(PROGRAM_ADDRESSES),
            _ => self.bytes(),
        }
    }

    /// Threads that share long sequences.
    fn team(&self) -> u64 {
        match self.threads {
            0 | 1 => 0,
            threads => threads as u64,
        }
    }

    /// Threads that embed, those that share long sequences, and the others.
    fn all_threads(&self) -> u64 {
        self.threads.max(1) as u64 + self.team() + OTHER_THREADS
    }
}

/// The model and its threads take more memory than this process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the model needs about {} of memory, but this process may use {} ({})\n\
     hint: raise the limit\n\
     hint: choose a smaller model\n\
     hint: use `dtype=f16`, which halves the memory of the weights",
    numerals::bytes(*.needed),
    numerals::bytes(.limit.bytes),
    .limit.by
)]
pub struct ModelTooLarge {
    /// Bytes.
    pub needed: u64,
    /// Bytes that this process may use.
    pub limit: MemoryLimit,
}

/// Memory for forward passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Bytes for all passes that run at the same time.
    pub bytes: u64,
    /// What sets the limit.
    pub by: LimitedBy,
    /// Bytes that passes take.
    pub cost: PassCost,
}

impl MemoryBudget {
    /// What a limit leaves beside the model and `other` bytes. With `may_shrink`, batches get smaller
    /// until every thread can work on one: see [`PassCost::max_tokens`] of the result.
    ///
    /// # Errors
    /// The model leaves nothing.
    pub fn new(
        limit: MemoryLimit,
        model: &ModelMemory,
        other: u64,
        cost: PassCost,
        may_shrink: bool,
    ) -> Result<MemoryBudget, ModelTooLarge> {
        let fixed = model.counted(limit.by).saturating_add(other);
        let cost = match may_shrink {
            true => cost.within(limit.bytes.saturating_sub(fixed), LEAST_TOKENS),
            false => cost,
        };
        let kept = cost.kept(cost.threads(), cost.max_tokens());
        let needed = fixed.saturating_add(kept);
        let bytes = limit.bytes.saturating_sub(needed);
        match bytes < cost.pass(LEAST_TOKENS, LEAST_TOKENS) {
            true => Err(ModelTooLarge { needed, limit }),
            false => Ok(MemoryBudget {
                bytes,
                by: limit.by,
                cost,
            }),
        }
    }
}
