//! Large answers are written while they are sent: no second copy of them is in memory, and a client
//! that reads slowly holds up its own answer only.

use crate::server::sent::{Holds, witnessed};
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::Stream;

/// Answers of at most this many bytes are written at once.
const AT_ONCE: u64 = 256 << 10;
/// Bytes that are sent together.
const PART: usize = 64 << 10;
/// Parts that wait to be sent.
const PARTS: usize = 4;
/// Time that a client may take for the next part.
const PATIENCE: Duration = Duration::from_secs(30);

/// What writes an answer.
pub trait Encode: Send + Unpin + 'static {
    /// About the bytes of the answer.
    fn size(&self) -> u64;

    /// Writes it.
    ///
    /// # Errors
    /// Only those of `out`.
    fn encode(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// An answer of this type. `held` is dropped when it has been written.
pub fn send(
    content_type: &'static str,
    answer: impl Encode,
    held: impl Send + 'static,
) -> Response<Body> {
    let body = match answer.size() > AT_ONCE {
        false => {
            let mut bytes = Vec::new();
            // Writing to memory does not fail.
            let _ = answer.encode(&mut bytes);
            // A slow client holds the memory of its answer, and keeps nobody from being worked on.
            drop(held);
            witnessed(Body::from(bytes), Holds(answer))
        }
        true => {
            let (parts, received) = mpsc::channel(PARTS);
            let runtime = Handle::current();
            tokio::task::spawn_blocking(move || {
                let mut out = Parts {
                    parts,
                    runtime,
                    buffer: Vec::with_capacity(PART),
                };
                // An error means that the client has gone or does not read: without the end, it is not
                // sent a complete body.
                let _ = answer.encode(&mut out).and_then(|()| out.end());
                drop(held);
            });
            return typed(content_type, Body::from_stream(Received(received)));
        }
    };
    typed(content_type, body)
}

fn typed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let value = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}

/// Sends what is written, part by part.
struct Parts {
    parts: mpsc::Sender<Option<Bytes>>,
    runtime: Handle,
    buffer: Vec<u8>,
}

impl Parts {
    fn send(&self, part: Option<Bytes>) -> io::Result<()> {
        let sent = self.parts.send_timeout(part, PATIENCE);
        let sent = self.runtime.block_on(sent);
        sent.map_err(|_| io::ErrorKind::TimedOut.into())
    }

    /// Sends the rest, and that it was all.
    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.send(None)
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PART {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.buffer, Vec::with_capacity(PART));
        self.send(Some(part.into()))
    }
}

/// The parts as a body, which fails if they stop before the end.
struct Received(mpsc::Receiver<Option<Bytes>>);

impl Stream for Received {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|received| match received {
            Some(Some(part)) => Some(Ok(part)),
            Some(None) => None,
            None => Some(Err(io::ErrorKind::TimedOut.into())),
        })
    }
}
