//! One run, resolved: what `cli` makes of the arguments and `run` carries out.

use crate::admission::{Gaps, Long};
use crate::device::{DeviceChoice, Dtype, Tested};
use crate::ops::CpuPath;
use crate::output::{Existing, OutDtype, Pool, Residues};
use crate::pipeline::checksum_cache::ChecksumCache;
use crate::pipeline::input::shard::Shard;
use crate::tokenizer::UnknownPolicy;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// What happens to records with the identifier of an earlier one and another sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDuplicateId {
    /// A warning counts them.
    #[default]
    Warn,
    /// The run stops before it begins.
    Fail,
}

/// Representations that are asked for. Negative numbers count from the end: -1 is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// One.
    One(i64),
    /// All from the first to the second.
    Span(i64, i64),
}

impl Layers {
    /// Every one there is.
    pub const ALL: Layers = Layers::Span(0, -1);

    /// The same layers, each once: what does not depend on the model as numbers one by one. To be
    /// called once a model is known to have them.
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

impl Serialize for Layers {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Layers::One(layer) => to.serialize_i64(*layer),
            span => to.collect_str(span),
        }
    }
}

/// What happens to a record that cannot be embedded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInvalid {
    /// The run stops.
    #[default]
    Fail,
    /// It is listed in `skipped.tsv` and has no row.
    Skip,
}

/// What happens on a device that gives a sequence other bits in other batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnVarying {
    /// Each sequence has a pass of its own, where its bits are always the same.
    #[default]
    Alone,
    /// The run stops before it begins.
    Fail,
}

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// As it was asked for.
    pub asked: String,
    /// Folder or file of the checkpoint.
    pub path: PathBuf,
    /// Repository on the Hub, when it came from there.
    pub repo: Option<String>,
    /// Commit of the repository.
    pub revision: Option<String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// FASTA files in order; `-` is standard input.
    pub inputs: Vec<PathBuf>,
    /// Output folder.
    pub out: PathBuf,
    /// The checkpoint.
    pub model: Model,
    /// Representations as asked; empty for the last one.
    pub layers: Vec<Layers>,
    /// Pooled outputs, each once.
    pub pools: Vec<Pool>,
    /// Per-residue output.
    pub residues: Residues,
    /// Number format of the computation; None for the device's own.
    pub dtype: Option<Dtype>,
    /// Number format of the files.
    pub out_dtype: OutDtype,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Why no card is to be used where that is left open.
    pub no_card: Option<String>,
    /// Forces a lower CPU path.
    pub cpu_path: Option<CpuPath>,
    /// Worker threads.
    pub threads: usize,
    /// Tokens of one batch; None for the device's own.
    pub max_tokens: Option<usize>,
    /// One sequence per forward pass.
    pub deterministic: bool,
    /// Long sequences; None for the model's own way.
    pub long: Option<Long>,
    /// Characters outside the alphabet.
    pub unknown: UnknownPolicy,
    /// Gaps of an alignment.
    pub gaps: Gaps,
    /// Records that cannot be embedded.
    pub on_invalid: OnInvalid,
    /// Records with the identifier of an earlier one.
    pub on_duplicate_id: OnDuplicateId,
    /// The part of the input to embed; None for all of it.
    pub shard: Option<Shard>,
    /// What happens to an output that is there.
    pub existing: Existing,
    /// Where checksums of the checkpoint's files are remembered; None reads the files every time.
    pub remembered: Option<ChecksumCache>,
    /// A device whose bits depend on the batch.
    pub on_varying: OnVarying,
    /// Where it is remembered which cards passed which self-tests.
    pub tested: Tested,
}
