//! What the server is.

use crate::product::Product;
use crate::server::body_memory::most_inputs;
use crate::server::refusal::Refusal;
use crate::server::shared::Shared;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The model, the limits, and what holds for every answer. The first keys are those of
/// text-embeddings-inference.
#[derive(Debug, Serialize, ToSchema)]
pub struct Info {
    /// The name of the model.
    pub model_id: String,
    /// Commit of its repository, if it came from one; of the base, if there is an adapter.
    pub model_sha: Option<String>,
    /// The LoRA adapter that is added to its weights: a repository, or the name of a folder or file.
    pub adapter: Option<String>,
    /// Number format of the computation.
    pub model_dtype: String,
    /// Always an embedding model whose rows are averaged.
    pub model_type: ModelType,
    /// Requests in progress at the same time.
    pub max_concurrent_requests: usize,
    /// Residues of the longest sequence that is taken without `truncate`.
    pub max_input_length: usize,
    /// Tokens of a batch; a longer sequence is a batch by itself.
    pub max_batch_tokens: usize,
    /// Inputs of a request: only the size of its body and the memory for bodies limit them.
    pub max_client_batch_size: usize,
    /// Nothing is cut unless a request asks for it.
    pub auto_truncate: bool,
    /// Version of the program.
    pub version: &'static str,
    /// What an answer can be relied on for.
    pub bits: &'static str,
    /// Width of a row.
    pub dim: usize,
    /// Transformer blocks of the model.
    pub layers: usize,
    /// The layers that requests may ask for.
    pub served_layers: Vec<usize>,
    /// The layer of a request that names none.
    pub default_layer: usize,
    /// What there is besides embeddings: `logits`, `contacts`.
    pub include: Vec<String>,
    /// The tokens that the columns of logits belong to.
    pub letters: Vec<&'static str>,
    /// Residues that `truncate` leaves.
    pub truncated_to: usize,
    /// What happens to long sequences otherwise.
    pub long: String,
    /// What happens to gaps of an alignment.
    pub gaps: String,
    /// What computes.
    pub device: String,
    /// Tokens that may wait.
    pub max_queue_tokens: usize,
    /// Bytes of the body of a request.
    pub max_body_bytes: usize,
    /// Seconds that a request may take.
    pub timeout_seconds: f64,
}

/// The kind of the model, as text-embeddings-inference writes it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelType {
    /// How it pools.
    pub embedding: Pooling,
}

/// How a model pools.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pooling {
    /// Always `mean`.
    pub pooling: &'static str,
}

const BITS: &str = "a sequence has the bits that esm-embed run computes with this model, device and \
                    number format, whatever else the server computes at the same time";

/// The model, the limits, and what holds for every answer.
#[utoipa::path(
    get,
    path = "/info",
    tag = "server",
    responses((status = 200, description = "The answer", body = Info), (status = 503, description = "The model is not loaded yet, or the server is about to end", body = super::error::ErrorBody))
)]
pub async fn info(State(shared): State<Arc<Shared>>) -> Result<Json<Info>, Refusal> {
    let service = shared.service().await?;
    let facts = service.facts();
    let policy = facts.admission.policy;
    let limits = shared.limits;
    Ok(Json(Info {
        model_id: shared.name.clone(),
        model_sha: shared.revision.clone(),
        adapter: shared.adapter.clone(),
        model_dtype: facts.dtype.clone(),
        model_type: ModelType {
            embedding: Pooling { pooling: "mean" },
        },
        max_concurrent_requests: limits.max_requests,
        max_input_length: facts.longest(),
        max_batch_tokens: facts.max_tokens,
        max_client_batch_size: most_inputs(limits.max_body_bytes, shared.bodies.limit()),
        auto_truncate: false,
        version: env!("CARGO_PKG_VERSION"),
        bits: BITS,
        dim: facts.config.dim,
        layers: facts.config.layers,
        served_layers: facts.layers.clone(),
        default_layer: facts.last_layer(),
        include: facts
            .include
            .iter()
            .map(|product| product.file_stem())
            .collect(),
        letters: match facts.include.contains(&Product::Logits) {
            true => facts.config.alphabet.rows().to_vec(),
            false => Vec::new(),
        },
        truncated_to: facts.truncated_to(),
        long: policy.long.to_string(),
        gaps: policy.gaps.to_string(),
        device: facts.device.clone(),
        max_queue_tokens: limits.max_queue_tokens,
        max_body_bytes: limits.max_body_bytes,
        timeout_seconds: limits.timeout.as_secs_f64(),
    }))
}
