//! gRPC on the port of HTTP.
//!
//! | service | for |
//! |---|---|
//! | `esm_embed.v1.Embedder` | a stream of sequences, one message a record |
//! | `bionemo.model.protein.esm1nv.grpc.GenerativeSampler` | clients of NVIDIA's BioNeMo 1.x |
//! | `inference.GRPCInferenceService` | clients of KServe and Triton |
//! | `grpc.health.v1.Health`, `grpc.reflection.v1.ServerReflection` and `v1alpha` | tools |
//!
//! The messages are described in `proto`, whose Rust code is committed: building needs no protoc.

mod answer;
mod bionemo;
pub mod codec;
mod deadline;
mod embed;
mod health;
mod held;
mod kserve;
mod products;
pub mod proto;
mod read;
mod request_memory;
mod status;
mod until_end;
mod window;

pub use bionemo::BionemoOptions;
pub use read::{read_bionemo, read_kserve, read_stream};
pub use status::{HEADER as GRPC_STATUS, name as code_name};

use super::shared::Shared;
use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use proto::bionemo::generative_sampler_server::{self, GenerativeSamplerServer};
use proto::esm_embed::embedder_server::{self, EmbedderServer};
use proto::kserve::grpc_inference_service_server::{self, GrpcInferenceServiceServer};
use std::sync::Arc;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;

/// The services whose health can be asked for.
const SERVICES: &[&str] = &[
    embedder_server::SERVICE_NAME,
    generative_sampler_server::SERVICE_NAME,
    grpc_inference_service_server::SERVICE_NAME,
];

/// The gRPC services as routes.
pub fn routes(shared: &Arc<Shared>) -> Router {
    let limit = shared.limits.max_body_bytes;
    let shared = || Arc::clone(shared);
    let options = shared().bionemo;
    let bodies = shared().bodies.clone();
    let mut routes = Routes::builder();
    routes
        .add_service(
            EmbedderServer::new(embed::Streams { shared: shared() })
                .max_decoding_message_size(limit),
        )
        .add_service(
            GenerativeSamplerServer::new(bionemo::Sampler {
                shared: shared(),
                options,
            })
            .max_decoding_message_size(limit),
        )
        .add_service(
            GrpcInferenceServiceServer::new(kserve::Inference { shared: shared() })
                .max_decoding_message_size(limit),
        )
        .add_service(HealthServer::new(health::Probes {
            shared: shared(),
            services: SERVICES,
        }));
    let reflection = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // The descriptors are part of the program; a test reads them.
    if let (Ok(v1), Ok(v1alpha)) = (reflection().build_v1(), reflection().build_v1alpha()) {
        routes.add_service(v1).add_service(v1alpha);
    }
    let router = routes.routes().into_axum_router().reset_fallback();
    let router = router.layer(from_fn_with_state(bodies, request_memory::count));
    let router = router.layer(map_response(held::tie));
    router.layer(from_fn_with_state(shared(), until_end::until_end))
}
