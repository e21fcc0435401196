//! An answer on its way to its client: what it holds until it has been sent, and whether the client takes
//! it.

use axum::body::{Body, HttpBody};
use hyper::body::{Bytes, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// A connection that can be closed from its requests.
#[derive(Clone, Debug, Default)]
pub struct Closing(Arc<Notify>);

impl Closing {
    /// Asks for the connection to be closed.
    pub fn close(&self) {
        self.0.notify_one();
    }

    /// Waits until that is asked for.
    pub async fn asked(&self) {
        self.0.notified().await;
    }
}

/// Sees the frames of an answer, and is dropped when the answer has been sent or given up.
pub trait Witness: Send + Unpin + 'static {
    /// A frame is sent.
    fn sees(&mut self, frame: &Frame<Bytes>);
}

/// Whatever an answer holds.
pub struct Holds<T>(pub T);

impl<T: Send + Unpin + 'static> Witness for Holds<T> {
    fn sees(&mut self, _: &Frame<Bytes>) {}
}

/// A body with a witness. It ends only when it is asked for a frame after the last one: over HTTP/2, that
/// is when the client has taken the others.
pub struct Witnessed<W> {
    body: Body,
    witness: W,
    has_begun: bool,
    has_ended: bool,
}

/// This body with a witness.
pub fn witnessed<W: Witness>(body: Body, witness: W) -> Body {
    Body::new(Witnessed {
        body,
        witness,
        has_begun: false,
        has_ended: false,
    })
}

impl<W: Witness> HttpBody for Witnessed<W> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.has_begun = true;
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.witness.sees(frame),
            Some(Err(_)) => {}
            None => self.has_ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || (!self.has_begun && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Closes the connection of a client that does not take its answer.
pub struct Watched {
    body: Body,
    /// Since when the client could take a part and has not; None while it waits for one.
    offered: Arc<Mutex<Option<Instant>>>,
    watch: AbortHandle,
}

impl Watched {
    /// Watches this body: the client has this long for each part.
    pub fn new(body: Body, patience: Duration, connection: Closing) -> Watched {
        let offered = Arc::new(Mutex::new(Some(Instant::now())));
        let watch = tokio::spawn(watch(Arc::clone(&offered), patience, connection));
        Watched {
            body,
            offered,
            watch: watch.abort_handle(),
        }
    }
}

async fn watch(offered: Arc<Mutex<Option<Instant>>>, patience: Duration, connection: Closing) {
    loop {
        let since = *offered.lock().unwrap_or_else(PoisonError::into_inner);
        match since {
            None => sleep(patience).await,
            Some(since) if since.elapsed() < patience => sleep_until(since + patience).await,
            Some(_) => return connection.close(),
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        *offered = polled.is_ready().then(Instant::now);
        drop(offered);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::future::pending;
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(test)
    }

    async fn is_closed_within(connection: &Closing, time: Duration) -> bool {
        tokio::time::timeout(time, connection.asked()).await.is_ok()
    }

    #[test]
    fn what_is_held_is_held_until_the_client_has_taken_everything() {
        run(async {
            let held = Arc::new(());
            let mut body = witnessed(Body::from("abc"), Holds(Arc::clone(&held)));
            assert_eq!(body.size_hint().exact(), Some(3));
            assert!(body.frame().await.is_some());
            assert!(!body.is_end_stream());
            assert!(body.frame().await.is_none());
            assert!(body.is_end_stream());
            assert_eq!(Arc::strong_count(&held), 2);
            drop(body);
            assert_eq!(Arc::strong_count(&held), 1);
            // Without anything to send, it has ended from the beginning.
            assert!(witnessed(Body::empty(), Holds(())).is_end_stream());
        });
    }

    #[test]
    fn a_client_that_takes_nothing_loses_its_connection() {
        run(async {
            let connection = Closing::default();
            let body = Watched::new(Body::from("abc"), PATIENCE, connection.clone());
            assert!(!is_closed_within(&connection, PATIENCE / 2).await);
            assert!(is_closed_within(&connection, PATIENCE).await);
            drop(body);
        });
    }

    #[test]
    fn a_client_that_waits_for_the_server_does_not() {
        run(async {
            let (sender, receiver) = mpsc::unbounded_channel::<&'static str>();
            let parts = UnboundedReceiverStream::new(receiver).map(Ok::<_, std::io::Error>);
            let connection = Closing::default();
            let mut body = Watched::new(Body::from_stream(parts), PATIENCE, connection.clone());
            // It takes a part in time, and waits for the next one.
            assert!(!is_closed_within(&connection, PATIENCE / 2).await);
            sender.send("a").unwrap();
            assert!(body.frame().await.is_some());
            let waiting = async {
                tokio::select! { _ = body.frame() => {}, () = pending() => {} }
            };
            tokio::select! {
                () = waiting => panic!("there was no part"),
                closed = is_closed_within(&connection, 10 * PATIENCE) => assert!(!closed),
            }
            // It does not take the next one.
            sender.send("b").unwrap();
            assert!(body.frame().await.is_some());
            assert!(is_closed_within(&connection, 2 * PATIENCE).await);
        });
    }

    #[test]
    fn an_answer_that_was_taken_is_not_watched_any_more() {
        run(async {
            let connection = Closing::default();
            let mut body = Watched::new(Body::from("abc"), PATIENCE, connection.clone());
            while body.frame().await.is_some() {}
            drop(body);
            assert!(!is_closed_within(&connection, 10 * PATIENCE).await);
        });
    }
}
