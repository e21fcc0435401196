//! `serve`: one port, HTTP and gRPC, and for every sequence the bits of `run` under any load.
//!
//! # The path of a request
//!
//! 1. **A connection.** `listen` accepts it, decrypts TLS, and finds out whether the client speaks
//!    HTTP/1.1 or HTTP/2. Each connection is a separate task: one that is slow, silent or broken delays
//!    nobody else, and is closed if it sends no request or does not read its answer.
//! 2. **The guard.** Every request passes `http::guard`: the API key is compared in constant time, a server
//!    that is shutting down refuses new work, and the request is counted until its answer has been sent.
//! 3. **A dialect.** One router holds the routes of HTTP (`http`, one file for each dialect) and those of
//!    gRPC (`grpc`). A handler reads the body within its limits and turns it into sequences and a
//!    [`Wanted`]: layer, pools, residue rows, logits, contacts. All bodies share a limit of
//!    memory (`body_memory`): each reserves what it needs before it is parsed, and keeps it until its
//!    request is answered.
//! 4. **Admission.** [`Service::admit`] turns the text of a sequence into tokens with
//!    [`Admission`](crate::admission::Admission), as `run` does: the same windows, the same letters, the
//!    same refusals in the same words. A request is refused here, before it has cost anything, and the
//!    refusal names the input. What was done to a sequence is kept as [`Notes`] for its answer.
//! 5. **The queue.** [`Service::submit`] takes the memory for the answers and a place in the one queue for
//!    all sequences of a request, or refuses it as a whole ([`Kind::Busy`]). Streams wait for room instead
//!    ([`Service::submit_when_room`]), and read no further meanwhile. A sequence that is already in the queue or in a pass
//!    is not queued again.
//! 6. **A pass.** The threads of the `scheduler` own the engine; nothing of it runs in tokio. Each takes the
//!    oldest sequence and the others that fit into the budget of tokens, and calls the
//!    [`Embedder`](crate::embedder::Embedder). The bits of a product depend on its sequence only, so it
//!    does not matter what shares the pass. A sequence longer than the budget is a pass by itself.
//! 7. **The answer.** [`Pending::answer`] gives the arrays to the handler, which writes them as JSON, NumPy
//!    arrays or protobuf. Large answers are written while they are sent. An answer holds its memory until
//!    the client has received it (`sent`); the connection of a client that reads nothing for as long as a
//!    request may take is closed.
//!
//! A handler is a future that is dropped when its client disconnects or its deadline passes. Its
//! [`Pending`]s are dropped with it: they take their sequences out of the queue, and stop a pass that
//! nobody waits for before the next block of the model.
//!
//! # The end
//!
//! At the first SIGTERM or SIGINT, the listener closes, new requests are refused, and running ones may
//! finish within the grace time. At the second, or when that time is over, the rest is cancelled.

mod access;
mod body_memory;
mod byte_budget;
mod dialect;
mod facts;
pub mod grpc;
mod http;
mod inference;
mod job;
mod listen;
mod memory_shares;
mod metrics;
mod notes;
mod refusal;
mod run;
mod scheduler;
mod sent;
mod service;
mod shared;
mod wire;

pub use access::{ApiKey, BadKey};
pub use dialect::Dialect;
pub use facts::{Facts, Truncate};
pub use job::{Limits, ServeJob, TlsFiles};
pub use notes::Notes;
pub use refusal::{Kind, Refusal};
pub use run::{Ended, serve};
pub use service::{Admitted, Answer, Pending, Service, Wanted};
