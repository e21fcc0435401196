//! Whether the server is well, and what it has done.

use crate::server::refusal::{Kind, Refusal};
use crate::server::shared::{Phase, Shared, ending};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use std::sync::Arc;

/// 200 when the model is loaded, else 503.
#[utoipa::path(
    get,
    path = "/ping",
    tag = "server",
    responses((status = 200, description = "Yes"), (status = 503, description = "The model is not loaded yet, or the server is about to end", body = super::error::ErrorBody))
)]
pub async fn ping(shared: State<Arc<Shared>>) -> Result<(), Refusal> {
    health(shared).await
}

/// 200 when the model is loaded, else 503.
#[utoipa::path(
    get,
    path = "/health",
    tag = "server",
    responses((status = 200, description = "Yes"), (status = 503, description = "The model is not loaded yet, or the server is about to end", body = super::error::ErrorBody))
)]
pub async fn health(State(shared): State<Arc<Shared>>) -> Result<(), Refusal> {
    match shared.phase() {
        Phase::Ready(_) => Ok(()),
        Phase::Loading => Err(Refusal::new(
            Kind::Unavailable,
            "the model is not loaded yet",
        )),
        Phase::Ending => Err(ending()),
    }
}

/// What Prometheus reads.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "server",
    responses((status = 200, description = "Its text format", content_type = "text/plain", body = String))
)]
pub async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], shared.prometheus.render())
}
