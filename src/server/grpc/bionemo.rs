//! NVIDIA BioNeMo's `bionemo.model.protein.esm1nv.grpc.GenerativeSampler/SeqToEmbedding`: the residue
//! rows of all sequences, padded with zeros, in one message.

use super::deadline::Deadline;
use super::held::holding;
use super::proto::bionemo::generative_sampler_server::GenerativeSampler;
use super::proto::bionemo::{InputSpec, OutputSpec};
use crate::numerals::{count, grouped};
use crate::product::{Pool, Product};
use crate::server::byte_budget::Taken;
use crate::server::facts::Truncate;
use crate::server::refusal::{Kind, Refusal};
use crate::server::service::{Service, Wanted};
use crate::server::shared::Shared;
use crate::server::wire::F32;
use prost::Message;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// How the call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BionemoOptions {
    /// Whether with the means, \[N, D\], as in an early version of that service.
    pub pooled: bool,
    /// Bytes of an answer that its clients take; None for any number. gRPC does not tell a server.
    pub max_answer_bytes: Option<u64>,
}

impl BionemoOptions {
    /// What gRPC libraries accept unless configured otherwise: 4 MiB.
    pub const DEFAULT: BionemoOptions = BionemoOptions {
        pooled: false,
        max_answer_bytes: Some(4 << 20),
    };
}

/// The service.
pub struct Sampler {
    /// What all requests share.
    pub shared: Arc<Shared>,
    /// How the call is answered.
    pub options: BionemoOptions,
}

#[tonic::async_trait]
impl GenerativeSampler for Sampler {
    async fn seq_to_embedding(
        &self,
        request: Request<InputSpec>,
    ) -> Result<Response<OutputSpec>, Status> {
        let timeout = self.shared.limits.timeout;
        let deadline = Deadline::of(request.metadata(), Some(timeout))?;
        let answer = async {
            let _permit = self.shared.enter()?;
            let service = self.shared.service().await?;
            let seqs = request.into_inner().seqs;
            let (output, taken) = embed(&service, seqs, self.options).await?;
            Ok(holding(output, taken))
        };
        deadline.limit(answer).await
    }
}

async fn embed(
    service: &Service,
    seqs: Vec<String>,
    options: BionemoOptions,
) -> Result<(OutputSpec, Taken), Refusal> {
    let of_seq = |i| move |refusal: Refusal| refusal.of_input("seqs", i);
    let products = service.products(&Wanted {
        pools: options.pooled.then_some(Pool::Mean).into_iter().collect(),
        residues: !options.pooled,
        ..Wanted::default()
    })?;
    let texts = seqs.iter().map(String::as_bytes);
    let admitted = service.admit_all("seqs", texts, Truncate::NotOffered, &products)?;
    if !options.pooled {
        for (i, (seq, one)) in seqs.iter().zip(&admitted).enumerate() {
            check_rows(seq, one.residues()).map_err(of_seq(i))?;
        }
    }
    let longest = admitted.iter().map(|one| one.residues()).max();
    let longest = longest.unwrap_or(0);
    let rows = match options.pooled {
        true => 1,
        false => longest,
    };
    let dim = service.facts().config.dim;
    let of_each = rows.saturating_mul(dim);
    let numbers = seqs.len().saturating_mul(of_each);
    let shape = match options.pooled {
        true => vec![seqs.len(), dim],
        false => vec![seqs.len(), longest, dim],
    };
    let mut output = OutputSpec {
        dim: shape
            .into_iter()
            .map(|size| i32::try_from(size).unwrap_or(i32::MAX))
            .collect(),
        seqs,
        embeddings: Vec::new(),
    };
    let bytes = size(&output, numbers);
    check_size(bytes, options)?;
    let taken = service.reserve(bytes)?;
    output.embeddings.reserve_exact(numbers);
    for (i, pending) in service.submit(admitted)?.into_iter().enumerate() {
        let answer = pending.answer().await.map_err(of_seq(i))?;
        let values = products
            .first()
            .map_or(&[][..], |product: &Product| answer.values(*product));
        output.embeddings.extend_from_slice(values);
        output.embeddings.resize((i + 1) * of_each, 0.0);
    }
    Ok((output, taken))
}

/// Refuses a sequence with another number of rows than characters: clients of this call make the mask
/// of a sequence from its characters, and would average wrong rows.
fn check_rows(seq: &str, rows: usize) -> Result<(), Refusal> {
    let characters = seq.chars().count();
    match characters == rows {
        true => Ok(()),
        false => Err(Refusal::new(
            Kind::Character,
            format!(
                "{} have {}, and clients of this call expect one for each character: use the stream \
                 esm_embed.v1.Embedder/Embed",
                count(characters as u64, "character"),
                count(rows as u64, "row")
            ),
        )),
    }
}

/// Bytes of an answer of this many numbers.
fn size(output: &OutputSpec, numbers: usize) -> u64 {
    // Before the numbers: a tag and their length in bytes.
    let before = 1 + prost::length_delimiter_len(numbers.saturating_mul(F32));
    let numbers = (numbers as u64).saturating_mul(F32 as u64);
    numbers.saturating_add((output.encoded_len() + before) as u64)
}

fn check_size(bytes: u64, options: BionemoOptions) -> Result<(), Refusal> {
    // Beyond it, protobuf has no messages.
    let limit = options
        .max_answer_bytes
        .unwrap_or(i32::MAX as u64)
        .min(i32::MAX as u64);
    match bytes > limit {
        true => Err(Refusal::new(
            Kind::TooLarge,
            format!(
                "the answer would have {} bytes, more than the {} that clients of this call accept: send \
                 fewer or shorter sequences, or use the stream esm_embed.v1.Embedder/Embed",
                grouped(bytes),
                grouped(limit)
            ),
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_known_before_the_numbers() {
        for numbers in [1, 31, 32, 4096, 600_000] {
            let mut output = OutputSpec {
                seqs: vec!["MKT".to_owned(), String::new()],
                embeddings: Vec::new(),
                dim: vec![2, 3, 1280],
            };
            let size = size(&output, numbers);
            output.embeddings = vec![1.5; numbers];
            assert_eq!(size, output.encoded_len() as u64);
        }
    }

    #[test]
    fn an_answer_beyond_the_limit_names_the_stream() {
        let default = BionemoOptions::DEFAULT;
        assert_eq!(check_size(4 << 20, default), Ok(()));
        assert_eq!(
            check_size((4 << 20) + 1, default).unwrap_err().message,
            "the answer would have 4,194,305 bytes, more than the 4,194,304 that clients of this call \
             accept: send fewer or shorter sequences, or use the stream esm_embed.v1.Embedder/Embed"
        );
        let unlimited = BionemoOptions {
            max_answer_bytes: None,
            ..default
        };
        assert_eq!(check_size(i32::MAX as u64, unlimited), Ok(()));
        assert!(check_size(1 << 31, unlimited).is_err());
    }

    #[test]
    fn a_row_for_each_character() {
        assert_eq!(check_rows("MKT", 3), Ok(()));
        assert_eq!(
            check_rows("MKT*", 3).unwrap_err().message,
            "4 characters have 3 rows, and clients of this call expect one for each character: use the \
             stream esm_embed.v1.Embedder/Embed"
        );
    }
}
