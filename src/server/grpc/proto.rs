//! Messages and services, made from the files in `proto` by `.ci/grpc_code.py`.
#![allow(missing_docs, clippy::all)]

/// The services' descriptions, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// `esm_embed.v1`.
pub mod esm_embed {
    include!("generated/esm_embed.v1.rs");
}

/// `bionemo.model.protein.esm1nv.grpc`.
pub mod bionemo {
    include!("generated/bionemo.model.protein.esm1nv.grpc.rs");
}

/// `inference`, of KServe.
pub mod kserve {
    include!("generated/inference.rs");
}
