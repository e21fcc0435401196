//! KServe v2 over HTTP, with tensors as JSON or as binary data behind the JSON.

use super::arrays::write_row;
use super::send::{Encode, send};
use super::{body, within_deadline};
use crate::server::body_memory::take_for_elements;
use crate::server::byte_budget::Taken;
use crate::server::inference::{
    Asked, DATATYPE, INPUT, Model, Output, PLATFORM, Tensor, VERSION, check_input, check_number,
    elements, infer as compute,
};
use crate::server::refusal::{Kind, Refusal};
use crate::server::shared::{Phase, Shared, ending};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use axum::response::IntoResponse;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use utoipa::ToSchema;

/// Bytes of the JSON before binary data, in requests and answers.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The name of a model in a path.
type Name = Result<Path<String>, PathRejection>;

/// The model of a path.
fn named(name: Name, served: &str) -> Result<(String, Model), Refusal> {
    let Ok(Path(name)) = name else {
        return Err(Refusal::new(Kind::Malformed, "the path is not UTF-8"));
    };
    let model = Model::named(&name, "", served)?;
    Ok((name, model))
}

/// A request to infer.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InferRequest {
    /// Comes back in the answer.
    pub id: Option<String>,
    /// Only `binary_data_output` is read.
    #[serde(default)]
    pub parameters: Parameters,
    /// `sequences`.
    pub inputs: Vec<InferInput>,
    /// The outputs to return [default: those of the model].
    #[serde(default)]
    pub outputs: Vec<InferOutput>,
}

/// Parameters of a request, an input or an output.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct Parameters {
    /// Bytes of an input behind the JSON.
    pub binary_data_size: Option<usize>,
    /// Whether an output is returned behind the JSON.
    pub binary_data: Option<bool>,
    /// Whether all outputs are.
    pub binary_data_output: Option<bool>,
}

/// An input.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InferInput {
    /// `sequences`.
    pub name: String,
    /// `[N, 1]` or `[N]`.
    pub shape: Vec<i64>,
    /// `BYTES`.
    pub datatype: String,
    /// Where the data is.
    #[serde(default)]
    pub parameters: Parameters,
    /// The sequences, if they are not behind the JSON: text in lists of any depth.
    #[schema(value_type = Option<Value>)]
    pub data: Option<Texts>,
}

/// An output.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InferOutput {
    /// `embeddings`, `hiddens` or `mask`.
    pub name: String,
    /// How it is returned.
    #[serde(default)]
    pub parameters: Parameters,
}

/// The server.
#[utoipa::path(
    get,
    path = "/v2",
    tag = "KServe v2",
    responses((status = 200, description = "The answer", body = Value), (status = "default", description = "Why the request failed", body = super::error::ErrorBody))
)]
pub async fn server() -> impl IntoResponse {
    Json(json!({
        "name": PLATFORM,
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data"],
    }))
}

/// Whether the process runs.
#[utoipa::path(
    get,
    path = "/v2/health/live",
    tag = "KServe v2",
    responses((status = 200, description = "Yes"), (status = "default", description = "Why the request failed", body = super::error::ErrorBody))
)]
pub async fn live() {}

/// Whether the model is loaded.
#[utoipa::path(
    get,
    path = "/v2/health/ready",
    tag = "KServe v2",
    responses((status = 200, description = "Yes"), (status = "default", description = "Why the request failed", body = super::error::ErrorBody))
)]
pub async fn ready(shared: State<Arc<Shared>>) -> Result<(), Refusal> {
    super::health::health(shared).await
}

/// A model.
#[utoipa::path(
    get,
    path = "/v2/models/{model}",
    tag = "KServe v2",
    params(("model" = String, Path, description = "`embeddings`, `hiddens` or the name of the model")),
    responses((status = 200, description = "The answer", body = Value), (status = "default", description = "Why the request failed", body = super::error::ErrorBody))
)]
pub async fn model(
    State(shared): State<Arc<Shared>>,
    name: Name,
) -> Result<impl IntoResponse, Refusal> {
    let (name, model) = named(name, &shared.name)?;
    let service = shared.service().await?;
    let dim = service.facts().config.dim;
    let outputs = model.outputs().iter().map(|output| {
        json!({
            "name": output.name(),
            "datatype": output.datatype(),
            "shape": output.sizes(dim),
        })
    });
    Ok(Json(json!({
        "name": name,
        "versions": [VERSION],
        "platform": PLATFORM,
        "inputs": [{"name": INPUT, "datatype": DATATYPE, "shape": [-1, 1]}],
        "outputs": outputs.collect::<Vec<_>>(),
    })))
}

