//! FASTA in, exact ESM protein embeddings out.
