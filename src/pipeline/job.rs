//! One run, resolved: what `cli` makes of the arguments and `run` carries out.

use super::remembered::Remembered;
use super::shard::Shard;
use crate::device::{DeviceChoice, Dtype, Tested};
use crate::ops::CpuPath;
use crate::output::{Existing, OutDtype, Pool, Residues};
use crate::tokenizer::UnknownPolicy;
use std::fmt;
use std::path::PathBuf;

/// Residues that ESM was trained with at most, and that models with learned positions can do.
pub const USUAL_LIMIT: usize = 1022;

/// What happens to a sequence longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Long {
    /// It is embedded whole.
    Full,
    /// Its first residues are embedded; the index says how many there were.
    Truncate(usize),
    /// It is embedded in overlapping windows that are blended.
    Window {
        /// Residues of a window.
        size: usize,
        /// Residues that neighbouring windows share.
        overlap: usize,
    },
    /// It is an invalid record.
    Error,
}

impl fmt::Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Long::Full => f.write_str("full"),
            Long::Truncate(n) => write!(f, "truncate:{n}"),
            Long::Window { size, overlap } => write!(f, "window:{size}:{overlap}"),
            Long::Error => f.write_str("error"),
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
    /// Representation indices as asked, negative from the end; empty for the last one.
    pub layers: Vec<i64>,
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
    /// Records that cannot be embedded.
    pub on_invalid: OnInvalid,
    /// The part of the input to embed; None for all of it.
    pub shard: Option<Shard>,
    /// What happens to an output that is there.
    pub existing: Existing,
    /// Where checksums of the checkpoint's files are remembered; None reads the files every time.
    pub remembered: Option<Remembered>,
    /// A device whose bits depend on the batch.
    pub on_varying: OnVarying,
    /// Where it is remembered which cards passed which self-tests.
    pub tested: Tested,
}
