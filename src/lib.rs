//! FASTA in, exact ESM protein embeddings out.

pub mod output;
