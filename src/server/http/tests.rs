//! A server whose model is not loaded yet, without a model, on a clock that tests move.

use super::*;
use crate::pipeline::{ComputeOptions, Model, SequenceOptions, Silent};
use crate::server::job::{Limits, ServeJob};
use crate::server::shared::Phase;
use crate::server::{grpc, memory_shares::MemoryShares};
use axum::http::StatusCode;
use http_body_util::BodyExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tower::Service;

fn shared() -> Arc<Shared> {
    let job = ServeJob {
        model: Model {
            asked: "8M".to_owned(),
            path: "8M".into(),
            repo: None,
            revision: None,
            contact_regression: None,
            adapter: None,
        },
        name: "8M".to_owned(),
        listen: String::new(),
        layers: Vec::new(),
        include: Vec::new(),
        sequences: SequenceOptions::default(),
        compute: ComputeOptions::default(),
        limits: Limits {
            max_body_bytes: 1_000_000,
            max_requests: 2,
            max_queue_tokens: 1000,
            timeout: Duration::from_secs(600),
            grace: Duration::from_secs(30),
            cache_bytes: 0,
        },
        api_key: None,
        tls: None,
        bionemo: grpc::BionemoOptions::DEFAULT,
    };
    let prometheus = PrometheusBuilder::new().build_recorder().handle();
    Shared::new(
        &job,
        MemoryShares::of(None).bodies,
        Arc::new(Silent),
        prometheus,
    )
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test)
}

/// Status, `Retry-After` and the error of an answer.
async fn ask(shared: &Arc<Shared>, request: Request<Body>) -> (StatusCode, Option<String>, String) {
    let mut routes = guarded(routes(shared), shared);
    let answer = routes.call(request).await.unwrap();
    let status = answer.status();
    let retry = answer.headers().get("retry-after");
    let retry = retry.map(|value| value.to_str().unwrap().to_owned());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = match &body["error"] {
        Value::Object(error) => &error["message"],
        error => error,
    };
    (status, retry, error.as_str().unwrap_or_default().to_owned())
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post(path: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

const LOADING: &str = "the model is not loaded yet";

#[test]
fn probes_are_answered_at_once_while_the_model_is_loaded() {
    run(async {
        let shared = shared();
        for path in [
            "/health",
            "/ping",
            "/v2/health/ready",
            "/v2/models/8M/ready",
        ] {
            let (status, retry, error) = ask(&shared, get(path)).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(retry.as_deref(), Some("5"), "{path}");
            assert_eq!(error, LOADING, "{path}");
        }
        for path in ["/v2/health/live", "/v2", "/openapi.json", "/metrics"] {
            assert_eq!(ask(&shared, get(path)).await.0, StatusCode::OK, "{path}");
        }
        shared.set_phase(Phase::Ending);
        let (status, retry, error) = ask(&shared, get("/health")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(retry.as_deref(), Some("5"));
        assert_eq!(error, "the server is shutting down");
    });
}

#[test]
fn requests_wait_for_the_model_for_a_while() {
    run(async {
        let shared = shared();
        let infer = json!({"inputs": [
            {"name": "sequences", "datatype": "BYTES", "shape": [1], "data": ["MKT"]}
        ]});
        for (path, body) in [
            ("/embed", json!({"inputs": "MKT"})),
            ("/", json!({"inputs": "MKT"})),
            ("/embed_all", json!({"inputs": "MKT"})),
            ("/v1/embeddings", json!({"input": "MKT"})),
            ("/v1/biology/meta/esm2-650m", json!({"sequences": ["MKT"]})),
            ("/v2/models/8M/infer", infer),
        ] {
            let (status, retry, error) = ask(&shared, post(path, &body)).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(
                (retry.as_deref(), error.as_str()),
                (Some("5"), LOADING),
                "{path}"
            );
        }
        assert_eq!(ask(&shared, get("/info")).await.2, LOADING);
        // What is wrong with a request is said without a model.
        let (status, _, error) = ask(&shared, post("/embed", &json!({"inputs": [5]}))).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(error.contains("send sequences as text"), "{error}");
    });
}

#[test]
fn a_request_that_waits_for_the_model_keeps_its_deadline_and_sees_the_end() {
    run(async {
        let shared = shared();
        let mut request = post("/embed", &json!({"inputs": "MKT"}));
        let two = axum::http::HeaderValue::from_static("2");
        request.headers_mut().insert("x-request-timeout", two);
        let (status, _, error) = ask(&shared, request).await;
        assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(error, "there was no answer within 2 s");
        let waiting = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move { ask(&shared, post("/embed", &json!({"inputs": "MKT"}))).await }
        });
        while shared.active() == 0 {
            tokio::task::yield_now().await;
        }
        shared.set_phase(Phase::Ending);
        let (status, _, error) = waiting.await.unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(error, "the server is shutting down");
        assert_eq!(shared.active(), 0);
    });
}
