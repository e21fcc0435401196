//! Tells those who watch a run how far it is.

use crate::output::{RunStatus, StatusFile};
use crate::pipeline::reporter::{Computing, Level, Phase, Reporter, Totals};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Between two writes of the file.
const PERIOD: Duration = Duration::from_secs(5);

/// Counts what is reported, and passes it on.
pub struct Pulse<'a> {
    reporter: &'a dyn Reporter,
    so_far: Mutex<SoFar>,
    /// Where it is written, once the run has a folder.
    file: OnceLock<Arc<StatusFile>>,
}

struct SoFar {
    status: RunStatus,
    /// When computing began, and ended.
    working: Option<Instant>,
    worked: Option<Duration>,
}

impl<'a> Pulse<'a> {
    /// Nothing is reported yet.
    pub fn new(reporter: &'a dyn Reporter) -> Self {
        Self {
            reporter,
            so_far: Mutex::new(SoFar {
                status: RunStatus::here(),
                working: None,
                worked: None,
            }),
            file: OnceLock::new(),
        }
    }

    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes how far the run is into this file, now and from now on.
    pub fn write_to(&self, file: Arc<StatusFile>) {
        // A run has one folder.
        let _ = self.file.set(file);
        self.write();
    }

    fn write(&self) {
        let Some(file) = self.file.get() else {
            return;
        };
        let mut so_far = self.so_far();
        let working = so_far.working.map(|begin| begin.elapsed());
        let seconds = so_far.worked.or(working).unwrap_or_default();
        so_far.status.seconds = seconds.as_secs_f64();
        let status = so_far.status.clone();
        drop(so_far);
        file.write(&status);
    }

    /// Writes it every few seconds until the other end of `over` is dropped.
    pub fn beat(&self, over: Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = over.recv_timeout(PERIOD) {
            self.write();
        }
    }

    fn note_totals(&self, totals: &Totals) {
        let mut so_far = self.so_far();
        so_far.status.all_records = totals.records;
        so_far.status.all_residues = totals.residues;
    }
}

impl Reporter for Pulse<'_> {
    fn message(&self, level: Level, text: &str) {
        self.reporter.message(level, text);
    }

    fn phase(&self, phase: Phase<'_>) {
        self.reporter.phase(phase);
    }

    fn checked(&self, records: u64) {
        self.reporter.checked(records);
    }

    fn start(&self, computing: Computing<'_>, totals: Totals) {
        self.note_totals(&totals);
        self.reporter.start(computing, totals);
    }

    fn working(&self) {
        self.so_far().working.get_or_insert_with(Instant::now);
        self.reporter.working();
    }

    fn advance(&self, records: u64, residues: u64) {
        let mut so_far = self.so_far();
        so_far.status.records += records;
        so_far.status.residues += residues;
        drop(so_far);
        self.reporter.advance(records, residues);
    }

    fn restored(&self, records: u64, residues: u64) {
        let mut so_far = self.so_far();
        so_far.status.records += records;
        so_far.status.residues += residues;
        so_far.status.restored_residues += residues;
        drop(so_far);
        self.reporter.restored(records, residues);
    }

    fn counted(&self, totals: Totals) {
        self.note_totals(&totals);
        self.reporter.counted(totals);
    }

    fn finish(&self) {
        let mut so_far = self.so_far();
        so_far.worked = so_far.working.map(|begin| begin.elapsed());
        drop(so_far);
        self.write();
        self.reporter.finish();
    }
}
