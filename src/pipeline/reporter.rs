//! How a run reports what it does: messages and progress, wherever they are shown.

use crate::device::{Device, Dtype};

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something the user has to know to judge the result.
    Warning,
    /// What the run does.
    Info,
    /// What helps to find a problem.
    Detail,
}

/// What progress counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counted {
    /// Records and their residues.
    #[default]
    Records,
    /// Passes of a model and their tokens, which take the place of records and residues.
    Passes,
}

/// What has to be computed, as far as that is known. A sequence that occurs several times is computed
/// once and counts as one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What all of these count.
    pub counted: Counted,
    /// Records with different sequences; None for a stream.
    pub records: Option<u64>,
    /// Their residues; None for a stream.
    pub residues: Option<u64>,
    /// Records that repeat the sequence of an earlier one: their rows are copied.
    pub duplicates: u64,
    /// Records among these that an interrupted run has computed, according to its journal.
    pub restored_records: u64,
    /// Their residues.
    pub restored_residues: u64,
}

/// What computes a run. On a CPU, its path changes nothing but the time.
#[derive(Clone, Copy, Debug)]
pub struct Computing<'a> {
    /// The CPU and its path, or GPUs.
    pub device: &'a Device,
    /// Number format of the computation.
    pub dtype: Dtype,
}

/// What a run does before and after embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase<'a> {
    /// Reads and checks the input.
    Reading,
    /// Shares records out.
    Planning,
    /// Loads this model.
    Loading(&'a str),
    /// Measures how fast this model is on this machine, for a forecast.
    Measuring(&'a str),
    /// Copies the rows of duplicates, syncs files and takes their checksums.
    Finishing,
}

/// Receives messages and progress; called from several threads.
pub trait Reporter: Sync {
    /// Shows one message without a final newline. It may end with `hint:` lines.
    fn message(&self, level: Level, text: &str);
    /// A phase begins; it ends with the next one or when embedding begins.
    fn phase(&self, _phase: Phase<'_>) {}
    /// This number of records has been read and checked before embedding begins.
    fn checked(&self, _records: u64) {}
    /// Embedding begins.
    fn start(&self, computing: Computing<'_>, totals: Totals);
    /// Batches are ready: from the first call on, time is spent on computing.
    fn working(&self) {}
    /// This many more records, with this many residues, are computed and written.
    fn advance(&self, records: u64, residues: u64);
    /// This many more were computed by the interrupted run.
    fn restored(&self, _records: u64, _residues: u64) {}
    /// The input has been read to its end: these are the exact totals.
    fn counted(&self, _totals: Totals) {}
    /// Embedding is over, well or not.
    fn finish(&self);
}

/// Shows nothing.
pub struct Silent;

impl Reporter for Silent {
    fn message(&self, _: Level, _: &str) {}
    fn start(&self, _: Computing<'_>, _: Totals) {}
    fn advance(&self, _: u64, _: u64) {}
    fn finish(&self) {}
}
