//! Work without the GIL, while Ctrl-C, messages and progress reach Python.

use crate::errors::defect;
use crate::messages::Messages;
use esm_embed::cancel::Cancel;
use pyo3::prelude::*;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Time between two looks at signals.
const LOOK: Duration = Duration::from_millis(50);

/// Receives what Python has to know during work.
pub struct Watch<'a> {
    /// Stops the work on Ctrl-C.
    pub cancel: Cancel,
    /// What the work reports.
    pub messages: Messages,
    /// Receives progress.
    pub progress: Option<&'a Py<PyAny>>,
}

impl Watch<'_> {
    /// Works in another thread. After Ctrl-C or an exception of the progress, it cancels the work,
    /// waits for it and returns the exception.
    pub fn work<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
        let done = py.detach(|| {
            std::thread::scope(|scope| {
                let (send, receive) = sync_channel(1);
                scope.spawn(move || send.send(work()));
                let mut interrupted = None;
                loop {
                    match receive.recv_timeout(LOOK) {
                        Ok(done) => return interrupted.map_or(Ok(done), Err),
                        Err(RecvTimeoutError::Disconnected) => return Err(defect()),
                        Err(RecvTimeoutError::Timeout) if interrupted.is_some() => {}
                        Err(RecvTimeoutError::Timeout) => {
                            interrupted = Python::attach(|py| self.look(py)).err();
                            if interrupted.is_some() {
                                self.cancel.cancel();
                            }
                        }
                    }
                }
            })
        })?;
        self.messages.deliver(py, self.progress)?;
        Ok(done)
    }

    /// The same for work that cannot be cancelled, such as a download: after Ctrl-C, it continues in the
    /// background.
    pub fn leave<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> PyResult<T> {
        let (send, receive) = sync_channel(1);
        std::thread::spawn(move || send.send(work()));
        let (_, done) = self.next(py, receive);
        let done = done?.ok_or_else(defect)?;
        self.messages.deliver(py, self.progress)?;
        Ok(done)
    }

    /// The next value of a channel, which is returned as well; None when its sender is gone.
    pub fn next<T: Send>(
        &self,
        py: Python<'_>,
        channel: Receiver<T>,
    ) -> (Receiver<T>, PyResult<Option<T>>) {
        py.detach(move || {
            let next = loop {
                match channel.recv_timeout(LOOK) {
                    Ok(value) => break Ok(Some(value)),
                    Err(RecvTimeoutError::Disconnected) => break Ok(None),
                    Err(RecvTimeoutError::Timeout) => {
                        if let Err(error) = Python::attach(|py| self.look(py)) {
                            break Err(error);
                        }
                    }
                }
            };
            (channel, next)
        })
    }

    fn look(&self, py: Python<'_>) -> PyResult<()> {
        py.check_signals()?;
        self.messages.deliver(py, self.progress)
    }
}
