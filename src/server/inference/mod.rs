//! Inference as version 2 of KServe's protocol describes it, without its forms on the wire: over gRPC
//! in [`grpc`](super::grpc), over HTTP in [`http`](super::http).
//!
//! The input of every model is `sequences`, BYTES of shape \[N\] or \[N, 1\]. The models are those of
//! BioNeMo under Triton, and the served model under its own name:
//!
//! | model | outputs |
//! |---|---|
//! | `embeddings` | `embeddings`, FP32 \[N, D\]: the mean over the residues |
//! | `hiddens` | `hiddens`, FP32 \[N, T, D\], padded with zeros to the longest sequence, and `mask`, BOOL \[N, T\] |
//! | the served model | all three |
//!
//! T counts residues: there are no rows for `<cls>` and `<eos>`.

mod input;
mod model;
mod tensor;

pub use input::{DATATYPE, INPUT, check_input, check_number, elements};
pub use model::{Model, PLATFORM, VERSION};
pub use tensor::{Output, Tensor};

use super::byte_budget::Taken;
use super::facts::Truncate;
use super::refusal::Refusal;
use super::service::{Answer, Service, Wanted};
use crate::product::Pool;
use prost::bytes::Bytes;
use tensor::Batch;

/// What a request asks for.
pub struct Asked {
    /// The sequences.
    pub sequences: Vec<Bytes>,
    /// The outputs, in their order.
    pub outputs: Vec<Output>,
}

/// Computes outputs for sequences, and returns them with the memory that they take.
///
/// # Errors
/// A sequence that cannot be embedded, by its place in the input; an answer that is too large; a
/// server that is too busy.
pub async fn infer(
    service: &Service,
    Asked { sequences, outputs }: &Asked,
) -> Result<(Vec<Tensor>, Taken), Refusal> {
    let pooled = outputs.contains(&Output::Embeddings);
    let wanted = Wanted {
        pools: pooled.then_some(Pool::Mean).into_iter().collect(),
        residues: outputs.contains(&Output::Hiddens),
        ..Wanted::default()
    };
    let products = service.products(&wanted)?;
    let texts = sequences.iter().map(|sequence| &**sequence);
    let admitted = service.admit_all(INPUT, texts, Truncate::NotOffered, &products)?;
    let batch = Batch {
        lengths: admitted.iter().map(|one| one.residues()).collect(),
        dim: service.facts().config.dim,
        layer: service.facts().last_layer(),
    };
    let taken = service.reserve(batch.bytes(outputs))?;
    let mut answers: Vec<Answer> = Vec::with_capacity(admitted.len());
    // The mask by itself needs no pass.
    if !products.is_empty() {
        for (i, pending) in service.submit(admitted)?.into_iter().enumerate() {
            let answer = pending.answer().await;
            answers.push(answer.map_err(|refusal| refusal.of_input(INPUT, i))?);
        }
    }
    let tensors = outputs.iter().map(|&output| batch.tensor(output, &answers));
    Ok((tensors.collect(), taken))
}
