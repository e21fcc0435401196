//! gRPC on the same port.

use super::shared::Shared;
use axum::Router;
use std::sync::Arc;

/// The gRPC services as routes.
pub fn routes(_shared: &Arc<Shared>) -> Router {
    Router::new()
}
