//! As NVIDIA's NIM for ESM-2: `/v1/biology/meta/esm2-650m`.

use super::arrays::{NOTES, TOKENS, notes_header, write_bytes, write_header};
use super::send::{Encode, send};
use super::tei::compute;
use super::{body, within_deadline};
use crate::product::{Pool, Product};
use crate::server::facts::Truncate;
use crate::server::refusal::{Kind, Refusal};
use crate::server::service::{Answer, Service, Wanted};
use crate::server::shared::Shared;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use serde::Deserialize;
use std::io::{self, Write};
use std::sync::Arc;
use utoipa::ToSchema;
use zip::write::{SimpleFileOptions, ZipWriter};

/// What arrays are sent as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArrayFormat {
    /// A zip archive of NumPy arrays.
    #[default]
    Npz,
    /// Refused: HDF5 is not written.
    H5,
}

/// Sequences to embed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NimRequest {
    /// The sequences.
    pub sequences: Vec<String>,
    /// What arrays are sent as.
    #[serde(default)]
    pub format: ArrayFormat,
}

/// An npz with `embeddings` [N, D], the means, and `representations` [N, T, D], the residue rows with
/// zeros beyond the end of a sequence. T counts residues.
#[utoipa::path(
    post,
    path = "/v1/biology/meta/{model}",
    operation_id = "embed_nim",
    tag = "NIM",
    params(("model" = String, Path, description = "`esm2-650m`, for example: any name")),
    request_body = NimRequest,
    responses(
        (status = 200, description = "An npz", content_type = "application/octet-stream", body = String),
        (status = "default", description = "Why the request failed", body = super::error::ErrorBody)
    )
)]
pub async fn embed(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    within_deadline(&shared, request, async |_: HeaderMap, request| {
        let (asked, _body): (NimRequest, _) = body::json(request, &shared).await?;
        if asked.format == ArrayFormat::H5 {
            let text = "HDF5 is not written: leave `format` out, or use npz";
            return Err(Refusal::new(Kind::Invalid, text));
        }
        let service = shared.service().await?;
        let permit = shared.enter()?;
        let products = service.products(&Wanted {
            pools: vec![Pool::Mean],
            residues: true,
            ..Wanted::default()
        })?;
        let truncate = Truncate::NotOffered;
        let answers = compute(&service, "sequences", &asked.sequences, truncate, &products).await?;
        let tokens: usize = answers.iter().map(Answer::tokens).sum();
        let (notes, _) = notes_header(&answers);
        let answer = Npz::new(&service, answers)?;
        let mut response = send("application/octet-stream", answer, permit);
        let headers = response.headers_mut();
        headers.insert(TOKENS, HeaderValue::from(tokens));
        if let Some(notes) = notes {
            headers.insert(NOTES, notes);
        }
        Ok(response)
    })
    .await
}

struct Npz {
    answers: Vec<Answer>,
    layer: usize,
    dim: usize,
    longest: usize,
}

impl Npz {
    fn new(service: &Service, answers: Vec<Answer>) -> Result<Npz, Refusal> {
        let longest = answers.iter().map(Answer::residues).max().unwrap_or(0);
        let npz = Npz {
            layer: service.facts().last_layer(),
            dim: service.facts().config.dim,
            longest,
            answers,
        };
        // Padding is not in memory, but a client would have to hold it.
        match npz.size() >= u64::from(u32::MAX) {
            true => Err(Refusal::new(
                Kind::TooLarge,
                "the padded representations would take more than 4 GB: send fewer sequences, or \
                 sequences of similar length",
            )),
            false => Ok(npz),
        }
    }
}

impl Encode for Npz {
    fn size(&self) -> u64 {
        let rows = (self.answers.len() as u64).saturating_mul(self.longest as u64 + 1);
        rows.saturating_mul(4 * self.dim as u64)
    }

    fn encode(&self, out: &mut dyn Write) -> io::Result<()> {
        let (count, dim) = (self.answers.len() as u64, self.dim as u64);
        let layer = self.layer;
        let mut zip = ZipWriter::new_stream(out);
        zip.start_file("embeddings.npy", SimpleFileOptions::default())?;
        write_header(&mut zip, &[count, dim])?;
        for answer in &self.answers {
            let pool = Pool::Mean;
            write_bytes(&mut zip, answer.values(Product::Pooled { layer, pool }))?;
        }
        zip.start_file("representations.npy", SimpleFileOptions::default())?;
        write_header(&mut zip, &[count, self.longest as u64, dim])?;
        let zeros = vec![0; 4 * self.dim];
        for answer in &self.answers {
            write_bytes(&mut zip, answer.values(Product::Residues { layer }))?;
            for _ in answer.residues()..self.longest {
                zip.write_all(&zeros)?;
            }
        }
        zip.finish()?;
        Ok(())
    }
}
