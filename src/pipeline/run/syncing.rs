//! Makes finished work durable during a run, at a bounded cost.

use crate::output::{ArrayWriter, Journal, OutputError, sync_work};
use crate::pipeline::stop::Stop;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Between two syncs, at least.
const LEAST_PAUSE: Duration = Duration::from_secs(10);

/// A sync is followed by at least this many times the time it took: even if it held up all other
/// work, it would cost less than one part in 64.
const SHARE: u32 = 64;

/// How often to check for a request to stop.
const LOOK: Duration = Duration::from_millis(100);

/// What the syncs of a run cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// Their number.
    pub count: u64,
    /// The time that they took together.
    pub time: Duration,
}

/// Syncs now and then until the other end of `over` is dropped, and at once on a request to stop.
///
/// # Errors
/// When the file system cannot keep the work.
pub fn sync_regularly(
    rows: &ArrayWriter,
    journal: &Journal,
    stop: &Stop,
    over: &Receiver<()>,
) -> Result<Syncs, OutputError> {
    let mut syncs = Syncs::default();
    let mut due = Instant::now() + LEAST_PAUSE;
    let mut is_stopping = false;
    loop {
        match over.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(syncs),
        }
        let stops_now = stop.is_asked() && !is_stopping;
        if stops_now || Instant::now() >= due {
            is_stopping |= stops_now;
            let begin = Instant::now();
            sync_work(rows, journal)?;
            let took = begin.elapsed();
            syncs.count += 1;
            syncs.time += took;
            due = Instant::now() + pause(took);
        }
    }
}

/// The pause after a sync that took this long.
fn pause(took: Duration) -> Duration {
    took.saturating_mul(SHARE).max(LEAST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_sync_is_followed_by_a_long_pause() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(1)), ms(10_000));
        assert_eq!(pause(ms(1000)), ms(64_000));
        for took in [ms(0), ms(7), ms(200), ms(5000), Duration::from_secs(3600)] {
            // Under 2 % of the time that passes from one sync to the next.
            assert!(took * 50 < took + pause(took), "{took:?}");
        }
    }
}
