//! Memory for answers: from the moment an item is queued until its answer has been sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Bytes that answers may take together. Clones share it.
#[derive(Clone, Debug)]
pub struct AnswerRoom(Arc<Room>);

#[derive(Debug)]
struct Room {
    limit: u64,
    used: AtomicU64,
    freed: Notify,
}

impl AnswerRoom {
    /// For this many bytes.
    pub fn new(limit: u64) -> AnswerRoom {
        AnswerRoom(Arc::new(Room {
            limit,
            used: AtomicU64::new(0),
            freed: Notify::new(),
        }))
    }

    /// The most that answers may take together.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Takes the bytes of an answer, if they are free.
    pub fn take(&self, bytes: u64) -> Option<Taken> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.0.limit);
        let taken = self
            .0
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits);
        taken.ok().map(|_| Taken {
            room: Arc::clone(&self.0),
            bytes,
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

/// Bytes that an answer holds until this is dropped.
#[derive(Debug)]
pub struct Taken {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.room.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fit_together() {
        let room = AnswerRoom::new(100);
        let first = room.take(60).unwrap();
        assert!(room.take(41).is_none());
        let second = room.take(40).unwrap();
        assert!(room.take(1).is_none());
        drop(first);
        assert!(room.take(61).is_none());
        drop((second, room.take(60).unwrap()));
        assert_eq!(room.0.used.load(Ordering::Acquire), 0);
        assert!(room.take(u64::MAX).is_none());
    }
}
