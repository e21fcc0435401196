//! The dialect of text-embeddings-inference: `/embed`, `/embed_all` and, in the same form, `/logits`
//! and `/contacts`.

use super::accept::Format;
use super::arrays::Arrays;
use super::inputs::Inputs;
use super::{body, within_deadline};
use crate::product::{Pool, Product};
use crate::server::facts::Truncate;
use crate::server::refusal::{Kind, Refusal};
use crate::server::service::{Answer, Service, Wanted};
use crate::server::shared::Shared;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Which end of a long sequence is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
pub enum Direction {
    /// The first residues are kept.
    #[default]
    #[serde(alias = "right")]
    Right,
    /// The last residues are kept.
    #[serde(alias = "left")]
    Left,
}

/// How residue rows become one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolName {
    /// Mean over the residues.
    #[default]
    Mean,
    /// The row of the `<cls>` token.
    #[serde(alias = "cls")]
    Bos,
    /// Largest value over the residues, feature by feature.
    Max,
}

impl From<PoolName> for Pool {
    fn from(name: PoolName) -> Pool {
        match name {
            PoolName::Mean => Pool::Mean,
            PoolName::Bos => Pool::Bos,
            PoolName::Max => Pool::Max,
        }
    }
}

/// Sequences to embed, and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// One sequence, or a list.
    pub inputs: Inputs,
    /// Embeds the first residues (or the last, see `truncation_direction`) of a sequence that has more
    /// than `truncated_to` of `/info`. Without it, nothing is ever cut.
    pub truncate: Option<bool>,
    /// Which end is cut off.
    pub truncation_direction: Option<Direction>,
    /// Divides each vector by its length. Off by default, so that numbers have the bits of `run`.
    pub normalize: Option<bool>,
    /// Only the width of the model: embeddings of ESM cannot be shortened.
    pub dimensions: Option<usize>,
    /// Refused: ESM models take no prompts.
    pub prompt_name: Option<String>,
    /// Layer of the rows, -1 for the last [default: the highest that is served].
    pub layer: Option<i64>,
    /// How residue rows become one row [default: mean].
    pub pool: Option<PoolName>,
    /// Answers with an object: the arrays, and `notes` on what was done to sequences. Otherwise the
    /// notes are in the header `x-sequence-notes`.
    pub notes: Option<bool>,
}

/// Sequences of which something is computed for each residue or each pair of residues.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResiduesRequest {
    /// One sequence, or a list.
    pub inputs: Inputs,
    /// As in `/embed`.
    pub truncate: Option<bool>,
    /// As in `/embed`.
    pub truncation_direction: Option<Direction>,
    /// Refused: ESM models take no prompts.
    pub prompt_name: Option<String>,
    /// As in `/embed`. Only for residue rows.
    pub layer: Option<i64>,
    /// As in `/embed`.
    pub notes: Option<bool>,
}

/// The side of truncation that a request asks for.
pub fn truncation(truncate: Option<bool>, direction: Option<Direction>) -> Truncate {
    match (truncate.unwrap_or(false), direction.unwrap_or_default()) {
        (false, _) => Truncate::NotAsked,
        (true, Direction::Right) => Truncate::KeepFirst,
        (true, Direction::Left) => Truncate::KeepLast,
    }
}

/// Refuses dimensions that the model does not have.
///
/// # Errors
/// It has others.
pub fn check_dimensions(asked: Option<usize>, service: &Service) -> Result<(), Refusal> {
    let dim = service.facts().config.dim;
    match asked.is_none_or(|asked| asked == dim) {
        true => Ok(()),
        false => Err(Refusal::new(
            Kind::Invalid,
            format!(
                "`dimensions` has to be {dim}, the width of this model: embeddings of ESM cannot be \
                 shortened"
            ),
        )),
    }
}

/// Refuses prompts.
///
/// # Errors
/// There is one.
fn check_prompt(prompt: Option<&String>) -> Result<(), Refusal> {
    match prompt {
        None => Ok(()),
        Some(_) => Err(Refusal::new(
            Kind::Invalid,
            "`prompt_name` cannot be used: ESM models take no prompts",
        )),
    }
}

/// Computes these products of each input.
///
/// # Errors
/// The first input that cannot be embedded, with its place in the request; or there is too much to
/// do.
pub async fn compute(
    service: &Service,
    name: &str,
    inputs: &[String],
    truncate: Truncate,
    products: &Arc<[Product]>,
) -> Result<Vec<Answer>, Refusal> {
    let sequences = inputs.iter().map(String::as_bytes);
    let pending = service.submit(service.admit_all(name, sequences, truncate, products)?)?;
    let mut answers = Vec::with_capacity(pending.len());
    for (i, pending) in pending.into_iter().enumerate() {
        let answer = pending.answer().await;
        answers.push(answer.map_err(|refusal| refusal.of_input(name, i))?);
    }
    Ok(answers)
}

/// One row for each sequence, as `/embed`.
#[utoipa::path(
    post,
    path = "/",
    tag = "embeddings",
    request_body = EmbedRequest,
    responses(
        (status = 200, description = "A vector for each input", content(
            (Vec<Vec<f32>> = "application/json"),
            (String = "application/x-npy"),
            (String = "application/zip")
        )),
        (status = "default", description = "Why the request failed", body = super::error::ErrorBody)
    )
)]
pub async fn root(state: State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    embed(state, request).await
}

