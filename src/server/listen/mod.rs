//! Connections: accepted, decrypted, and each served by its own task until it closes or the server
//! ends.

mod stall;
mod tls;

pub use tls::acceptor;

use super::metrics;
use super::sent::Closing;
use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use stall::Stall;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Time that a client may take for its first byte, the head of a request, a TLS handshake, or to take
/// the next bytes of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that are open at the same time, where the system lets a process have as many files.
const MOST_CONNECTIONS: usize = 8192;
/// Files besides connections: the listener, the model and what libraries open.
const OTHER_FILES: u64 = 64;
/// Streams of one HTTP/2 connection.
const STREAMS: u32 = 256;
/// Bytes of the headers of a request.
const HEADERS: usize = 64 << 10;

/// Open connections.
pub struct Connections {
    open: AtomicUsize,
    /// Turned to true when connections are to finish.
    end: watch::Sender<bool>,
}

impl Connections {
    /// No connection yet.
    pub fn new() -> Arc<Connections> {
        Arc::new(Connections {
            open: AtomicUsize::new(0),
            end: watch::Sender::new(false),
        })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Asks all of them to finish the requests that are running and to close.
    pub fn finish(&self) {
        self.end.send_replace(true);
    }

    /// Accepts connections until the future is dropped.
    pub async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        routes: Router,
    ) {
        let places = Arc::new(Semaphore::new(most_connections()));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = listener.accept().await else {
                // Mostly a lack of files: connections that close give some back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (tls, routes) = (tls.clone(), routes.clone());
            let counted = Counted::new(&self);
            let end = self.end.subscribe();
            tokio::spawn(async move {
                serve(stream, tls, routes, end).await;
                drop((counted, place));
            });
        }
    }
}

struct Counted(Arc<Connections>);

impl Counted {
    fn new(connections: &Arc<Connections>) -> Counted {
        metrics::connections(connections.open.fetch_add(1, Ordering::AcqRel) + 1);
        Counted(Arc::clone(connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let before = self.0.open.fetch_sub(1, Ordering::AcqRel);
        metrics::connections(before.saturating_sub(1));
    }
}

/// As many as there are files for, at least 16.
fn most_connections() -> usize {
    use rustix::process::{Resource, getrlimit};
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    most.clamp(16, MOST_CONNECTIONS)
}

/// One connection. Its errors concern nobody but its client, who has gone.
async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    routes: Router,
    end: watch::Receiver<bool>,
) {
    // Small answers must not wait for more.
    let _ = stream.set_nodelay(true);
    let stream = Stall::new(stream, PATIENCE);
    match tls {
        None => speak(stream, routes, end).await,
        Some(tls) => {
            let handshake = tokio::time::timeout(PATIENCE, tls.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                speak(stream, routes, end).await;
            }
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Router,
    mut end: watch::Receiver<bool>,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEADERS.max(256 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PATIENCE)
        .keep_alive_timeout(PATIENCE)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS as u32)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    let closing = Closing::default();
    let (of_requests, routes) = (closing.clone(), TowerToHyperService::new(routes));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(of_requests.clone());
        routes.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing.asked() => return,
        _ = end.wait_for(|end| *end) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = closing.asked() => {}
    }
}
