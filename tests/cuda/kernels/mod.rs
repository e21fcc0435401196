//! The CUDA kernels' own sources, compiled for the CPU by a C++ compiler and compared with
//! references in f64. Inputs are new in every run; a failure prints the seed, and
//! `ESM_EMBED_SEED=…` repeats it. No GPU is needed or used. Without a compiler these tests are skipped.

mod attention;
mod forward;
pub mod host;
mod matmul;
mod numbers;
mod rows;
