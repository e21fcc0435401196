//! KServe's `inference.GRPCInferenceService`, for `tritonclient` and others.

use super::deadline::Deadline;
use super::held::holding;
use super::proto::kserve::grpc_inference_service_server::GrpcInferenceService;
use super::proto::kserve::model_infer_request::InferInputTensor;
use super::proto::kserve::model_infer_response::InferOutputTensor;
use super::proto::kserve::model_metadata_response::TensorMetadata;
use super::proto::kserve::*;
use super::request_memory;
use crate::server::byte_budget::Taken;
use crate::server::inference::{self, Asked, INPUT, Model, PLATFORM, Tensor, VERSION};
use crate::server::refusal::{Kind, Refusal};
use crate::server::shared::{Phase, Shared};
use prost::bytes::Bytes;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Parameters of tensors in memory that client and server share.
const SHARED_MEMORY: &str = "shared_memory_region";

/// The service.
pub struct Inference {
    /// What all requests share.
    pub shared: Arc<Shared>,
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        let ready = self.is_ready();
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        self.model(&name, &version)?;
        let ready = self.is_ready();
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: PLATFORM.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: Vec::new(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let deadline = Deadline::of(request.metadata(), Some(self.shared.limits.timeout))?;
        let ModelMetadataRequest { name, version } = request.into_inner();
        let model = self.model(&name, &version)?;
        let loaded = async { Ok(self.shared.service().await?) };
        let dim = deadline.limit(loaded).await?.facts().config.dim;
        let outputs = model.outputs().iter().map(|output| TensorMetadata {
            name: output.name().to_owned(),
            datatype: output.datatype().to_owned(),
            shape: output.sizes(dim),
        });
        Ok(Response::new(ModelMetadataResponse {
            name,
            versions: vec![VERSION.to_owned()],
            platform: PLATFORM.to_owned(),
            inputs: vec![TensorMetadata {
                name: INPUT.to_owned(),
                datatype: inference::DATATYPE.to_owned(),
                shape: vec![-1, 1],
            }],
            outputs: outputs.collect(),
        }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let deadline = Deadline::of(request.metadata(), Some(self.shared.limits.timeout))?;
        let answer = async {
            let (response, held) = self.infer(request.into_inner()).await?;
            Ok(holding(response, held))
        };
        deadline.limit(answer).await
    }
}

impl Inference {
    fn is_ready(&self) -> bool {
        matches!(self.shared.phase(), Phase::Ready(_))
    }

    fn model(&self, name: &str, version: &str) -> Result<Model, Refusal> {
        Model::named(name, version, &self.shared.name)
    }

    async fn infer(
        &self,
        request: ModelInferRequest,
    ) -> Result<(ModelInferResponse, Taken), Refusal> {
        let _permit = self.shared.enter()?;
        let model = self.model(&request.model_name, &request.model_version)?;
        let asked = Asked {
            outputs: outputs(model, &request)?,
            sequences: sequences(request.inputs, request.raw_input_contents)?,
        };
        let service = self.shared.service().await?;
        let (tensors, taken) = inference::infer(&service, &asked).await?;
        let (outputs, raw_output_contents) = tensors.into_iter().map(tensor).unzip();
        let response = ModelInferResponse {
            model_name: request.model_name,
            model_version: VERSION.to_owned(),
            id: request.id,
            outputs,
            raw_output_contents,
            ..ModelInferResponse::default()
        };
        Ok((response, taken))
    }
}

fn outputs(model: Model, request: &ModelInferRequest) -> Result<Vec<inference::Output>, Refusal> {
    for output in &request.outputs {
        if output.parameters.contains_key(SHARED_MEMORY) {
            return Err(no_shared_memory());
        }
    }
    model.requested(request.outputs.iter().map(|output| output.name.as_str()))
}

/// The sequences of the input, which are in its contents or among the raw contents of the request.
///
/// # Errors
/// There is another input, or the sequences are not as its shape says.
pub fn sequences(inputs: Vec<InferInputTensor>, raw: Vec<Bytes>) -> Result<Vec<Bytes>, Refusal> {
    let facts = inputs.iter().map(|input| {
        let InferInputTensor {
            name,
            datatype,
            shape,
            ..
        } = input;
        (name.as_str(), datatype.as_str(), shape.as_slice())
    });
    let expected = inference::check_input(facts)?;
    let input = inputs.into_iter().next().unwrap_or_default();
    if input.parameters.contains_key(SHARED_MEMORY) {
        return Err(no_shared_memory());
    }
    let contents = input.contents.map(|contents| contents.bytes_contents);
    let contents = contents.unwrap_or_default();
    let invalid = |text: &str| Err(Refusal::new(Kind::Invalid, text));
    match (<[Bytes; 1]>::try_from(raw), contents.is_empty()) {
        (Ok([raw]), true) => inference::elements(raw, expected, request_memory::take_for),
        (Ok(_), false) => {
            invalid("the request has both contents and raw_input_contents: send one of them")
        }
        (Err(raw), _) if !raw.is_empty() => {
            invalid("raw_input_contents has several elements, where one for each input is expected")
        }
        (Err(_), _) => inference::check_number(contents.len(), expected).map(|()| contents),
    }
}

fn no_shared_memory() -> Refusal {
    let text = "shared memory is not supported: send the elements in the request";
    Refusal::new(Kind::Invalid, text)
}

fn tensor(tensor: Tensor) -> (InferOutputTensor, Bytes) {
    let sizes = tensor.shape.iter();
    let described = InferOutputTensor {
        name: tensor.output.name().to_owned(),
        datatype: tensor.output.datatype().to_owned(),
        shape: sizes
            .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
            .collect(),
        ..InferOutputTensor::default()
    };
    (described, tensor.data)
}
