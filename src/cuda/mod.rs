//! ESM on NVIDIA GPUs: the [`Engine`](crate::embedder::Engine) that computes with CUDA.
//!
//! Nothing of CUDA is linked. The driver (`driver`) and cuBLASLt (`blaslt`, found as `search`
//! describes) are opened when a GPU is requested. A missing driver is an error with a hint. The
//! program brings its own kernels (`kernels/*.cu`, compiled in `images`), among them matrix products,
//! which are used where cuBLASLt is missing or slower. The path of a batch:
//!
//! 1. `batch`: what the kernels need to know of a packed batch, as arrays made on the CPU.
//! 2. `lane`: a stream with the memory of one forward pass. A GPU has a few of them: while one
//!    computes, the rows of another leave through pinned memory and are written. Each worker thread
//!    takes a lane for a batch, which is all the scheduling there is.
//! 3. `forward`: the blocks of the model. Weights are uploaded once (`load`), the residual stream and
//!    all sums are f32, and nothing returns to the CPU between blocks.
//! 4. `linear_layer`: a linear layer and what follows it. Either cuBLASLt (`matmul`) computes products of
//!    a few fixed numbers of rows, with one algorithm for each shape of weights, and `row_kernels` do the
//!    rest, or an own product (`own_matmul`) does both. Tests of bits and times decide (`choice`,
//!    `own_choice`, `matmul_test`).
//! 5. `results`: pooled rows, and residue rows if they are requested, in the number format of the
//!    request, so that no more than that leaves the GPU; and logits, which `lm_head` makes of the last
//!    representation in f32. If the GPU cannot, the CPU makes them of residue rows.
//!
//! `replica` is a model on one GPU, `model` the whole on all of them: it gives each batch a lane, and
//! cuts batches for which there is no memory (`split`). `engine` implements the contract; it computes
//! sequences whose numbers do not fit f16 again in bf16, or in f32 on GPUs without bf16 (`fallback`).
//!
//! A sequence has the same bits in any batch because rows never meet outside attention, attention is
//! tiled by the sequence only, and a row has the same bits in own products of any height and in those
//! few heights that products of cuBLASLt have (`slab`). Before a run begins, self-tests prove that on
//! the GPU (`selftest`, `settle`), once for each kind of GPU, driver and library (`tested`).
//!
//! `measure` times the parts of a block one by one, for `doctor`.

mod batch;
mod blaslt;
mod choice;
mod driver;
mod engine;
mod error;
mod fallback;
mod forward;
mod gpu;
mod images;
mod kernels;
mod lane;
mod library;
mod linear_layer;
mod lm_head;
mod load;
mod matmul;
mod matmul_test;
mod measure;
mod measured;
mod memory;
mod model;
mod number_format;
mod own_choice;
mod own_matmul;
mod pass;
mod probe;
mod replica;
mod results;
mod row_kernels;
mod search;
mod selftest;
mod settle;
mod slab;
mod split;
mod tested;
mod timing;

pub use blaslt::cublaslt;
pub use engine::GpuEngine;
pub use error::CudaError;
pub use gpu::gpus;
pub use measure::measure;
pub use measured::{
    MeasuredAttention, MeasuredKernel, MeasuredModel, MeasuredProduct, MeasuredRows, MeasuredTiles,
};
