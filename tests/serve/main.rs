//! The server from end to end: the program is started, spoken to over sockets on this machine, and its
//! answers are compared with the files of `run`.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod bodies;
mod dialects;
mod documents;
mod ending;
mod errors;
mod grpc_calls;
mod grpc_client;
mod grpc_streams;
mod grpc_stress;
mod hostile;
mod http2;
mod load;
mod memory;
mod models;
mod same_bits;
mod support;

use common::bench;
