//! FASTA in, exact ESM protein embeddings out.

pub mod batching;
pub mod checkpoint;
pub mod device;
pub mod embedder;
pub mod fasta;
pub mod hub;
pub mod model;
pub mod ops;
pub mod output;
pub mod pipeline;
pub mod pooling;
pub mod tokenizer;
pub mod windows;
