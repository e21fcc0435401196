//! Shows progress while nothing advances.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two updates.
const TICK: Duration = Duration::from_millis(250);

/// Shows progress also while one long record is at work and nothing advances, until it is dropped.
pub struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn new(update: impl Fn() + Send + 'static) -> Option<Ticker> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                update();
            }
        });
        // Without the thread, progress is shown when there is some.
        Some(Ticker {
            stop: Some(stop),
            thread: Some(thread.ok()?),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
