//! How a run tells what it does, without knowing where that is shown.

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something the user has to know to trust the result.
    Warning,
    /// What the run does.
    Info,
    /// What helps to find a fault.
    Detail,
}

/// What is to be done, as far as it is known beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that will get a row; None for a stream.
    pub records: Option<u64>,
    /// Their residues; None for a stream.
    pub residues: Option<u64>,
}

/// Receives messages and progress; called from several threads.
pub trait Reporter: Sync {
    /// Shows one message, a sentence or a paragraph without a final newline.
    fn message(&self, level: Level, text: &str);
    /// So many records have been read and checked before embedding begins.
    fn checked(&self, _records: u64) {}
    /// Embedding begins.
    fn start(&self, totals: Totals);
    /// This many more records, with this many residues, are written.
    fn advance(&self, records: u64, residues: u64);
    /// Embedding is over, well or not.
    fn finish(&self);
}

/// Shows nothing.
pub struct Silent;

impl Reporter for Silent {
    fn message(&self, _: Level, _: &str) {}
    fn start(&self, _: Totals) {}
    fn advance(&self, _: u64, _: u64) {}
    fn finish(&self) {}
}
