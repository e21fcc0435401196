//! A run as requested: `cli` makes a [`Job`] of the arguments, and [`run`](super::run()) carries it
//! out.

use crate::admission::{Gaps, Long};
use crate::checkpoint::{Additions, Checkpoint, CheckpointError};
use crate::device::{Device, DeviceChoice, DeviceError, Dtype, Tested, available_threads};
use crate::embedder;
use crate::ops::CpuPath;
use crate::output::{Existing, OutDtype, Pool, Residues};
use crate::pipeline::checksum_cache::ChecksumCache;
use crate::pipeline::input::shard::Shard;
use crate::plan::Plan;
use crate::product::{MapHeads, Product};
use crate::tokenizer::UnknownPolicy;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What happens to records with the identifier of an earlier one and another sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDuplicateId {
    /// A warning counts them.
    #[default]
    Warn,
    /// The run stops before it begins.
    Fail,
}

impl fmt::Display for OnDuplicateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnDuplicateId::Warn => "warn",
            OnDuplicateId::Fail => "fail",
        })
    }
}

/// Requested layers. Negative numbers count from the end: -1 is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// One.
    One(i64),
    /// All from the first to the second.
    Span(i64, i64),
}

impl Layers {
    /// Every layer of the model.
    pub const ALL: Layers = Layers::Span(0, -1);

    /// The same layers, each once, and spans that do not depend on the model as single layers. To be
    /// called for a model that is known to have them.
    pub(crate) fn canonical(asked: &[Layers]) -> Vec<Layers> {
        let mut all = Vec::new();
        for &layers in asked {
            let parts = match layers {
                Layers::Span(first @ 0.., last @ 0..) => (first..=last).map(Layers::One).collect(),
                other => vec![other],
            };
            for part in parts {
                if !all.contains(&part) {
                    all.push(part);
                }
            }
        }
        all
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Layers::One(layer) => layer.fmt(f),
            Layers::ALL => f.write_str("all"),
            Layers::Span(first, -1) => write!(f, "{first}-last"),
            Layers::Span(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// What happens to records that cannot be embedded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInvalid {
    /// The run stops.
    #[default]
    Fail,
    /// They are listed in `skipped.tsv` and have no rows.
    Skip,
}

impl fmt::Display for OnInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnInvalid::Fail => "fail",
            OnInvalid::Skip => "skip",
        })
    }
}

/// What happens on a GPU on which the bits of a sequence depend on its batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnVarying {
    /// Each sequence has a separate pass, in which its bits are always the same.
    #[default]
    Alone,
    /// The run stops before it begins.
    Fail,
}

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// As it was given.
    pub asked: String,
    /// Folder or file of the checkpoint.
    pub path: PathBuf,
    /// Repository on the Hub, when it came from there.
    pub repo: Option<String>,
    /// Commit of the repository.
    pub revision: Option<String>,
    /// File of the contact regression; None for the one of the checkpoint.
    pub contact_regression: Option<PathBuf>,
    /// A LoRA adapter of this model.
    pub adapter: Option<ModelAdapter>,
}

/// A LoRA adapter on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelAdapter {
    /// As it was given.
    pub asked: String,
    /// Its folder, or a file of it.
    pub path: PathBuf,
    /// Repository on the Hub, when it came from there.
    pub repo: Option<String>,
    /// Commit of the repository.
    pub revision: Option<String>,
}

impl ModelAdapter {
    /// Its repository, or the name of its folder or file.
    pub fn name(&self) -> String {
        let real = self.path.canonicalize();
        let path = real.as_ref().unwrap_or(&self.path);
        let name = path.file_name().map(|name| name.to_string_lossy());
        let name = self.repo.clone().or(name.map(|name| name.into_owned()));
        name.unwrap_or_else(|| self.asked.clone())
    }
}

