//! One queue of items, threads that compute batches of them, and answers for those who wait.
//!
//! ```text
//! submit ──> Queue ──> Pass (a batch) ──> Computer ──> Ticket::outcome
//!   │           the oldest first            │
//!   └── refused without room                └── cancelled when nobody waits
//! ```
//!
//! An item that is in the queue or in a pass already is not queued again: the second request waits for
//! the same work. A [`Ticket`] that is dropped takes its request back: work that nobody waits for leaves
//! the queue, and a pass that nobody waits for ends before the next block of the model.

mod cache;
mod compute;
mod item;
mod queue;
#[cfg(test)]
mod tests;
mod work;

pub use compute::Computer;
pub use item::{Arrays, Item, Outcome};
pub use queue::Batching;

use super::metrics;
use super::refusal::{Kind, Refusal};
use cache::Cache;
use queue::Queue;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use work::{Pass, Work};

/// How the scheduler works.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerOptions {
    /// How batches are formed.
    pub batching: Batching,
    /// Tokens that may wait.
    pub max_queue_tokens: usize,
    /// Bytes of answers that are kept; 0 for none.
    pub cache_bytes: usize,
}

/// Accepts items, computes them on its threads, and hands out tickets. Clones share it.
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// Work has come, or the end.
    work: Condvar,
    /// Items have left the queue.
    room: Notify,
    batching: Batching,
}

struct State {
    queue: Queue,
    /// By their items: everything in the queue and in passes that somebody waits for.
    in_flight: HashMap<Arc<Item>, Arc<Work>>,
    passes: Vec<Pass>,
    cache: Cache,
    /// Tokens that are computed in a second, lately; 0 before the first pass.
    speed: f64,
    is_closed: bool,
}

impl Scheduler {
    /// Starts the threads that compute.
    ///
    /// # Errors
    /// The system refuses to start threads.
    pub fn start(
        computer: Computer,
        options: SchedulerOptions,
    ) -> std::io::Result<(Scheduler, Vec<JoinHandle<()>>)> {
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                queue: Queue::new(options.max_queue_tokens),
                in_flight: HashMap::new(),
                passes: Vec::new(),
                cache: Cache::new(options.cache_bytes),
                speed: 0.0,
                is_closed: false,
            }),
            work: Condvar::new(),
            room: Notify::new(),
            batching: options.batching,
        });
        let computer = Arc::new(computer);
        let threads = (0..options.batching.workers.max(1)).map(|i| {
            let (inner, computer) = (Arc::clone(&inner), Arc::clone(&computer));
            std::thread::Builder::new()
                .name(format!("compute-{i}"))
                .spawn(move || inner.work(&computer))
        });
        let threads = threads.collect::<std::io::Result<_>>()?;
        Ok((Scheduler { inner }, threads))
    }

    /// Queues all items of a request, or none of them.
    ///
    /// # Errors
    /// The queue has no room for them, or the server is about to end.
    pub fn submit(&self, items: &[Arc<Item>]) -> Result<Vec<Ticket>, Refusal> {
        let mut state = self.inner.lock();
        if state.is_closed {
            return Err(ending());
        }
        let mut fresh: HashMap<&Arc<Item>, usize> = HashMap::new();
        for item in items {
            if !state.in_flight.contains_key(item) {
                fresh.insert(item, item.cost());
            }
        }
        let tokens = fresh
            .values()
            .fold(0usize, |sum, cost| sum.saturating_add(*cost));
        if !state.queue.has_room(tokens) {
            let refusal = Refusal::new(
                Kind::Busy,
                "the queue is full: too many tokens wait already",
            );
            return Err(refusal.retry_after(state.time_to_compute()));
        }
        let tickets = items.iter().map(|item| self.enter(&mut state, item));
        let tickets = tickets.collect();
        self.inner.announce(&state);
        Ok(tickets)
    }

    /// Queues an item as soon as the queue has room for it.
    ///
    /// # Errors
    /// The server is about to end.
    pub async fn submit_when_room(&self, item: &Arc<Item>) -> Result<Ticket, Refusal> {
        loop {
            let freed = self.inner.room.notified();
            let mut freed = std::pin::pin!(freed);
            // From here on, room that is made is not missed.
            freed.as_mut().enable();
            {
                let mut state = self.inner.lock();
                if state.is_closed {
                    return Err(ending());
                }
                if state.queue.has_room(item.cost()) || state.in_flight.contains_key(item) {
                    let ticket = self.enter(&mut state, item);
                    self.inner.announce(&state);
                    return Ok(ticket);
                }
            }
            freed.await;
        }
    }

    /// Refuses everything from now on, and gives up what waits and what is computed.
    pub fn abort(&self) {
        let mut state = self.inner.lock();
        state.is_closed = true;
        for work in state.queue.drain() {
            work.outcome.send_replace(Some(Err(ending())));
        }
        for pass in &state.passes {
            pass.cancel.cancel();
        }
        self.inner.work.notify_all();
        self.inner.room.notify_waiters();
    }

    fn enter(&self, state: &mut State, item: &Arc<Item>) -> Ticket {
        if let Some(arrays) = state.cache.get(item) {
            metrics::cached();
            return Ticket(Waiting::Kept(arrays));
        }
        let work = match state.in_flight.get(item) {
            Some(work) => {
                work.join();
                metrics::shared();
                Arc::clone(work)
            }
            None => {
                let work = Arc::new(Work::new(Arc::clone(item)));
                state.in_flight.insert(Arc::clone(item), Arc::clone(&work));
                state.queue.push(Arc::clone(&work));
                self.inner.work.notify_one();
                work
            }
        };
        Ticket(Waiting::For {
            outcome: work.outcome.subscribe(),
            work,
            inner: Arc::clone(&self.inner),
        })
    }
}