/// One row for each sequence.
#[utoipa::path(
    post,
    path = "/embed",
    tag = "embeddings",
    request_body = EmbedRequest,
    responses(
        (status = 200, description = "A vector for each input", content(
            (Vec<Vec<f32>> = "application/json"),
            (String = "application/x-npy"),
            (String = "application/zip")
        )),
        (status = "default", description = "Why the request failed", body = super::error::ErrorBody)
    )
)]
pub async fn embed(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    within_deadline(&shared, request, async |headers: HeaderMap, request| {
        let format = Format::accepted(&headers)?;
        let (asked, _body): (EmbedRequest, _) = body::json(request, &shared).await?;
        let service = shared.service().await?;
        check_prompt(asked.prompt_name.as_ref())?;
        check_dimensions(asked.dimensions, &service)?;
        let permit = shared.enter()?;
        let products = service.products(&Wanted {
            layer: asked.layer,
            pools: vec![asked.pool.unwrap_or_default().into()],
            ..Wanted::default()
        })?;
        let truncate = truncation(asked.truncate, asked.truncation_direction);
        let inputs = asked.inputs.as_slice();
        let answers = compute(&service, "inputs", inputs, truncate, &products).await?;
        let arrays = Arrays {
            normalize: asked.normalize.unwrap_or(false),
            is_list: asked.inputs.is_list(),
            key: asked.notes.unwrap_or(false).then_some("embeddings"),
            ..Arrays::new(answers, of(&products), service.facts())
        };
        arrays.send(format, permit)
    })
    .await
}

/// The only product of a list.
fn of(products: &[Product]) -> Product {
    products.first().copied().unwrap_or(Product::Logits)
}

/// One row for each residue.
#[utoipa::path(
    post,
    path = "/embed_all",
    tag = "embeddings",
    request_body = ResiduesRequest,
    responses(
        (status = 200, description = "A matrix of [residues, width] for each input, without `<cls>` and `<eos>`", content(
            (Vec<Vec<Vec<f32>>> = "application/json"),
            (String = "application/x-npy"),
            (String = "application/zip")
        )),
        (status = "default", description = "Why the request failed", body = super::error::ErrorBody)
    )
)]
pub async fn embed_all(state: State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let wanted = Wanted {
        residues: true,
        ..Wanted::default()
    };
    of_residues(state, request, "embeddings", wanted).await
}

/// For each residue, one number for each token of the alphabet.
#[utoipa::path(
    post,
    path = "/logits",
    tag = "embeddings",
    request_body = ResiduesRequest,
    responses(
        (status = 200, description = "A matrix of [residues, tokens] for each input; /info lists the tokens", content(
            (Vec<Vec<Vec<f32>>> = "application/json"),
            (String = "application/x-npy"),
            (String = "application/zip")
        )),
        (status = "default", description = "Why the request failed", body = super::error::ErrorBody)
    )
)]
pub async fn logits(state: State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let wanted = Wanted {
        logits: true,
        ..Wanted::default()
    };
    of_residues(state, request, "logits", wanted).await
}

/// For each pair of residues, the probability of a contact.
#[utoipa::path(
    post,
    path = "/contacts",
    tag = "embeddings",
    request_body = ResiduesRequest,
    responses(
        (status = 200, description = "A matrix of [residues, residues] for each input", content(
            (Vec<Vec<Vec<f32>>> = "application/json"),
            (String = "application/x-npy"),
            (String = "application/zip")
        )),
        (status = "default", description = "Why the request failed", body = super::error::ErrorBody)
    )
)]
pub async fn contacts(state: State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let wanted = Wanted {
        contacts: true,
        ..Wanted::default()
    };
    of_residues(state, request, "contacts", wanted).await
}

async fn of_residues(
    State(shared): State<Arc<Shared>>,
    request: Request<Body>,
    key: &'static str,
    wanted: Wanted,
) -> Response<Body> {
    within_deadline(&shared, request, async |headers: HeaderMap, request| {
        let format = Format::accepted(&headers)?;
        let (asked, _body): (ResiduesRequest, _) = body::json(request, &shared).await?;
        let service = shared.service().await?;
        check_prompt(asked.prompt_name.as_ref())?;
        if asked.layer.is_some() && !wanted.residues {
            let text = format!("`layer` cannot be used for {key}, which do not belong to a layer");
            return Err(Refusal::new(Kind::Invalid, text));
        }
        let permit = shared.enter()?;
        let products = service.products(&Wanted {
            layer: asked.layer,
            ..wanted
        })?;
        let truncate = truncation(asked.truncate, asked.truncation_direction);
        let inputs = asked.inputs.as_slice();
        let answers = compute(&service, "inputs", inputs, truncate, &products).await?;
        let arrays = Arrays {
            is_list: asked.inputs.is_list(),
            key: asked.notes.unwrap_or(false).then_some(key),
            ..Arrays::new(answers, of(&products), service.facts())
        };
        arrays.send(format, permit)
    })
    .await
}
