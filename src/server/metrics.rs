//! What Prometheus reads at `/metrics`.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::time::Duration;

const REQUESTS: &str = "esm_embed_requests_total";
const REQUEST_SECONDS: &str = "esm_embed_request_seconds";
const IN_PROGRESS: &str = "esm_embed_requests_in_progress";
const CONNECTIONS: &str = "esm_embed_connections";
const TOKENS: &str = "esm_embed_tokens_total";
const SEQUENCES: &str = "esm_embed_sequences_total";
const SHARED: &str = "esm_embed_shared_sequences_total";
const CACHED: &str = "esm_embed_cached_sequences_total";
const BATCH_TOKENS: &str = "esm_embed_batch_tokens";
const BATCH_FILL: &str = "esm_embed_batch_fill";
const PASS_SECONDS: &str = "esm_embed_pass_seconds";
const QUEUE_SECONDS: &str = "esm_embed_queue_seconds";
const QUEUE_SEQUENCES: &str = "esm_embed_queue_sequences";
const QUEUE_TOKENS: &str = "esm_embed_queue_tokens";

/// Upper ends of the classes of times, in seconds.
const SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Upper ends of the classes of numbers of tokens.
const COUNTS: &[f64] = &[
    16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0, 65_536.0,
];
/// Upper ends of the classes of shares.
const SHARES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// Starts to record.
///
/// # Errors
/// It was started before.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(full(REQUEST_SECONDS), SECONDS)?
        .set_buckets_for_metric(full(PASS_SECONDS), SECONDS)?
        .set_buckets_for_metric(full(QUEUE_SECONDS), SECONDS)?
        .set_buckets_for_metric(full(BATCH_TOKENS), COUNTS)?
        .set_buckets_for_metric(full(BATCH_FILL), SHARES)?
        .install_recorder()?;
    use ::metrics::{
        Unit::Count, Unit::Seconds, describe_counter, describe_gauge, describe_histogram,
    };
    describe_counter!(
        REQUESTS,
        Count,
        "Requests by route and status: that of HTTP, or the name of that of gRPC"
    );
    describe_histogram!(
        REQUEST_SECONDS,
        Seconds,
        "Time from the head of a request to the end of its answer"
    );
    describe_gauge!(IN_PROGRESS, Count, "Requests in progress");
    describe_gauge!(CONNECTIONS, Count, "Open connections");
    describe_counter!(TOKENS, Count, "Tokens that were computed");
    describe_counter!(SEQUENCES, Count, "Sequences that were computed");
    describe_counter!(
        SHARED,
        Count,
        "Sequences that were in the queue already and were computed once"
    );
    describe_counter!(CACHED, Count, "Sequences whose answer was kept");
    describe_histogram!(BATCH_TOKENS, Count, "Tokens of a pass");
    describe_histogram!(
        BATCH_FILL,
        Count,
        "Tokens of a pass as a share of the budget"
    );
    describe_histogram!(PASS_SECONDS, Seconds, "Time of a pass");
    describe_histogram!(
        QUEUE_SECONDS,
        Seconds,
        "Time that a sequence waited for its pass"
    );
    describe_gauge!(QUEUE_SEQUENCES, Count, "Sequences that wait");
    describe_gauge!(QUEUE_TOKENS, Count, "Tokens that wait");
    waiting(0, 0);
    for counter in [TOKENS, SEQUENCES, SHARED, CACHED] {
        ::metrics::counter!(counter).increment(0);
    }
    Ok(handle)
}

/// A request has ended.
pub fn request(route: &'static str, status: String, took: Duration) {
    ::metrics::counter!(REQUESTS, "route" => route, "status" => status).increment(1);
    ::metrics::histogram!(REQUEST_SECONDS, "route" => route).record(took);
}

/// Requests in progress.
pub fn in_progress(requests: usize) {
    ::metrics::gauge!(IN_PROGRESS).set(requests as f64);
}

/// Open connections.
pub fn connections(open: usize) {
    ::metrics::gauge!(CONNECTIONS).set(open as f64);
}

/// What waits in the queue.
pub fn waiting(sequences: usize, tokens: usize) {
    ::metrics::gauge!(QUEUE_SEQUENCES).set(sequences as f64);
    ::metrics::gauge!(QUEUE_TOKENS).set(tokens as f64);
}

/// A pass over some tokens of a budget has ended.
pub fn pass(tokens: usize, budget: usize, took: Duration) {
    ::metrics::counter!(TOKENS).increment(tokens as u64);
    ::metrics::histogram!(BATCH_TOKENS).record(tokens as f64);
    ::metrics::histogram!(BATCH_FILL).record((tokens as f64 / budget.max(1) as f64).min(1.0));
    ::metrics::histogram!(PASS_SECONDS).record(took);
}

/// A sequence was computed after it had waited.
pub fn computed(waited: Duration) {
    ::metrics::counter!(SEQUENCES).increment(1);
    ::metrics::histogram!(QUEUE_SECONDS).record(waited);
}

/// A sequence was in the queue already.
pub fn shared() {
    ::metrics::counter!(SHARED).increment(1);
}

/// The answer to a sequence was kept.
pub fn cached() {
    ::metrics::counter!(CACHED).increment(1);
}
