//! From a job to the end of its server: listen, load, answer, finish.

use super::job::ServeJob;
use super::listen::{self, Connections};
use super::memory_shares::MemoryShares;
use super::service::Service;
use super::shared::{Phase, Shared};
use super::{grpc, http, metrics};
use crate::numerals::count;
use crate::pipeline::{Caches, Level, Reporter, Resident};
use anyhow::{Context, Result, anyhow, bail};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Threads that read requests and write answers; the engine has its own.
const IO_THREADS: usize = 2;
/// Time between two rounds of tidying up the metrics.
const UPKEEP: Duration = Duration::from_secs(5);
/// Time for connections to close when their requests are done.
const CLOSING: Duration = Duration::from_secs(1);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// On request, with everything that was running finished, or given up when the time was over.
    Finished,
    /// By a second signal.
    AtOnce(i32),
}

/// Serves until a signal asks it to end. `announce` is called once it listens.
///
/// # Errors
/// The model cannot be opened or loaded, the address cannot be listened on, or certificate and key
/// cannot be used.
pub fn serve(
    job: &ServeJob,
    caches: Caches,
    reporter: Arc<dyn Reporter + Send + Sync>,
    announce: impl FnOnce(SocketAddr) -> Result<()>,
) -> Result<Ended> {
    // Errors that can be found now are found before the address is announced.
    let opened = Resident::open(job.run(), caches, reporter.as_ref())?;
    let tls = job.tls.as_ref().map(listen::acceptor).transpose()?;
    let listener = bind(&job.listen)?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && job.api_key.is_none() {
        reporter.message(
            Level::Warning,
            &format!(
                "{address} can be reached by others, and requests need no key\n\
                 hint: give a key with `api_key_file`\n\
                 hint: use `listen=127.0.0.1:8080` to be reached from this machine only"
            ),
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .max_blocking_threads(job.limits.max_requests.clamp(64, 4096))
        .thread_name("io")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let prometheus = metrics::install()?;
    let shares = MemoryShares::of(opened.free_memory());
    let shared = Shared::new(job, shares.bodies, reporter, prometheus);
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let routes = http::routes(&shared).merge(grpc::routes(&shared));
        let routes = http::guarded(routes, &shared);
        let connections = Connections::new();
        let accepting = tokio::spawn(Arc::clone(&connections).accept(listener, tls, routes));
        announce(address)?;
        let upkeep = shared.prometheus.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                upkeep.run_upkeep();
            }
        });
        let (loaded, loading) = oneshot::channel();
        let (reporter, of) = (Arc::clone(&shared.reporter), job.clone());
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let service = opened.load(reporter.as_ref());
                let service = service.and_then(|resident| Ok(Service::start(resident, &of)?));
                // Without a receiver, the server has ended.
                let _ = loaded.send(service);
            })?;
        let service = tokio::select! {
            service = loading => Some(service.context("the model could not be loaded")??),
            _ = signals.next() => None,
        };
        let Some((service, _)) = service else {
            return Ok(Ended::Finished);
        };
        let service = Arc::new(service);
        shared.set_phase(Phase::Ready(Arc::clone(&service)));
        shared
            .reporter
            .message(Level::Info, &format!("ready to answer on {address}"));
        signals.next().await;
        accepting.abort();
        shared.set_phase(Phase::Ending);
        connections.finish();
        finish(&shared, &service, &connections, &mut signals).await
    });
    // The process is about to end. Dropping the runtime would fail the tasks that are left.
    std::mem::forget(runtime);
    ended
}

/// Waits for the requests that are running.
async fn finish(
    shared: &Shared,
    service: &Service,
    connections: &Connections,
    signals: &mut Signals,
) -> Result<Ended> {
    let running = shared.active();
    if running > 0 {
        let text = format!("finishing {}", count(running as u64, "request"));
        shared.reporter.message(Level::Info, &text);
    }
    let deadline = Instant::now() + shared.limits.grace;
    let is_done = async |is_done: &dyn Fn() -> bool, deadline: Instant| {
        while !is_done() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let finished = async {
        is_done(&|| shared.active() == 0, deadline).await;
        let left = shared.active();
        if left > 0 {
            shared.reporter.message(
                Level::Warning,
                &format!("{} not finished in time", several(left)),
            );
            service.abort();
        }
        // What was written goes out.
        let closing = Instant::now() + CLOSING;
        is_done(&|| connections.open() == 0, closing).await;
    };
    tokio::select! {
        () = finished => Ok(Ended::Finished),
        signal = signals.next() => Ok(Ended::AtOnce(signal)),
    }
}

fn several(requests: usize) -> String {
    match requests {
        1 => "1 request was".to_owned(),
        _ => format!("{} were", count(requests as u64, "request")),
    }
}

/// Listens on `HOST:PORT`, or on a port of this machine.
fn bind(listen: &str) -> Result<TcpListener> {
    let address = match listen.parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port}"),
        Err(_) => listen.to_owned(),
    };
    let listener = TcpListener::bind(&address).map_err(|error| {
        let (what, remedy) = match error.kind() {
            ErrorKind::AddrInUse => (
                "another process listens there already".to_owned(),
                "choose another port; port 0 picks a free one",
            ),
            ErrorKind::AddrNotAvailable => (
                "this machine does not have this address".to_owned(),
                "use 127.0.0.1 to be reached from this machine only, or 0.0.0.0 for all its addresses",
            ),
            ErrorKind::PermissionDenied => (
                "this user may not listen there".to_owned(),
                "choose a port from 1024 on",
            ),
            _ => (
                error.to_string(),
                "give an address as 127.0.0.1:8080, localhost:8080 or [::1]:8080; port 0 picks a free one",
            ),
        };
        anyhow!("`listen={listen}`: {what}\nhint: {remedy}")
    })?;
    if listener.set_nonblocking(true).is_err() {
        bail!("`listen={listen}`: the system cannot wait for connections");
    }
    Ok(listener)
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Signals> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}
