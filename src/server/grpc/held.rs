//! What an answer of one message holds until it has been sent: its memory.

use super::status;
use crate::server::sent::{Holds, witnessed};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response as HttpResponse};
use std::any::Any;
use std::sync::Arc;
use tonic::{Code, Response};

/// Something that is dropped when the answer has been sent.
#[derive(Clone)]
struct Held(#[expect(dead_code, reason = "held, not read")] Arc<dyn Any + Send + Sync>);

/// An answer that holds something until it has been sent.
pub fn holding<T>(message: T, held: impl Any + Send + Sync) -> Response<T> {
    let mut response = Response::new(message);
    response.extensions_mut().insert(Held(Arc::new(held)));
    response
}

/// Ties what an answer holds to its body. A message beyond the limit, which tonic calls OUT_OF_RANGE,
/// becomes RESOURCE_EXHAUSTED, as in other servers.
pub async fn tie(mut response: HttpResponse<Body>) -> HttpResponse<Body> {
    let headers = response.headers_mut();
    if has_status(headers, Code::OutOfRange) {
        headers.insert(status::HEADER, number(Code::ResourceExhausted));
    }
    match response.extensions_mut().remove::<Held>() {
        None => response,
        Some(held) => response.map(|body| witnessed(body, Holds(held))),
    }
}

fn has_status(headers: &HeaderMap, code: Code) -> bool {
    headers.get(status::HEADER) == Some(&number(code))
}

fn number(code: Code) -> HeaderValue {
    HeaderValue::from(code as i32)
}
