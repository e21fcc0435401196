//! ESM on CUDA cards.
//!
//! Nothing of CUDA is linked. The driver (`driver`) and cuBLASLt (`blaslt`, looked for as `search`
//! says) are opened when a card is asked for, and what is missing of them is an error with a remedy.
//! What runs on a card is the crate's own: kernels in `kernels/*.cu` for everything but matrix
//! products, which are built into the program (`images`), and cuBLASLt for those. The path of a batch:
//!
//! 1. `batch`: what the kernels need to know of a packed batch, as arrays made on the CPU.
//! 2. `lane`: a stream with the memory of one forward pass. A card has a few of them; while one
//!    computes, the rows of another leave through pinned memory and are written. Each worker thread
//!    takes a lane for a batch, which is all the scheduling there is.
//! 3. `forward`: the blocks of the model. Weights are uploaded once (`load`), the residual stream and
//!    all sums are f32, and nothing comes back to the CPU between blocks.
//! 4. `product`: matrix products of a few fixed numbers of rows with one algorithm for each shape of
//!    weights, chosen by tests of its bits (`choice`).
//! 5. `results`: pooled rows, and residue rows if they are wanted, in the number format in which they
//!    are wanted, so that no more than that leaves the card.
//!
//! `model` is the whole of it on all cards: which lane does which part of a batch, and what becomes of
//! a batch for which there is no memory (`budget`). A sequence whose numbers do not fit f16 comes back
//! to the caller, who has a model in bf16 for it (`spare`).
//!
//! The same sequence has the same bits in any batch because rows never meet outside attention,
//! attention is cut by the sequence alone, and products are always of a few heights (`slab`), in which
//! a row has the same bits. [`Esm::load`] proves it on the card before a run begins (`selftest`), once for
//! each kind of card, driver and library (`tested`).

mod batch;
mod blaslt;
mod budget;
mod card;
mod choice;
mod driver;
mod error;
mod forward;
mod images;
mod kernels;
mod lane;
mod library;
mod load;
mod model;
mod probe;
mod product;
mod replica;
mod results;
mod search;
mod selftest;
mod slab;
mod spare;
mod tested;

pub use card::cards;
pub use error::CudaError;
pub use model::{Esm, Failure, Overflow};
pub use results::HostRows;
pub use spare::Spare;
