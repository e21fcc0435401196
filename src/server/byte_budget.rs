//! Memory that requests share: for bodies while they are read and worked on, and for answers from the
//! moment an item is queued until its answer has been sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Bytes that may be taken together. Clones share them.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: u64,
    used: AtomicU64,
    freed: Notify,
}

impl Budget {
    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .is_ok()
    }
}

impl ByteBudget {
    /// This many bytes.
    pub fn new(limit: u64) -> ByteBudget {
        ByteBudget(Arc::new(Budget {
            limit,
            used: AtomicU64::new(0),
            freed: Notify::new(),
        }))
    }

    /// The most that may be taken together.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Something that can grow.
    pub fn nothing(&self) -> Taken {
        Taken {
            budget: Arc::clone(&self.0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Takes bytes, if they are free.
    pub fn take(&self, bytes: u64) -> Option<Taken> {
        self.0.take(bytes).then(|| Taken {
            budget: Arc::clone(&self.0),
            bytes: AtomicU64::new(bytes),
        })
    }

    /// The same when they are free. What is larger than the limit has to be refused before.
    pub async fn take_when_free(&self, bytes: u64) -> Taken {
        loop {
            let freed = self.0.freed.notified();
            if let Some(taken) = self.take(bytes) {
                return taken;
            }
            freed.await;
        }
    }
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub struct Taken {
    budget: Arc<Budget>,
    bytes: AtomicU64,
}

impl Taken {
    /// Takes more bytes; whether they were free.
    #[must_use]
    pub fn grow(&self, bytes: u64) -> bool {
        let grown = self.budget.take(bytes);
        if grown {
            self.bytes.fetch_add(bytes, Ordering::AcqRel);
        }
        grown
    }

    /// Gives everything back that was taken so far.
    pub fn clear(&self) {
        let bytes = self.bytes.swap(0, Ordering::AcqRel);
        self.budget.used.fetch_sub(bytes, Ordering::AcqRel);
        self.budget.freed.notify_waiters();
    }

    /// The most that all may take together.
    pub fn limit(&self) -> u64 {
        self.budget.limit
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_fits_together() {
        let budget = ByteBudget::new(100);
        let first = budget.take(60).unwrap();
        assert!(budget.take(41).is_none());
        let second = budget.take(30).unwrap();
        assert!(!second.grow(11));
        assert!(second.grow(10));
        assert!(budget.take(1).is_none());
        drop(first);
        assert!(budget.take(61).is_none());
        drop(budget.take(60).unwrap());
        second.clear();
        assert_eq!(budget.0.used.load(Ordering::Acquire), 0);
        assert!(second.grow(100));
        drop(second);
        assert_eq!(budget.0.used.load(Ordering::Acquire), 0);
        assert!(budget.take(u64::MAX).is_none());
    }
}
