//! FASTA in, exact ESM protein embeddings out.

pub mod fasta;
pub mod tokenizer;