/// Whether a model answers.
#[utoipa::path(
    get,
    path = "/v2/models/{model}/ready",
    tag = "KServe v2",
    params(("model" = String, Path, description = "`embeddings`, `hiddens` or the name of the model")),
    responses((status = 200, description = "Yes"), (status = "default", description = "Why the request failed", body = super::error::ErrorBody))
)]
pub async fn model_ready(State(shared): State<Arc<Shared>>, name: Name) -> Result<(), Refusal> {
    named(name, &shared.name)?;
    match shared.phase() {
        Phase::Ready(_) => Ok(()),
        Phase::Loading => Err(Refusal::new(
            Kind::Unavailable,
            "the model is not loaded yet",
        )),
        Phase::Ending => Err(ending()),
    }
}

/// Infers.
#[utoipa::path(
    post,
    path = "/v2/models/{model}/infer",
    tag = "KServe v2",
    params(("model" = String, Path, description = "`embeddings`, `hiddens` or the name of the model")),
    request_body = InferRequest,
    responses(
        (status = 200, description = "`model_name`, `model_version`, `id` and `outputs`; binary data \
            behind the JSON if it was asked for", body = Value),
        (status = "default", description = "Why the request failed", body = super::error::ErrorBody)
    )
)]
pub async fn infer(
    State(shared): State<Arc<Shared>>,
    name: Name,
    request: Request<Body>,
) -> Response<Body> {
    within_deadline(&shared, request, async |headers: HeaderMap, request| {
        let (model_name, model) = named(name, &shared.name)?;
        let (body, taken) = body::read(request, &shared).await?;
        let (asked, sequences) = parse(&headers, body, &taken)?;
        let service = shared.service().await?;
        let outputs = model.requested(asked.outputs.iter().map(|one| one.name.as_str()))?;
        let permit = shared.enter()?;
        let all = asked.parameters.binary_data_output.unwrap_or(false);
        let is_binary = |i: usize| {
            let output = asked.outputs.get(i);
            output.map_or(all, |one| one.parameters.binary_data.unwrap_or(all))
        };
        let is_binary = (0..outputs.len()).map(is_binary).collect();
        let (tensors, held) = compute(&service, &Asked { sequences, outputs }).await?;
        let answer = Inferred {
            tensors,
            is_binary,
            head: Head {
                model_name,
                model_version: VERSION,
                id: asked.id,
            },
        };
        let json_length = answer.json_length();
        let content_type = match json_length {
            Some(_) => "application/octet-stream",
            None => "application/json",
        };
        let mut response = send(content_type, answer, (permit, held));
        if let Some(length) = json_length {
            response
                .headers_mut()
                .insert(JSON_LENGTH, HeaderValue::from(length));
        }
        Ok(response)
    })
    .await
}

