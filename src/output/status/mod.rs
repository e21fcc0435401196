//! What a run leaves for those who watch it: `.partial/status.json`, a small file that a run replaces
//! every few seconds and at its end, unless that is a finished folder.
//!
//! Its numbers come from one process and one clock, so that the clocks of other machines do not matter.

mod look;
mod survey;

pub use look::{Look, ShardState, look};
pub use survey::{Planned, Survey, survey};

use crate::output::disk;
use crate::output::layout::{PARTIAL, RUN_JSON};
use crate::output::lock::Lock;
use crate::output::resume::run_identity::BEGUN_JSON;
use crate::output::write::target::is_unused;
use crate::run_record::Shard;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Name of the file in the working folder.
pub(crate) const STATUS_JSON: &str = "status.json";

/// Version of the file's format.
const FORMAT: u32 = 1;

/// Longest file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// Longest error that is kept.
const LONGEST_ERROR: usize = 1 << 16;

/// Whether a run computes, or how it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It computes, or was killed.
    #[default]
    Running,
    /// It was asked to stop, and saved its work.
    Stopped,
    /// It ended with an error.
    Failed,
}

/// The contents of `status.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Version of the format.
    pub format: u32,
    /// Whether the run computes, or how it ended.
    pub state: RunState,
    /// Why it ended; may have `hint:` lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which shard of an input failed before it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The machine.
    pub host: String,
    /// The process on it.
    pub process: u32,
    /// The words of its command line, if it has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Seconds for which this process has computed.
    pub seconds: f64,
    /// Records that are computed and written, those of an interrupted run included. A sequence that occurs
    /// several times is computed once and counts as one.
    pub records: u64,
    /// Their residues.
    pub residues: u64,
    /// Residues among these that this process did not compute.
    pub restored_residues: u64,
    /// All records to compute, once that is known.
    pub all_records: Option<u64>,
    /// Their residues.
    pub all_residues: Option<u64>,
}

static COMMAND: OnceLock<Vec<String>> = OnceLock::new();

/// Notes the words of this process's command line, for those who want to repeat it.
pub fn set_command(words: Vec<String>) {
    // A process has one command line.
    let _ = COMMAND.set(words);
}

impl RunStatus {
    /// Of this process, with nothing computed.
    pub fn here() -> Self {
        Self {
            format: FORMAT,
            host: host(),
            process: std::process::id(),
            command: COMMAND.get().cloned().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Reads the file of a working folder; `None` if it is missing or this version cannot read it.
    pub(crate) fn read(partial: &Path) -> Option<Self> {
        let file = disk::open_regular(&partial.join(STATUS_JSON)).ok()?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        let status: Self = serde_json::from_slice(&bytes).ok()?;
        (status.format <= FORMAT).then_some(status)
    }

    /// Replaces the file, so that it exists completely or not at all.
    fn write(&self, partial: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        disk::replace_unsynced(&partial.join(STATUS_JSON), &bytes)
    }
}

/// The name of this machine; empty where the system does not tell it.
pub(crate) fn host() -> String {
    let linux = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = linux.ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.unwrap_or_default().trim().to_owned()
}

/// `status.json` of a run in progress.
#[derive(Debug)]
pub struct StatusFile {
    partial: PathBuf,
    is_open: Mutex<bool>,
}

impl StatusFile {
    pub(crate) fn new(partial: &Path) -> Self {
        Self {
            partial: partial.to_path_buf(),
            is_open: Mutex::new(true),
        }
    }

    /// Replaces the file, unless the folder is being published. A run does not fail because nobody can
    /// watch it.
    pub fn write(&self, status: &RunStatus) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_open {
            let _ = status.write(&self.partial);
        }
    }

    /// Writes nothing from now on. What is being written is complete when this returns.
    pub(crate) fn close(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// The file as long as the run has its folder.
#[derive(Debug)]
pub(crate) struct OwnStatus(pub(crate) Arc<StatusFile>);

impl Drop for OwnStatus {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Records how the run into a folder ended, if the folder is that of the run: not if another run writes
/// into it, nor if it is complete. A folder that does not exist is made for a `shard`: whoever watches the
/// shards of an input finds the error there.
///
/// Nothing fails because of this; the error itself is reported elsewhere.
pub fn record_end(dir: &Path, shard: Option<Shard>, state: RunState, error: String) {
    let partial = dir.join(PARTIAL);
    let is_there = |path: &Path| matches!(disk::kind(path), Ok(Some(_)));
    let is_work = [BEGUN_JSON, RUN_JSON]
        .iter()
        .any(|name| is_there(&partial.join(name)));
    if !is_work {
        // Nothing of this run is there; other work stays as it is.
        let is_free = !is_there(&dir.join(RUN_JSON)) && is_unused(&partial).unwrap_or(false);
        if shard.is_none() || !is_free || std::fs::create_dir_all(dir).is_err() {
            return;
        }
    }
    let Ok(_lock) = Lock::take(dir) else {
        return;
    };
    let mut error = error;
    if error.len() > LONGEST_ERROR {
        error.truncate(error.floor_char_boundary(LONGEST_ERROR));
    }
    let before = RunStatus::read(&partial).unwrap_or_default();
    let status = RunStatus {
        seconds: before.seconds,
        records: before.records,
        residues: before.residues,
        restored_residues: before.restored_residues,
        all_records: before.all_records,
        all_residues: before.all_residues,
        state,
        shard,
        error: Some(error),
        ..RunStatus::here()
    };
    let _ = status.write(&partial);
}
