//! Streams that a client may keep open for as long as it likes end with the server.

use super::status::HEADER;
use crate::server::shared::Shared;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use axum::middleware::Next;
use hyper::body::{Bytes, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Code;

/// The beginning of the paths of reflection, whose streams wait for more questions.
const REFLECTION: &str = "/grpc.reflection.";

/// Ends streams of reflection when the server is about to end.
pub async fn until_end(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let is_reflection = request.uri().path().starts_with(REFLECTION);
    let response = next.run(request).await;
    match is_reflection {
        false => response,
        true => response.map(|body| {
            Body::new(UntilEnd {
                body,
                ending: Some(Box::pin(async move { shared.ending().await })),
            })
        }),
    }
}

struct UntilEnd {
    body: Body,
    /// None when it has ended.
    ending: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl HttpBody for UntilEnd {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(ending) = self.ending.as_mut() else {
            return Poll::Ready(None);
        };
        let is_ending = ending.as_mut().poll(context).is_ready();
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending() && is_ending {
            self.ending = None;
            return Poll::Ready(Some(Ok(Frame::trailers(unavailable()))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ending.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn unavailable() -> HeaderMap {
    let message = HeaderValue::from_static("the server is shutting down");
    HeaderMap::from_iter([
        (
            HeaderName::from_static(HEADER),
            HeaderValue::from(Code::Unavailable as i32),
        ),
        (HeaderName::from_static("grpc-message"), message),
    ])
}