/// The request, and its sequences.
///
/// # Errors
/// It cannot be read, or asks for what there is not.
pub fn parse(
    headers: &HeaderMap,
    body: Vec<u8>,
    taken: &Taken,
) -> Result<(InferRequest, Vec<Bytes>), Refusal> {
    let mut text = Bytes::from(body);
    let malformed = |text: String| Refusal::new(Kind::Malformed, text);
    let binary = match headers.get(JSON_LENGTH) {
        None => Bytes::new(),
        Some(value) => {
            let length = value.to_str().ok().and_then(|text| text.parse().ok());
            let length: usize = length
                .ok_or_else(|| malformed(format!("the header {JSON_LENGTH} has to be a number")))?;
            if length > text.len() {
                return Err(malformed(format!(
                    "the header {JSON_LENGTH} is larger than the body"
                )));
            }
            text.split_off(length)
        }
    };
    let mut asked: InferRequest = body::parse(&text)?;
    let inputs = asked.inputs.iter();
    let inputs = inputs.map(|one| {
        (
            one.name.as_str(),
            one.datatype.as_str(),
            one.shape.as_slice(),
        )
    });
    let expected = check_input(inputs)?;
    let invalid = |text: &str| Err(Refusal::new(Kind::Invalid, text));
    let input = asked.inputs.first_mut();
    let (size, data) = input.map_or((None, None), |input| {
        (input.parameters.binary_data_size, input.data.take())
    });
    let sequences = match (size, data) {
        (Some(size), None) if size == binary.len() => elements(binary, expected, |elements| {
            take_for_elements(taken, elements)
        })?,
        (Some(_), None) => {
            return invalid("`binary_data_size` is not the number of bytes behind the JSON");
        }
        (None, Some(Texts(all))) => {
            check_number(all.len(), expected)?;
            all
        }
        _ => return invalid("the input needs either `data` or `binary_data_size`"),
    };
    Ok((asked, sequences))
}

/// Text in lists of any depth, one after the other.
#[derive(Debug, Default)]
pub struct Texts(Vec<Bytes>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
        let mut all = Texts::default();
        deserializer.deserialize_any(Append(&mut all.0))?;
        Ok(all)
    }
}

/// Appends text, or what is in a list.
struct Append<'a>(&'a mut Vec<Bytes>);

impl<'de> Visitor<'de> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a list of text")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push(Bytes::copy_from_slice(text.as_bytes()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Append(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[derive(Serialize)]
struct Head {
    model_name: String,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

struct Inferred {
    tensors: Vec<Tensor>,
    /// Whether each comes behind the JSON.
    is_binary: Vec<bool>,
    head: Head,
}

impl Inferred {
    fn each(&self) -> impl Iterator<Item = (&Tensor, bool)> {
        self.tensors.iter().zip(self.is_binary.iter().copied())
    }

    /// Bytes of the JSON if binary data follows it.
    fn json_length(&self) -> Option<usize> {
        if !self.is_binary.contains(&true) {
            return None;
        }
        let mut counted = Counted(0);
        // Counting does not fail.
        let _ = self.write_json(&mut counted);
        Some(counted.0)
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = serde_json::to_string(&self.head)?;
        let head = head.strip_suffix('}').unwrap_or(&head);
        write!(out, "{head},\"outputs\":[")?;
        for (i, (tensor, is_binary)) in self.each().enumerate() {
            if i > 0 {
                out.write_all(b",")?;
            }
            let (name, datatype) = (tensor.output.name(), tensor.output.datatype());
            let shape = serde_json::to_string(&tensor.shape)?;
            write!(
                out,
                r#"{{"name":"{name}","datatype":"{datatype}","shape":{shape},"#
            )?;
            match is_binary {
                true => {
                    let size = tensor.data.len();
                    write!(out, r#""parameters":{{"binary_data_size":{size}}}}}"#)?;
                }
                false => {
                    out.write_all(b"\"data\":")?;
                    write_elements(out, tensor)?;
                    out.write_all(b"}")?;
                }
            }
        }
        out.write_all(b"]}")
    }
}

fn write_elements(out: &mut dyn Write, tensor: &Tensor) -> io::Result<()> {
    if tensor.output == Output::Mask {
        let flags: Vec<bool> = tensor.data.iter().map(|byte| *byte != 0).collect();
        return Ok(serde_json::to_writer(out, &flags)?);
    }
    let (numbers, _) = tensor.data.as_chunks::<4>();
    let numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
    write_row(out, numbers)
}

impl Encode for Inferred {
    fn size(&self) -> u64 {
        let bytes = self.tensors.iter().map(|tensor| tensor.data.len() as u64);
        3 * bytes.sum::<u64>()
    }

    fn encode(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_json(out)?;
        for (tensor, is_binary) in self.each() {
            if is_binary {
                out.write_all(&tensor.data)?;
            }
        }
        Ok(())
    }
}

/// Counts what is written.
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
