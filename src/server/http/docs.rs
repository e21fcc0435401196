//! OpenAPI, and Swagger UI to read and try it.

use super::accept::takes_gzip;
use super::{error, health, info, kserve, nim, not_found, openai, tei};
use crate::server::notes::Notes;
use crate::server::refusal::Refusal;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, VARY,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;
use std::io::Read;
use std::sync::{Arc, LazyLock};
use utoipa::OpenApi;
use utoipa_swagger_ui::Config;

const ABOUT: &str = "\
Exact ESM embeddings of protein sequences. A sequence has the bits that `esm-embed run` computes, \
whatever else the server computes at the same time. Nothing is truncated, windowed or normalized \
unless a request asks for it (text-embeddings-inference normalizes by default).

**Notes.** What was done to a sequence (lower case read as upper case, characters outside the alphabet, \
a stop dropped, truncation, windows, …) is in the header `x-sequence-notes`: a JSON list of objects with \
the `index` of the input. Notes beyond about 4 kB are left out and counted in \
`x-sequence-notes-omitted`; with `\"notes\": true`, `/embed`, `/embed_all`, `/logits` and `/contacts` \
answer with an object of the arrays and all notes.

**Arrays.** With `Accept: application/x-npy`, the answer is one NumPy array of 32-bit floats; with \
`Accept: application/zip`, an npz with the keys \"0\", \"1\", … `/embed` gives [D] for one sequence and \
[N, D] for a list. Answers of different lengths are not one array: they need npz. JSON numbers read \
back to the same 32 bits.

**Errors** are `{\"error\": …, \"error_type\": …}` and name the input; those of `/v1/embeddings` are \
`{\"error\": {\"message\": …, \"type\": …, \"code\": …}}`. 429 and 503 have `Retry-After`.

**Deadlines.** `X-Request-Timeout: SECONDS` shortens the time that a request may take (504).

**Access.** If the server has a key, requests send `Authorization: Bearer KEY` or `X-API-Key: KEY`.

The same port speaks gRPC; its reflection service describes it.";

#[derive(OpenApi)]
#[openapi(
    info(title = "esm-embed", description = ABOUT, license(name = "MIT", identifier = "MIT")),
    paths(
        tei::embed,
        tei::root,
        tei::embed_all,
        tei::logits,
        tei::contacts,
        openai::embeddings,
        openai::embeddings_short,
        kserve::server,
        kserve::live,
        kserve::ready,
        kserve::model,
        kserve::model_ready,
        kserve::infer,
        nim::embed,
        info::info,
        health::health,
        health::ping,
        health::metrics
    ),
    components(schemas(Notes, error::ErrorBody)),
    tags(
        (name = "embeddings", description = "In the dialect of text-embeddings-inference"),
        (name = "OpenAI", description = "In the dialect of OpenAI's API"),
        (name = "KServe v2", description = "For Triton's clients"),
        (name = "NIM", description = "As NVIDIA's NIM for ESM-2"),
        (name = "server", description = "The server itself")
    )
)]
struct Api;

/// The description of everything that HTTP offers.
pub async fn openapi() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| Api::openapi().to_json().unwrap_or_default());
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// To the page.
pub async fn docs() -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/docs/")]).into_response()
}

/// The page.
pub async fn page(headers: HeaderMap) -> Result<Response, Refusal> {
    file("", &headers)
}

/// A file of the page.
pub async fn part(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    match path {
        Ok(Path(path)) => file(&path, &headers),
        Err(_) => Err(not_found()),
    }
}

/// A file of the page, compressed where the client takes that.
fn file(path: &str, asked: &HeaderMap) -> Result<Response, Refusal> {
    static CONFIG: LazyLock<Arc<Config<'static>>> =
        LazyLock::new(|| Arc::new(Config::from("/openapi.json").validator_url("none")));
    let found = utoipa_swagger_ui::serve(path, Arc::clone(&CONFIG))
        .ok()
        .flatten();
    let file = found.ok_or_else(not_found)?;
    // The page asks nobody but this server.
    let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:";
    let headers = [
        (CONTENT_TYPE, file.content_type),
        (CONTENT_SECURITY_POLICY, policy.to_owned()),
        (VARY, ACCEPT_ENCODING.to_string()),
    ];
    let bytes = file.bytes.into_owned();
    if !file.gzpipped {
        return Ok((headers, bytes).into_response());
    }
    if takes_gzip(asked) {
        return Ok((headers, [(CONTENT_ENCODING, "gzip")], bytes).into_response());
    }
    let mut plain = Vec::new();
    let read = GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain);
    read.map_err(|_| not_found())?;
    Ok((headers, plain).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_every_route() {
        let api = Api::openapi();
        let paths: Vec<&str> = api.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "/",
                "/contacts",
                "/embed",
                "/embed_all",
                "/embeddings",
                "/health",
                "/info",
                "/logits",
                "/metrics",
                "/ping",
                "/v1/biology/meta/{model}",
                "/v1/embeddings",
                "/v2",
                "/v2/health/live",
                "/v2/health/ready",
                "/v2/models/{model}",
                "/v2/models/{model}/infer",
                "/v2/models/{model}/ready",
            ]
        );
    }

    #[test]
    fn every_answer_is_described() {
        let api = serde_json::to_value(Api::openapi()).unwrap();
        let mut answers = 0;
        for (path, operations) in api["paths"].as_object().unwrap() {
            for operation in operations.as_object().unwrap().values() {
                for answer in operation["responses"].as_object().unwrap().values() {
                    assert_ne!(
                        answer["description"].as_str().unwrap_or_default(),
                        "",
                        "{path}"
                    );
                    answers += 1;
                }
            }
        }
        assert!(answers > 30, "{answers}");
    }

    #[test]
    fn the_page_is_complete_and_asks_nobody_else() {
        let none = HeaderMap::new();
        let page = file("", &none).unwrap();
        assert_eq!(page.status(), StatusCode::OK);
        for name in [
            "swagger-ui.css",
            "swagger-ui-bundle.js",
            "swagger-initializer.js",
        ] {
            assert!(file(name, &none).is_ok(), "{name}");
        }
        for name in ["nix", "../Cargo.toml", "%2e%2e/x", "a\0b"] {
            assert!(file(name, &none).is_err(), "{name}");
        }
    }
}
