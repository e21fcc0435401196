//! A server as requested: `cli` makes a [`ServeJob`] of the arguments, and
//! [`serve`](super::serve) carries it out.

use super::access::ApiKey;
use super::grpc::BionemoOptions;
use crate::output::{Existing, OutDtype, Residues};
use crate::pipeline::{
    ComputeOptions, Inputs, Job, Layers, MapOptions, Model, OutputOptions, SequenceOptions,
};
use crate::product::{Pool, Product};
use std::path::PathBuf;
use std::time::Duration;

/// One server, as requested.
#[derive(Clone, Debug)]
pub struct ServeJob {
    /// The checkpoint.
    pub model: Model,
    /// The name of the model in answers.
    pub name: String,
    /// `HOST:PORT`.
    pub listen: String,
    /// Layers that requests may ask for; empty for the last one.
    pub layers: Vec<Layers>,
    /// [`Product::Logits`] and [`Product::Contacts`], if requests may ask for them.
    pub include: Vec<Product>,
    /// How sequences are treated.
    pub sequences: SequenceOptions,
    /// How it is computed.
    pub compute: ComputeOptions,
    /// What is refused.
    pub limits: Limits,
    /// The key that requests must have.
    pub api_key: Option<ApiKey>,
    /// Certificate and key; None for plain text.
    pub tls: Option<TlsFiles>,
    /// How clients of BioNeMo are answered.
    pub bionemo: BionemoOptions,
}

/// What the server refuses, and when it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body of a request.
    pub max_body_bytes: usize,
    /// Requests in progress at the same time.
    pub max_requests: usize,
    /// Tokens that wait to be computed.
    pub max_queue_tokens: usize,
    /// Time that a request may take.
    pub timeout: Duration,
    /// Time to finish what is running when the server is asked to end.
    pub grace: Duration,
    /// Bytes of answers that are kept for the same sequence; 0 for none.
    pub cache_bytes: usize,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl ServeJob {
    /// The run whose decisions about model, device, memory and sequences the server takes.
    pub(super) fn run(&self) -> Job {
        Job {
            inputs: Inputs::default(),
            model: self.model.clone(),
            output: OutputOptions {
                folder: PathBuf::new(),
                existing: Existing::Refuse,
                layers: self.layers.clone(),
                pools: Pool::ALL.to_vec(),
                stack_layers: false,
                residues: Residues::Packed,
                include: self.include.clone(),
                maps: MapOptions::default(),
                dtype: OutDtype::F32,
            },
            sequences: self.sequences,
            compute: self.compute.clone(),
        }
    }
}
