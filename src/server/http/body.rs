//! The body of a request: read within its limits, then parsed.

use crate::numerals::bytes;
use crate::printable;
use crate::server::body_memory::{COPIES, no_memory, take_for_elements};
use crate::server::byte_budget::Taken;
use crate::server::refusal::{Kind, Refusal};
use crate::server::shared::Shared;
use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::time::Duration;

/// Time that a client may take for the next part of a body.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read, and thrown away, of a body that is too large: clients that write before they read see
/// the answer instead of a closed connection.
const DRAINED: usize = 64 << 20;
/// Characters of an error that may quote a body.
const QUOTED: usize = 400;
/// How long that may take.
const DRAINING: Duration = Duration::from_secs(10);

/// Parses a body of JSON. The memory of what comes out is taken from that for bodies.
///
/// # Errors
/// Another type of content, a body that is too large, too slow or not JSON, or JSON of another shape; or
/// other bodies take all the memory.
pub async fn json<T: DeserializeOwned>(
    request: Request<Body>,
    shared: &Shared,
) -> Result<(T, Taken), Refusal> {
    check_type(request.headers(), "application/json")?;
    let (body, taken) = read(request, shared).await?;
    Ok((parse(&body)?, taken))
}

/// Parses JSON.
///
/// # Errors
/// It is not JSON, no object, or has another shape.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // A list would be read as the fields of an object in their order.
    match body.trim_ascii() {
        [] => {
            let text = "the body is not JSON: it is empty";
            return Err(Refusal::new(Kind::Malformed, text));
        }
        [b'[' | b'"' | b'0'..=b'9' | b'-', ..] | b"null" | b"true" | b"false" => {
            let text = "the body has to be a JSON object, as {\"inputs\": …}: see /docs";
            return Err(Refusal::new(Kind::Invalid, text));
        }
        _ => {}
    }
    serde_json::from_slice(body).map_err(|error| {
        // It may quote what the client sent.
        let shown = printable::start(error.to_string(), QUOTED);
        // Names of types of Rust.
        let shown = shown.replace("expected usize", "expected a whole number from 0");
        let shown = shown.replace("expected i64", "expected a whole number");
        match error.classify() {
            Category::Data => {
                Refusal::new(Kind::Invalid, format!("the body cannot be used: {shown}"))
            }
            _ => Refusal::new(Kind::Malformed, format!("the body is not JSON: {shown}")),
        }
    })
}

/// Whether the content is of this type and not compressed.
///
/// # Errors
/// It is not.
pub fn check_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    let given = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let essence = given.and_then(|value| value.split(|&b| b == b';').next());
    let is_wanted = |essence: &[u8]| essence.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes());
    if !essence.is_some_and(is_wanted) {
        let text = format!("the header content-type has to be {wanted}");
        return Err(Refusal::new(Kind::MediaType, text));
    }
    match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => Ok(()),
        Some(_) => Err(Refusal::new(
            Kind::MediaType,
            "compressed bodies are not read: leave the header content-encoding out",
        )),
    }
}

/// Reads a body, and takes the memory for it and what it is parsed to. One that is too large is refused
/// as soon as that is known.
///
/// # Errors
/// It is too large or too slow, the client has gone, or other bodies take all the memory.
pub async fn read(request: Request<Body>, shared: &Shared) -> Result<(Vec<u8>, Taken), Refusal> {
    let limit = shared.limits.max_body_bytes;
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut body = request.into_body();
    if length.is_some_and(|length| length > limit as u64) {
        drain(body);
        return Err(too_large(limit));
    }
    let mut read = Vec::new();
    let taken = shared.bodies.nothing();
    loop {
        let frame = match tokio::time::timeout(PATIENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) => {
                return Err(Refusal::new(Kind::Malformed, "the body ended early"));
            }
            Err(_) => {
                let text = "the body did not arrive in time";
                return Err(Refusal::new(Kind::SlowBody, text));
            }
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if read.len() + data.len() > limit {
            drain(body);
            return Err(too_large(limit));
        }
        if !taken.grow(COPIES * data.len() as u64) {
            drain(body);
            return Err(no_memory());
        }
        read.extend_from_slice(&data);
    }
    // A short element of JSON takes more memory than it has bytes.
    let elements = read.iter().filter(|byte| **byte == b',').count();
    take_for_elements(&taken, elements)?;
    Ok((read, taken))
}

fn too_large(limit: usize) -> Refusal {
    let text = format!(
        "the body has more than {}, the limit of this server",
        bytes(limit as u64)
    );
    Refusal::new(Kind::TooLarge, text)
}

/// Throws the rest of a body away while the answer is sent.
fn drain(mut body: Body) {
    tokio::spawn(tokio::time::timeout(DRAINING, async move {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await
            && read < DRAINED
        {
            read += frame.data_ref().map_or(0, |data| data.len());
        }
    }));
}
