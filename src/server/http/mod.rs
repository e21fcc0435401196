//! HTTP: routes, and what every request passes on its way to them.

mod accept;
mod arrays;
mod body;
mod docs;
mod error;
mod guard;
mod health;
mod info;
mod inputs;
mod kserve;
mod nim;
mod openai;
mod send;
mod tei;

pub use body::parse;
pub use guard::guarded;
pub use kserve::parse as parse_kserve;
pub use nim::NimRequest;
pub use openai::EmbeddingsRequest;
pub use tei::{EmbedRequest, ResiduesRequest};

use super::refusal::{Kind, Refusal};
use super::shared::Shared;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Duration;

/// Seconds that a client gives a request.
const DEADLINE: &str = "x-request-timeout";

/// All routes but those of gRPC.
pub fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/", post(tei::root))
        .route("/embed", post(tei::embed))
        .route("/embed_all", post(tei::embed_all))
        .route("/logits", post(tei::logits))
        .route("/contacts", post(tei::contacts))
        .route("/v1/embeddings", post(openai::embeddings))
        .route("/embeddings", post(openai::embeddings_short))
        .route("/v2", get(kserve::server))
        .route("/v2/health/live", get(kserve::live))
        .route("/v2/health/ready", get(kserve::ready))
        .route("/v2/models/{model}", get(kserve::model))
        .route("/v2/models/{model}/ready", get(kserve::model_ready))
        .route("/v2/models/{model}/infer", post(kserve::infer))
        .route("/v1/biology/meta/{model}", post(nim::embed))
        .route("/info", get(info::info))
        .route("/health", get(health::health))
        .route("/ping", get(health::ping))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::docs))
        .route("/docs/", get(docs::page))
        .route("/docs/{*file}", get(docs::part))
        .with_state(Arc::clone(shared))
        .method_not_allowed_fallback(async || {
            Refusal::new(
                Kind::Method,
                "this path does not take this method: the header allow names those that it takes",
            )
        })
}

/// The answer to a path that there is not.
pub fn not_found() -> Refusal {
    Refusal::new(
        Kind::NotFound,
        "there is nothing at this path: /docs lists what there is",
    )
}

/// Answers a request, or refuses it when its time is over. What was begun for it is then given up.
async fn within_deadline(
    shared: &Shared,
    request: Request<Body>,
    answer: impl AsyncFnOnce(HeaderMap, Request<Body>) -> Result<Response<Body>, Refusal>,
) -> Response<Body> {
    let headers = request.headers().clone();
    let answered = match time(&headers, shared.limits.timeout) {
        Err(refusal) => Err(refusal),
        Ok(time) => match tokio::time::timeout(time, answer(headers, request)).await {
            Ok(answered) => answered,
            Err(_) => {
                let text = format!("there was no answer within {} s", time.as_secs_f64());
                Err(Refusal::new(Kind::Deadline, text))
            }
        },
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

/// The time of a request: what its header says, at most the limit of the server.
fn time(headers: &HeaderMap, limit: Duration) -> Result<Duration, Refusal> {
    let Some(value) = headers.get(DEADLINE) else {
        return Ok(limit);
    };
    let seconds = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok());
    match seconds.map(Duration::try_from_secs_f64) {
        Some(Ok(time)) if !time.is_zero() => Ok(time.min(limit)),
        _ => Err(Refusal::new(
            Kind::Malformed,
            format!("the header {DEADLINE} has to be a number of seconds"),
        )),
    }
}

#[cfg(test)]
mod tests;
