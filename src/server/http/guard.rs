//! What every request passes, HTTP and gRPC alike: the key, the end of the server, and the count.

use super::not_found;
use crate::pipeline::Level;
use crate::printable;
use crate::server::metrics;
use crate::server::refusal::{Kind, Refusal};
use crate::server::shared::{Active, Phase, Shared, ending};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Response};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use hyper::body::{Bytes, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tonic::Status;

/// Characters of a path in a message.
const PATH: usize = 200;

/// Paths that need no key: what probes ask, and what describes the interface.
const OPEN: [&str; 6] = [
    "/health",
    "/ping",
    "/v2/health/live",
    "/v2/health/ready",
    "/docs",
    "/openapi.json",
];
/// The same with everything below.
const OPEN_BELOW: [&str; 4] = [
    "/docs/",
    HEALTH,
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];
/// The health service of gRPC.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Probes of a server that is about to end are answered by their handlers.
const PROBES: [&str; 4] = ["/health", "/ping", "/v2/health/live", "/v2/health/ready"];

/// Paths with a label in the metrics. Others share one, so that clients cannot make labels.
const ROUTES: [&str; 19] = [
    "/",
    "/embed",
    "/embed_all",
    "/logits",
    "/contacts",
    "/v1/embeddings",
    "/embeddings",
    "/info",
    "/health",
    "/ping",
    "/metrics",
    "/openapi.json",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/esm_embed.v1.Embedder/Embed",
    "/bionemo.model.protein.esm1nv.grpc.GenerativeSampler/SeqToEmbedding",
    "/inference.GRPCInferenceService/ModelInfer",
    "/grpc.health.v1.Health/Check",
];

/// All routes behind the guard.
pub fn guarded(routes: Router, shared: &Arc<Shared>) -> Router {
    let shared = Arc::clone(shared);
    routes
        .fallback(async || not_found())
        .layer(from_fn_with_state(shared, guard))
}

async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response<Body> {
    let begin = Instant::now();
    let active = shared.begin();
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let is_grpc = is_grpc(request.headers());
    let refusal = refused(&shared, &path, request.headers());
    let response = match refusal {
        None => next.run(request).await,
        Some(refusal) if is_grpc => Status::from(refusal).into_http(),
        Some(refusal) => refusal.into_response(),
    };
    let ended = Ended {
        active,
        begin,
        route: label(&path),
        status: response.status().as_u16(),
        line: format!("{method} {}", printable::start(&path, PATH)),
        shared,
    };
    response.map(|body| {
        Body::new(Counted {
            body,
            _ended: ended,
        })
    })
}

fn refused(shared: &Shared, path: &str, headers: &HeaderMap) -> Option<Refusal> {
    let is_open = OPEN.contains(&path) || OPEN_BELOW.iter().any(|open| path.starts_with(open));
    if !is_open
        && shared
            .api_key
            .as_ref()
            .is_some_and(|key| !key.is_in(headers))
    {
        return Some(Refusal::new(
            Kind::Unauthorized,
            "the key is missing or wrong: send the header Authorization: Bearer KEY",
        ));
    }
    let is_ending = matches!(shared.phase(), Phase::Ending);
    let is_probe = PROBES.contains(&path) || path.starts_with(HEALTH);
    (is_ending && !is_probe).then(ending)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    content.is_some_and(|content| content.starts_with(b"application/grpc"))
}

fn label(path: &str) -> &'static str {
    let known = ROUTES.into_iter().find(|route| *route == path);
    known.unwrap_or(match path {
        path if path.starts_with("/docs") => "/docs",
        path if path.starts_with("/v2/models/") => "/v2/models",
        _ => "other",
    })
}

/// A request until its answer has been sent, or given up.
struct Ended {
    active: Active,
    begin: Instant,
    route: &'static str,
    status: u16,
    line: String,
    shared: Arc<Shared>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let took = self.begin.elapsed();
        metrics::request(self.route, self.status, took);
        let text = format!(
            "{} {} {:.1} ms",
            self.line,
            self.status,
            1e3 * took.as_secs_f64()
        );
        self.shared.reporter.message(Level::Detail, &text);
        let _ = &self.active;
    }
}

/// A body that knows when it ends.
struct Counted {
    body: Body,
    _ended: Ended,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
