//! What every request passes, HTTP and gRPC alike: the key, the end of the server, and the count.

use super::{error, not_found};
use crate::pipeline::Level;
use crate::printable;
use crate::server::grpc::{GRPC_STATUS, code_name};
use crate::server::metrics;
use crate::server::refusal::{Kind, Refusal};
use crate::server::sent::{Closing, Watched, Witness, witnessed};
use crate::server::shared::{Active, Phase, Shared, ending};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Response};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use hyper::body::{Bytes, Frame};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tonic::{Code, Status};

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

/// Paths whose errors have the form of OpenAI's.
const OPENAI: [&str; 2] = ["/v1/embeddings", "/embeddings"];

/// Paths with a label in the metrics. Others share one, so that clients cannot make labels.
const ROUTES: [&str; 18] = [
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
];

/// All routes behind the guard.
pub fn guarded(routes: Router, shared: &Arc<Shared>) -> Router {
    let shared = Arc::clone(shared);
    routes
        .fallback(async |headers: HeaderMap| match is_grpc(&headers) {
            true => {
                let text = "there is no such method: the reflection service lists the methods";
                Status::unimplemented(text).into_http()
            }
            false => not_found().into_response(),
        })
        .layer(from_fn_with_state(shared, guard))
}

async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response<Body> {
    let begin = Instant::now();
    let active = shared.begin();
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let is_grpc = is_grpc(request.headers());
    let refusal = refused(&shared, &path, request.headers());
    let connection = request.extensions().get::<Closing>().cloned();
    // Clients of streams may think about an answer before they take the next one.
    let patience = shared.limits.timeout;
    let response = match refusal {
        None => next.run(request).await,
        Some(refusal) if is_grpc => Status::from(refusal).into_http(),
        Some(refusal) => refusal.into_response(),
    };
    let response = match OPENAI.contains(&path.as_str()) {
        true => error::for_openai(response),
        false => response,
    };
    let ended = Ended {
        active,
        begin,
        route: label(&path),
        status: match self::is_grpc(response.headers()) {
            true => Outcome::grpc(response.headers()),
            false => Outcome::Http(response.status().as_u16()),
        },
        line: format!("{method} {}", printable::start(&path, PATH)),
        shared,
    };
    response.map(|body| {
        let body = witnessed(body, ended);
        match connection {
            Some(connection) => Body::new(Watched::new(body, patience, connection)),
            None => body,
        }
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
        path if path.starts_with("/v1/biology/meta/") => "/v1/biology/meta",
        path if path.starts_with(HEALTH) => "/grpc.health.v1.Health",
        path if path.starts_with("/grpc.reflection.") => "/grpc.reflection",
        path if path.starts_with("/inference.GRPCInferenceService/") => {
            "/inference.GRPCInferenceService"
        }
        _ => "other",
    })
}

/// A request until its answer has been sent, or given up.
struct Ended {
    active: Active,
    begin: Instant,
    route: &'static str,
    status: Outcome,
    line: String,
    shared: Arc<Shared>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Its status.
    Http(u16),
    /// The status of a call, which comes at its end. Cancelled before.
    Grpc(Code),
}

impl Outcome {
    /// The status of a call in its headers or trailers.
    fn grpc(headers: &HeaderMap) -> Outcome {
        let status = headers.get(GRPC_STATUS);
        Outcome::Grpc(status.map_or(Code::Cancelled, |status| {
            Code::from_bytes(status.as_bytes())
        }))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Http(status) => status.fmt(f),
            Outcome::Grpc(code) => f.write_str(code_name(*code)),
        }
    }
}

impl Witness for Ended {
    fn sees(&mut self, frame: &Frame<Bytes>) {
        if let (Outcome::Grpc(_), Some(trailers)) = (self.status, frame.trailers_ref()) {
            self.status = Outcome::grpc(trailers);
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let took = self.begin.elapsed();
        metrics::request(self.route, self.status.to_string(), took);
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
