//! The dialect of OpenAI: `/v1/embeddings`.

use super::arrays::{NOTES, TOKENS, normalized, notes_header, write_array};
use super::inputs::Inputs;
use super::send::{Encode, send};
use super::tei::{Direction, PoolName, check_dimensions, compute, truncation};
use super::{body, within_deadline};
use crate::product::Product;
use crate::server::notes::Notes;
use crate::server::service::{Answer, Wanted};
use crate::server::shared::Shared;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use utoipa::ToSchema;

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Lists of numbers.
    #[default]
    Float,
    /// 32-bit floats, little-endian, in base64.
    Base64,
}

/// Sequences to embed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingsRequest {
    /// One sequence, or a list.
    pub input: Inputs,
    /// Any name: the answer says which model there is.
    #[serde(rename = "model")]
    pub _model: Option<String>,
    /// How vectors are written.
    pub encoding_format: Option<Encoding>,
    /// Only the width of the model: embeddings of ESM cannot be shortened.
    pub dimensions: Option<usize>,
    /// Not used.
    #[serde(rename = "user")]
    pub _user: Option<String>,
    /// As in `/embed`.
    pub truncate: Option<bool>,
    /// As in `/embed`.
    pub truncation_direction: Option<Direction>,
    /// As in `/embed`.
    pub normalize: Option<bool>,
    /// As in `/embed`.
    pub layer: Option<i64>,
    /// As in `/embed`.
    pub pool: Option<PoolName>,
}

/// Vectors in the order of the inputs.
#[derive(Debug, Serialize, ToSchema)]
pub struct EmbeddingsResponse {
    /// Always `list`.
    pub object: &'static str,
    /// One for each input.
    pub data: Vec<Embedding>,
    /// The model that answers.
    pub model: String,
    /// What it cost.
    pub usage: Usage,
}

/// One vector.
#[derive(Debug, Serialize, ToSchema)]
pub struct Embedding {
    /// Always `embedding`.
    pub object: &'static str,
    /// The place of its input.
    pub index: usize,
    /// Numbers, or base64.
    pub embedding: Vector,
    /// What was done to the sequence, if anything was.
    pub notes: Option<Notes>,
}

/// Numbers, or base64.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    /// Numbers.
    Float(Vec<f32>),
    /// 32-bit floats, little-endian, in base64.
    Base64(String),
}

/// What a request cost.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Usage {
    /// Tokens of all passes, `<cls>` and `<eos>` included.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

/// One vector for each sequence, as OpenAI's API writes them.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "OpenAI",
    request_body = EmbeddingsRequest,
    responses(
        (status = 200, description = "The answer", body = EmbeddingsResponse),
        (status = "default", description = "Why the request failed", body = super::error::OpenAiErrorBody)
    )
)]
pub async fn embeddings(
    State(shared): State<Arc<Shared>>,
    request: Request<Body>,
) -> Response<Body> {
    within_deadline(&shared, request, async |_: HeaderMap, request| {
        let (asked, _body): (EmbeddingsRequest, _) = body::json(request, &shared).await?;
        let service = shared.service().await?;
        check_dimensions(asked.dimensions, &service)?;
        let permit = shared.enter()?;
        let products = service.products(&Wanted {
            layer: asked.layer,
            pools: vec![asked.pool.unwrap_or_default().into()],
            ..Wanted::default()
        })?;
        let truncate = truncation(asked.truncate, asked.truncation_direction);
        let inputs = asked.input.as_slice();
        let answers = compute(&service, "input", inputs, truncate, &products).await?;
        let tokens = answers.iter().map(Answer::tokens).sum();
        let (notes, _) = notes_header(&answers);
        let answer = Vectors {
            answers,
            product: products.first().copied().unwrap_or(Product::Logits),
            encoding: asked.encoding_format.unwrap_or_default(),
            normalize: asked.normalize.unwrap_or(false),
            model: shared.name.clone(),
            usage: Usage {
                prompt_tokens: tokens,
                total_tokens: tokens,
            },
        };
        let mut response = send("application/json", answer, permit);
        let headers = response.headers_mut();
        headers.insert(TOKENS, HeaderValue::from(tokens));
        if let Some(notes) = notes {
            headers.insert(NOTES, notes);
        }
        Ok(response)
    })
    .await
}

/// The same at another path.
#[utoipa::path(
    post,
    path = "/embeddings",
    tag = "OpenAI",
    request_body = EmbeddingsRequest,
    responses(
        (status = 200, description = "The answer", body = EmbeddingsResponse),
        (status = "default", description = "Why the request failed", body = super::error::OpenAiErrorBody)
    )
)]
pub async fn embeddings_short(state: State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    embeddings(state, request).await
}

/// An [`EmbeddingsResponse`] that is written without a copy of its vectors.
struct Vectors {
    answers: Vec<Answer>,
    product: Product,
    encoding: Encoding,
    normalize: bool,
    model: String,
    usage: Usage,
}

impl Encode for Vectors {
    fn size(&self) -> u64 {
        let answers = self.answers.iter();
        12 * answers
            .map(|answer| answer.values(self.product).len() as u64)
            .sum::<u64>()
    }

    fn encode(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(br#"{"object":"list","data":["#)?;
        for (index, answer) in self.answers.iter().enumerate() {
            if index > 0 {
                out.write_all(b",")?;
            }
            write!(
                out,
                r#"{{"object":"embedding","index":{index},"embedding":"#
            )?;
            let values = answer.values(self.product);
            let values = match self.normalize {
                true => Cow::Owned(normalized(values)),
                false => Cow::Borrowed(values),
            };
            match self.encoding {
                Encoding::Float => write_array(out, &values, &[values.len() as u64])?,
                Encoding::Base64 => {
                    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                    write!(out, "\"{}\"", BASE64_STANDARD.encode(bytes))?;
                }
            }
            if !answer.notes.is_empty() {
                out.write_all(br#","notes":"#)?;
                serde_json::to_writer(&mut *out, &answer.notes)?;
            }
            out.write_all(b"}")?;
        }
        out.write_all(br#"],"model":"#)?;
        serde_json::to_writer(&mut *out, &self.model)?;
        out.write_all(br#","usage":"#)?;
        serde_json::to_writer(&mut *out, &self.usage)?;
        out.write_all(b"}")
    }
}
