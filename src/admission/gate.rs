//! Keeps forward passes that run at the same time within the memory budget.

use std::sync::{Condvar, Mutex, PoisonError};

/// Lets a pass begin only while there is memory for it. A pass that is larger than the whole
/// budget waits until it is the only one.
#[derive(Debug)]
pub struct Gate {
    budget: u64,
    used: Mutex<u64>,
    freed: Condvar,
}

impl Gate {
    /// For this many bytes; None if there is no limit.
    pub fn new(budget: Option<u64>) -> Gate {
        Gate {
            budget: budget.unwrap_or(u64::MAX),
            used: Mutex::new(0),
            freed: Condvar::new(),
        }
    }

    /// Waits until `bytes` are free and takes them until the pass is dropped.
    pub fn enter(&self, bytes: u64) -> Entered<'_> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && used.saturating_add(bytes) > self.budget {
            used = self
                .freed
                .wait(used)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *used = used.saturating_add(bytes);
        Entered { gate: self, bytes }
    }
}

/// Memory that a pass holds.
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
        let gate = Gate::new(Some(100));
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
        // A pass that is larger than the budget runs when no other does.
        drop(gate.enter(1000));
        assert_eq!(*gate.used.lock().unwrap(), 0);
    }
}
