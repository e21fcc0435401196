//! What the server says about itself.

use crate::support::Server;
use serde_json::json;

#[test]
fn info_has_the_model_the_limits_and_what_can_be_relied_on() {
    let server =
        Server::start("--layer 1,2 --include logits --threads 1 --dtype f32 --max-tokens 512");
    let info = server.get("/info").json();
    assert_eq!(info["model_id"], "esm2_hd16");
    assert_eq!(info["model_dtype"], "f32");
    assert_eq!(info["served_layers"], json!([1, 2]));
    assert_eq!(info["default_layer"], 2);
    assert_eq!((&info["dim"], &info["layers"]), (&json!(32), &json!(2)));
    assert_eq!(info["include"], json!(["logits"]));
    assert_eq!(info["letters"].as_array().unwrap().len(), 33);
    assert_eq!(info["auto_truncate"], false);
    assert_eq!(info["truncated_to"], 1022);
    assert_eq!(info["long"], "full");
    assert_eq!(info["max_batch_tokens"], 512);
    assert_eq!(info["max_concurrent_requests"], 512);
    assert_eq!(info["max_body_bytes"], 32_000_000);
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        info["bits"],
        "a sequence has the bits that esm-embed run computes with this model, device and number format, \
         whatever else the server computes at the same time"
    );
    assert_eq!(
        info["model_type"],
        json!({"embedding": {"pooling": "mean"}})
    );
}

#[test]
fn the_description_and_its_page_come_from_this_server_only() {
    let server = Server::start("");
    let api = server.get("/openapi.json").json();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(api["info"]["title"], "esm-embed");
    for path in [
        "/embed",
        "/embed_all",
        "/v1/embeddings",
        "/contacts",
        "/logits",
        "/info",
        "/health",
    ] {
        assert!(api["paths"][path].is_object(), "{path}");
    }
    let paths = api["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|methods| methods.as_object().unwrap().values());
    let mut ids: Vec<&str> = operations
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
    assert_eq!(server.get("/docs").header("location"), Some("/docs/"));
    let page = server.get("/docs/");
    assert_eq!(page.header("content-type"), Some("text/html"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'self'"), "{policy}");
    // Everything that the page loads is here.
    let html = page.text();
    let names = html
        .split(['"', '\''])
        .filter(|name| name.starts_with("./"));
    let names: Vec<&str> = names.collect();
    assert!(names.len() >= 4, "{html}");
    for name in names {
        let path = format!("/docs/{}", &name[2..]);
        assert_eq!(server.get(&path).status, 200, "{path}");
    }
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "{html}"
    );
    let script = server.get("/docs/swagger-initializer.js").text();
    assert!(script.contains("\"/openapi.json\""), "{script}");
    assert_eq!(server.get("/docs/../info").status, 404);
}

#[test]
fn prometheus_reads_what_happened() {
    let server = Server::start("--threads 1 --max-tokens 100");
    server.post("/embed", &json!({"inputs": ["MKT", "MKTAY"]}));
    server.post("/embed", &json!({"inputs": ""}));
    server.get("/nix/%0a");
    let answer = server.get("/metrics");
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    let text = answer.text();
    let has = |line: &str| assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    has("esm_embed_requests_total{route=\"/embed\",status=\"200\"} 1");
    has("esm_embed_requests_total{route=\"/embed\",status=\"400\"} 1");
    has("esm_embed_requests_total{route=\"other\",status=\"404\"} 1");
    has("esm_embed_tokens_total 12");
    has("esm_embed_sequences_total 2");
    has("esm_embed_queue_tokens 0");
    has("esm_embed_queue_seconds_count 2");
    has("esm_embed_requests_in_progress 1");
    has("# TYPE esm_embed_requests_total counter");
    has("# TYPE esm_embed_request_seconds histogram");
    has("esm_embed_request_seconds_bucket{route=\"/embed\",le=\"+Inf\"} 2");
    has("esm_embed_request_seconds_count{route=\"/embed\"} 2");
    has("# TYPE esm_embed_batch_fill histogram");
    has("# TYPE esm_embed_queue_sequences gauge");
}