impl Model {
    /// Opens the checkpoint with what was given beside it.
    ///
    /// # Errors
    /// Whatever makes it unusable.
    pub fn open(&self) -> Result<Checkpoint, CheckpointError> {
        let additions = Additions {
            contact_regression: self.contact_regression.as_deref(),
            adapter: self.adapter.as_ref().map(|adapter| adapter.path.as_path()),
        };
        Checkpoint::open_with(&self.path, additions)
    }
}

/// What is embedded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// FASTA files in order; `-` is standard input.
    pub paths: Vec<PathBuf>,
    /// The part of the records to embed; None for all of them.
    pub shard: Option<Shard>,
    /// The plan that has the records of the shard; without one, the whole input is read to find them.
    pub plan: Option<Arc<Plan>>,
    /// Records with the identifier of an earlier one and another sequence.
    pub on_duplicate_id: OnDuplicateId,
    /// Output folders whose values are copied instead of computed.
    pub known: Vec<PathBuf>,
}

/// Requested attention maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapOptions {
    /// Blocks, counted from 0; empty for all of them.
    pub layers: Vec<Layers>,
    /// All heads or their mean.
    pub heads: MapHeads,
}

/// What is written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputOptions {
    /// The output folder.
    pub folder: PathBuf,
    /// What happens to a folder that exists.
    pub existing: Existing,
    /// Requested layers; empty for the last one.
    pub layers: Vec<Layers>,
    /// Pooled rows, each pool once.
    pub pools: Vec<Pool>,
    /// Whether the pooled rows of all layers are one array.
    pub stack_layers: bool,
    /// Residue rows.
    pub residues: Residues,
    /// Products that do not belong to one layer, each once.
    pub include: Vec<Product>,
    /// The attention maps, if they are included.
    pub maps: MapOptions,
    /// Number format of the files.
    pub dtype: OutDtype,
}

/// How sequences are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceOptions {
    /// Long sequences; None for the model's default.
    pub long: Option<Long>,
    /// Characters outside the alphabet.
    pub unknown: UnknownPolicy,
    /// Gaps of an alignment.
    pub gaps: Gaps,
    /// Records that cannot be embedded.
    pub on_invalid: OnInvalid,
}

/// How it is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputeOptions {
    /// The CPU or GPUs.
    pub device: DeviceChoice,
    /// Number format of the computation; None for the device's default.
    pub dtype: Option<Dtype>,
    /// Forces a lower CPU path.
    pub cpu_path: Option<CpuPath>,
    /// Worker threads.
    pub threads: usize,
    /// Tokens of one batch; None for the device's default.
    pub max_tokens: Option<usize>,
    /// One sequence per forward pass.
    pub deterministic: bool,
    /// A GPU on which the bits of a sequence depend on its batch.
    pub on_varying: OnVarying,
}

impl Default for ComputeOptions {
    /// The best device, on all threads that this process may use.
    fn default() -> ComputeOptions {
        ComputeOptions {
            device: DeviceChoice::Auto,
            dtype: None,
            cpu_path: None,
            threads: available_threads(),
            max_tokens: None,
            deterministic: false,
            on_varying: OnVarying::default(),
        }
    }
}

impl ComputeOptions {
    /// Resolves the choice of device on this machine: see [`embedder::resolve`].
    ///
    /// # Errors
    /// What was requested is not available.
    pub fn resolve_device(&self) -> Result<Device, DeviceError> {
        embedder::resolve(&self.device, self.cpu_path, self.dtype)
    }
}

/// One run, as requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What is embedded.
    pub inputs: Inputs,
    /// The checkpoint.
    pub model: Model,
    /// What is written, and where.
    pub output: OutputOptions,
    /// How sequences are treated.
    pub sequences: SequenceOptions,
    /// How it is computed.
    pub compute: ComputeOptions,
}

/// What the program remembers from earlier runs. It saves time and changes no result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    /// Checksums of model files; None reads the files every time.
    pub checksums: Option<ChecksumCache>,
    /// Self-tests that GPUs have passed.
    pub self_tests: Tested,
}
