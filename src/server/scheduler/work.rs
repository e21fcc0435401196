//! One item on its way from the queue to its answer, and those who wait for it.

use super::item::{Item, Outcome};
use crate::cancel::Cancel;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// An item in the queue or in a pass.
#[derive(Debug)]
pub struct Work {
    /// What is to be computed.
    pub item: Arc<Item>,
    /// When it was queued.
    pub since: Instant,
    /// Set once, when it is computed.
    pub outcome: watch::Sender<Option<Outcome>>,
    /// Requests that wait for it. It changes only while the scheduler is locked.
    waiting: AtomicUsize,
}

impl Work {
    /// New work that one request waits for.
    pub fn new(item: Arc<Item>) -> Work {
        Work {
            item,
            since: Instant::now(),
            outcome: watch::Sender::new(None),
            waiting: AtomicUsize::new(1),
        }
    }

    /// Another request waits for it.
    pub fn join(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has gone; whether it was the last one.
    pub fn leave(&self) -> bool {
        self.waiting.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Whether anybody waits for it.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// A batch that is computed.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Its items.
    pub works: Vec<Arc<Work>>,
    /// Stops it before the next block of the model.
    pub cancel: Cancel,
}

impl Pass {
    /// Stops the pass if nobody waits for any of it.
    pub fn cancel_if_unwanted(&self) {
        if !self.works.iter().any(|work| work.is_wanted()) {
            self.cancel.cancel();
        }
    }
}
