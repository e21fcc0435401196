//! Messages as the services read them, without a service.

use super::kserve::sequences;
use super::proto::bionemo::InputSpec;
use super::proto::esm_embed::Sequence;
use super::proto::kserve::ModelInferRequest;
use super::request_memory::take_for_message;
use crate::printable;
use crate::server::refusal::{Kind, Refusal};
use prost::Message;
use prost::bytes::Bytes;

/// The sequence of a message of `esm_embed.v1.Embedder/Embed`.
///
/// # Errors
/// The bytes are not such a message.
pub fn read_stream(message: &[u8]) -> Result<String, Refusal> {
    Ok(read::<Sequence>(message)?.sequence)
}

/// The sequences of a message of BioNeMo.
///
/// # Errors
/// The bytes are not such a message.
pub fn read_bionemo(message: &[u8]) -> Result<Vec<String>, Refusal> {
    Ok(read::<InputSpec>(message)?.seqs)
}

/// The sequences of a message of KServe.
///
/// # Errors
/// The bytes are not such a message, or it has other inputs.
pub fn read_kserve(message: &[u8]) -> Result<Vec<Bytes>, Refusal> {
    let request: ModelInferRequest = read(message)?;
    sequences(request.inputs, request.raw_input_contents)
}

fn read<T: Message + Default>(message: &[u8]) -> Result<T, Refusal> {
    let malformed = |text: &str| Refusal::new(Kind::Malformed, printable::start(text, 400));
    take_for_message(message).map_err(|status| malformed(status.message()))?;
    T::decode(message).map_err(|error| malformed(&error.to_string()))
}
