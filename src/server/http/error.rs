//! A refusal as an HTTP answer.

use crate::printable;
use crate::server::refusal::{Kind, Refusal};
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Until a server that is not there may be there again.
const UNAVAILABLE: Duration = Duration::from_secs(5);
/// Characters of a message. It may quote what the client sent.
const LONGEST: usize = 600;

/// Why the request failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// One sentence. For a sequence, it opens with its place in the request: `inputs[3]: …`.
    pub error: String,
    /// `Validation`, `Tokenizer`, `Empty`, `Overloaded`, `Unhealthy`, `Backend`, `Unauthorized` or
    /// `Timeout`.
    pub error_type: String,
}

impl Kind {
    /// The status of the kind.
    pub fn status(self) -> StatusCode {
        match self {
            Kind::Empty | Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Method => StatusCode::METHOD_NOT_ALLOWED,
            Kind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Kind::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::Invalid | Kind::Character => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Busy => StatusCode::TOO_MANY_REQUESTS,
            Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::NotServed => StatusCode::NOT_IMPLEMENTED,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Deadline => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Its name in text-embeddings-inference, where it has one.
    pub fn error_type(self) -> &'static str {
        match self {
            Kind::Empty => "Empty",
            Kind::Character => "Tokenizer",
            Kind::Busy => "Overloaded",
            Kind::Failed => "Backend",
            Kind::Unavailable => "Unhealthy",
            Kind::Unauthorized => "Unauthorized",
            Kind::Deadline | Kind::SlowBody => "Timeout",
            Kind::Malformed
            | Kind::NotFound
            | Kind::Method
            | Kind::NotAcceptable
            | Kind::TooLarge
            | Kind::MediaType
            | Kind::Invalid
            | Kind::NotServed => "Validation",
        }
    }
}

/// Why the request failed, as OpenAI's API says it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiErrorBody {
    /// The error.
    pub error: OpenAiError,
}

/// An error of OpenAI's API.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiError {
    /// One sentence. For a sequence, it opens with its place in the request: `input[3]: …`.
    pub message: String,
    /// `invalid_request_error`, `authentication_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Always null.
    pub param: Option<String>,
    /// As `error_type` of the other routes.
    pub code: &'static str,
}

/// The refusal that an answer was made of.
#[derive(Clone)]
struct Refused(Refusal);

/// An answer of a route of OpenAI's: its error, if it is one, has the form that clients of OpenAI show.
pub fn for_openai(mut response: Response) -> Response {
    let Some(Refused(refusal)) = response.extensions_mut().remove::<Refused>() else {
        return response;
    };
    let body = OpenAiErrorBody {
        error: OpenAiError {
            message: printable::start(&refusal.message, LONGEST),
            kind: match response.status().as_u16() {
                401 => "authentication_error",
                429 => "rate_limit_error",
                500.. => "server_error",
                _ => "invalid_request_error",
            },
            param: None,
            code: refusal.kind.error_type(),
        },
    };
    *response.body_mut() = Body::from(serde_json::to_vec(&body).unwrap_or_default());
    response
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: printable::start(&self.message, LONGEST),
            error_type: self.kind.error_type().to_owned(),
        };
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        response.extensions_mut().insert(Refused(self.clone()));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // A server that ends is mostly followed by another.
        let is_unavailable = self.kind == Kind::Unavailable;
        let retry = self.retry_after.or(is_unavailable.then_some(UNAVAILABLE));
        if let Some(time) = retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(time.as_secs().max(1)));
        }
        match self.kind {
            Kind::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The rest of the body is not read.
            Kind::SlowBody | Kind::Unavailable => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
