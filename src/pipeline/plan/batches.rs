//! How large batches are.

/// Tokens of a batch on the CPU, at least, where an input is small.
pub const LEAST_TOKENS: usize = 256;

/// How batches are formed.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Tokens of one batch, unless it holds a single longer sequence.
    pub max_tokens: usize,
    /// One sequence per batch.
    pub one_each: bool,
    /// Threads that share the work.
    pub threads: usize,
    /// Tokens of the smallest batch that a small input is split into, so that all threads have
    /// work.
    pub least: usize,
}

impl Batching {
    /// Tokens that may wait to be batched: sorting by length needs some to choose from.
    pub fn waiting_tokens(&self) -> usize {
        self.max_tokens.saturating_mul(16 * self.threads)
    }

    /// Tokens of one batch when `waiting` are to be shared out: small inputs use every thread.
    pub fn budget(&self, waiting: usize) -> usize {
        let share = waiting.div_ceil(2 * self.threads.max(1));
        self.max_tokens.min(share.max(self.least))
    }
}