impl State {
    /// About the time that it takes to compute what waits.
    fn time_to_compute(&self) -> Duration {
        let seconds = match self.speed > 0.0 {
            true => self.queue.tokens() as f64 / self.speed,
            false => 1.0,
        };
        Duration::from_secs_f64(seconds.clamp(1.0, 60.0).ceil())
    }

    /// Somebody who waited has gone.
    fn leave(&mut self, work: &Arc<Work>) {
        if !work.leave() || work.outcome.borrow().is_some() {
            return;
        }
        self.in_flight.remove(&work.item);
        if !self.queue.remove(work) {
            let has = |pass: &&Pass| pass.works.iter().any(|one| Arc::ptr_eq(one, work));
            if let Some(pass) = self.passes.iter().find(has) {
                pass.cancel_if_unwanted();
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes how much waits.
    fn announce(&self, state: &State) {
        metrics::waiting(state.queue.len(), state.queue.tokens());
    }

    /// Computes batch after batch.
    fn work(&self, computer: &Computer) {
        while let Some(pass) = self.next() {
            let items: Vec<Arc<Item>> = pass.works.iter().map(|w| Arc::clone(&w.item)).collect();
            let begin = Instant::now();
            let computing = || computer.compute(&items, &pass.cancel);
            let outcomes = catch_unwind(AssertUnwindSafe(computing)).unwrap_or_else(|_| {
                let defect = Refusal::new(Kind::Failed, "the pass panicked: this is a defect");
                vec![Err(defect); items.len()]
            });
            self.finish(&pass, outcomes, begin.elapsed());
        }
    }

    /// The next batch; None at the end.
    fn next(&self) -> Option<Pass> {
        let mut state = self.lock();
        loop {
            let works = state.queue.take(self.batching);
            if !works.is_empty() {
                let pass = Pass {
                    works,
                    cancel: Default::default(),
                };
                state.passes.push(pass.clone());
                self.announce(&state);
                self.room.notify_waiters();
                return Some(pass);
            }
            if state.is_closed {
                return None;
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, pass: &Pass, outcomes: Vec<Outcome>, took: Duration) {
        let tokens: usize = pass.works.iter().map(|work| work.item.cost()).sum();
        let mut state = self.lock();
        let of = |one: &Pass| one.works.first().map(Arc::as_ptr);
        state.passes.retain(|one| of(one) != of(pass));
        if !pass.cancel.is_cancelled() {
            let speed = tokens as f64 / took.as_secs_f64().max(1e-6);
            state.speed = match state.speed > 0.0 {
                true => 0.8 * state.speed + 0.2 * speed,
                false => speed,
            };
            metrics::pass(tokens, self.batching.max_tokens, took);
        }
        for (work, outcome) in pass.works.iter().zip(outcomes) {
            // Work that everybody has left may have been queued again by somebody else.
            let is_same = |found: &Arc<Work>| Arc::ptr_eq(found, work);
            if state.in_flight.get(&work.item).is_some_and(is_same) {
                state.in_flight.remove(&work.item);
            }
            let outcome = match outcome {
                Ok(arrays) if !compute::is_complete(&work.item, &arrays) => {
                    let defect = "the engine left a product out: this is a defect";
                    Err(Refusal::new(Kind::Failed, defect))
                }
                Err(_) if pass.cancel.is_cancelled() && state.is_closed => Err(ending()),
                outcome => outcome,
            };
            if let Ok(arrays) = &outcome {
                state.cache.insert(&work.item, arrays);
                metrics::computed(work.since.elapsed().saturating_sub(took));
            }
            work.outcome.send_replace(Some(outcome));
        }
    }
}

fn ending() -> Refusal {
    Refusal::new(Kind::Unavailable, "the server is shutting down")
}

/// A claim on the outcome of an item. Dropping it takes the request back.
pub struct Ticket(Waiting);

enum Waiting {
    /// The answer was kept.
    Kept(Arc<Arrays>),
    /// It is in the queue or in a pass.
    For {
        outcome: watch::Receiver<Option<Outcome>>,
        work: Arc<Work>,
        inner: Arc<Inner>,
    },
}

impl Ticket {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// The pass failed, or was given up.
    pub async fn outcome(&mut self) -> Outcome {
        match &mut self.0 {
            Waiting::Kept(arrays) => Ok(Arc::clone(arrays)),
            Waiting::For { outcome, .. } => match outcome.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(ending())),
                Err(_) => Err(ending()),
            },
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Waiting::For { work, inner, .. } = &self.0 {
            let mut state = inner.lock();
            state.leave(work);
            inner.announce(&state);
            drop(state);
            inner.room.notify_waiters();
        }
    }
}
