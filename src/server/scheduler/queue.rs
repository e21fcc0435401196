//! What waits, the oldest first, and how batches are taken from it. Pure.

use super::work::Work;
use std::collections::VecDeque;
use std::sync::Arc;

/// Tokens of a batch that is smaller than it could be because several threads share what waits.
const LEAST_TOKENS: usize = 256;

/// How batches are formed.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Tokens of a batch; a longer item is a batch by itself. With 0, every item is.
    pub max_tokens: usize,
    /// Threads that take batches.
    pub workers: usize,
}

impl Batching {
    /// Tokens of a batch while this many wait, so that every thread gets a part.
    fn budget(&self, waiting: usize) -> usize {
        let share = waiting.div_ceil(self.workers.max(1));
        self.max_tokens.min(share.max(LEAST_TOKENS))
    }
}

/// Works in the order of their arrival.
#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Arc<Work>>,
    tokens: usize,
    /// Tokens that may wait.
    limit: usize,
}

impl Queue {
    /// An empty queue.
    pub fn new(limit: usize) -> Queue {
        Queue {
            waiting: VecDeque::new(),
            tokens: 0,
            limit,
        }
    }

    /// Tokens that wait.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether this many more may wait. More than the limit may when nothing else waits.
    pub fn has_room(&self, tokens: usize) -> bool {
        self.tokens == 0 || self.tokens.saturating_add(tokens) <= self.limit
    }

    /// Queues an item.
    pub fn push(&mut self, work: Arc<Work>) {
        self.tokens += work.item.cost();
        self.waiting.push_back(work);
    }

    /// Takes an item out; whether it waited.
    pub fn remove(&mut self, work: &Arc<Work>) -> bool {
        let at = self.waiting.iter().position(|one| Arc::ptr_eq(one, work));
        let removed = at.and_then(|at| self.waiting.remove(at));
        self.tokens -= removed.as_ref().map_or(0, |work| work.item.cost());
        removed.is_some()
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> Vec<Arc<Work>> {
        self.tokens = 0;
        self.waiting.drain(..).collect()
    }

    /// The next batch: the oldest item and those after it that may share its pass and fit; empty if
    /// nothing waits.
    pub fn take(&mut self, batching: Batching) -> Vec<Arc<Work>> {
        let budget = batching.budget(self.tokens);
        let Some(oldest) = self.waiting.pop_front() else {
            return Vec::new();
        };
        let mut left = budget.saturating_sub(oldest.item.cost());
        let mut batch = vec![oldest];
        if let Some(oldest) = batch.first().map(|work| Arc::clone(&work.item)) {
            self.waiting.retain(|work| {
                let cost = work.item.cost();
                let fits = cost <= left && oldest.may_share(&work.item);
                if fits {
                    left -= cost;
                    batch.push(Arc::clone(work));
                }
                !fits
            });
        }
        let taken: usize = batch.iter().map(|work| work.item.cost()).sum();
        self.tokens -= taken;
        batch
    }
}
