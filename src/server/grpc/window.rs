//! How much of one stream may be in flight: sequences that wait or are computed, and answers that have
//! not been sent.

use crate::server::service::Service;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Parts of a window.
const PARTS: u32 = 1 << 20;
/// Sequences in flight at most, however short they are.
const MOST: u32 = 4096;
/// Streams that can fill the queue together.
const STREAMS_TO_QUEUE: u64 = 4;
/// Streams that can fill the memory for answers together.
const STREAMS_TO_MEMORY: u64 = 8;
/// Bytes of answers in flight at most, where a single one does not have more.
const MOST_BYTES: u64 = 256 << 20;

/// What one stream may have in flight.
pub struct Window {
    free: Arc<Semaphore>,
    tokens: u64,
    bytes: u64,
}

/// A part of a window, which is free again when this is dropped.
pub type Share = OwnedSemaphorePermit;

impl Window {
    /// The window of a new stream.
    pub fn new(service: &Service, queue_tokens: usize) -> Window {
        Window {
            free: Arc::new(Semaphore::new(PARTS as usize)),
            tokens: queue_tokens as u64 / STREAMS_TO_QUEUE,
            bytes: (service.answer_limit() / STREAMS_TO_MEMORY).min(MOST_BYTES),
        }
    }

    /// Takes a part when it is free. A sequence that is larger than the window takes all of it.
    pub async fn enter(&self, tokens: usize, bytes: u64) -> Option<Share> {
        let parts = part(tokens as u64, self.tokens).max(part(bytes, self.bytes));
        let free = Arc::clone(&self.free);
        // It is never closed.
        free.acquire_many_owned(parts.max(PARTS / MOST)).await.ok()
    }

    /// Whether nothing is in flight.
    pub fn is_free(&self) -> bool {
        self.free.available_permits() == PARTS as usize
    }
}

/// The parts of a window for an amount, rounded up.
fn part(amount: u64, whole: u64) -> u32 {
    let parts = u128::from(PARTS) * u128::from(amount);
    let parts = parts.div_ceil(u128::from(whole.max(1)));
    u32::try_from(parts).unwrap_or(PARTS).min(PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_rounded_up_and_never_more_than_the_window() {
        assert_eq!(part(0, 100), 0);
        assert_eq!(part(1, 1 << 40), 1);
        assert_eq!(part(50, 100), PARTS / 2);
        assert_eq!(part(100, 100), PARTS);
        assert_eq!(part(u64::MAX, 100), PARTS);
        assert_eq!(part(1, 0), PARTS);
    }
}
