//! What an output folder is at the moment, from a few small files.

use super::{RunState, RunStatus, host};
use crate::flock;
use crate::numerals::count;
use crate::output::disk;
use crate::output::layout::{PARTIAL, RUN_JSON};
use crate::output::lock::LOCK;
use crate::output::resume::run_identity::BEGUN_JSON;
use crate::run_record::Shard;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A run replaces its `status.json` more often than this.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

/// Largest file that is read.
const MOST_BYTES: u64 = 64 << 20;

/// What a folder is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardState {
    /// A finished run.
    Done,
    /// A run is writing into it.
    Running,
    /// A run was stopped or killed.
    Stopped,
    /// A run ended with an error, or the folder cannot be read.
    Failed,
    /// There is nothing of a run.
    Missing,
}

impl ShardState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ShardState::Done => "done",
            ShardState::Running => "running",
            ShardState::Stopped => "stopped",
            ShardState::Failed => "failed",
            ShardState::Missing => "missing",
        }
    }
}

/// What was seen of a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The folder; empty if no folder is known of a shard.
    pub folder: PathBuf,
    /// Which shard is in it.
    pub shard: Option<Shard>,
    /// The digest of the plan of the shard.
    pub plan: Option<String>,
    /// What it is.
    pub state: ShardState,
    /// The last error, or the sign that the run stopped; may have `hint:` lines.
    pub detail: Option<String>,
    /// Records that are done: in a finished folder all of them, otherwise sequences that were computed.
    pub records: u64,
    /// Their residues.
    pub residues: u64,
    /// Sequences to compute, if that is known.
    pub all_records: Option<u64>,
    /// Their residues.
    pub all_residues: Option<u64>,
    /// Residues a second of the process that computes.
    pub residues_per_second: Option<f64>,
    /// Seconds until everything is computed, at that rate.
    pub seconds_left: Option<f64>,
    /// Bytes on the disk. In a folder that is not finished, files of single records are not counted.
    pub bytes: u64,
    /// The machine of an unfinished run.
    pub host: Option<String>,
    /// The words of its command line.
    pub command: Vec<String>,
}

impl Look {
    /// Nothing of a run.
    pub fn missing(folder: PathBuf) -> Self {
        Self {
            folder,
            shard: None,
            plan: None,
            state: ShardState::Missing,
            detail: None,
            records: 0,
            residues: 0,
            all_records: None,
            all_residues: None,
            residues_per_second: None,
            seconds_left: None,
            bytes: 0,
            host: None,
            command: Vec::new(),
        }
    }
}

/// What this page needs of a `run.json` or `begun.json` of any version.
#[derive(Debug, Default, Deserialize)]
struct Facts {
    #[serde(default)]
    shard: Option<ShardFacts>,
    #[serde(default)]
    counts: Counts,
    #[serde(default)]
    files: Vec<Size>,
    #[serde(default)]
    folders: Vec<Size>,
    /// In `begun.json`.
    #[serde(default)]
    run: Option<RunFacts>,
}

#[derive(Debug, Deserialize)]
struct RunFacts {
    #[serde(default)]
    shard: Option<ShardFacts>,
    #[serde(default)]
    plan: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct ShardFacts {
    number: u64,
    of: u64,
    #[serde(default)]
    plan: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Counts {
    #[serde(default)]
    records: u64,
    #[serde(default)]
    residues: u64,
}

#[derive(Debug, Deserialize)]
struct Size {
    bytes: u64,
}

impl Facts {
    /// `None` if there is no such file.
    fn read(path: &Path) -> Result<Option<Self>, String> {
        let file = match disk::open_regular(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| format!("{}: {error}", path.display()))?,
        };
        let mut bytes = Vec::new();
        let read = file.take(MOST_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| format!("{}: {error}", path.display()))?;
        let facts = serde_json::from_slice(&bytes);
        let what = |error| format!("{} is not what a run writes: {error}", path.display());
        facts.map(Some).map_err(what)
    }

    fn shard(&self) -> Option<&ShardFacts> {
        let run = self.run.as_ref().and_then(|run| run.shard.as_ref());
        self.shard.as_ref().or(run)
    }

    fn plan(&self) -> Option<String> {
        let run = self.run.as_ref().and_then(|run| run.plan.as_ref());
        let shard = self.shard.as_ref().and_then(|shard| shard.plan.as_ref());
        shard.or(run).cloned()
    }
}

/// Whether a process holds the lock of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locked {
    Yes,
    No,
    /// The file system has no locks, or the file cannot be opened.
    Unknown,
}

/// What an output folder is at the moment. Only small files are read, and nothing is written; a run that
/// begins at that moment is not kept from it.
pub fn look(dir: &Path) -> Look {
    let mut look = Look::missing(dir.to_path_buf());
    let partial = dir.join(PARTIAL);
    let is_working = matches!(disk::kind(&partial), Ok(Some(kind)) if kind.is_dir());
    let failed = |mut look: Look, what: String| {
        look.state = ShardState::Failed;
        look.detail = Some(what);
        look
    };
    // The status is read before the lock is tried, and the result after it: a run that finishes in between
    // is seen as finished.
    let status = RunStatus::read(&partial);
    let age = status.as_ref().and_then(|_| age(&partial));
    let locked = match is_working {
        true => locked(&partial.join(LOCK)),
        false => Locked::No,
    };
    let done = match Facts::read(&dir.join(RUN_JSON)) {
        Ok(done) => done,
        Err(what) => return failed(look, what),
    };
    if let Some(done) = done.filter(|_| !(is_working && locked == Locked::Yes)) {
        note_shard(&mut look, &done);
        let sizes = done.files.iter().chain(&done.folders);
        look.bytes = sizes.fold(0, |sum, size| sum.saturating_add(size.bytes));
        look.state = ShardState::Done;
        (look.records, look.residues) = (done.counts.records, done.counts.residues);
        return look;
    }
    if !is_working {
        return without_run(look);
    }
    match Facts::read(&partial.join(BEGUN_JSON)) {
        Err(what) => return failed(look, what),
        Ok(Some(begun)) => note_shard(&mut look, &begun),
        Ok(None) => {}
    }
    look.bytes = disk::bytes_in(&partial);
    let is_sealed = matches!(disk::kind(&partial.join(RUN_JSON)), Ok(Some(_)));
    let is_begun = matches!(disk::kind(&partial.join(BEGUN_JSON)), Ok(Some(_)));
    let (state, detail) = match (&status, is_begun || is_sealed) {
        (None, false) if locked != Locked::Yes => {
            look.state = ShardState::Missing;
            return without_run(look);
        }
        _ => judge(locked, status.as_ref(), age, &host()),
    };
    (look.state, look.detail) = (state, detail);
    if let Some(status) = status {
        note_status(&mut look, status);
    }
    look
}

/// A folder without anything of a run, and why it has nothing.
fn without_run(look: Look) -> Look {
    let (state, what) = match std::fs::read_dir(&look.folder) {
        Ok(_) => (ShardState::Missing, "nothing of a run is in it".into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (ShardState::Missing, "there is no such folder".into())
        }
        Err(error) => {
            let what = format!("{}: cannot be read: {error}", look.folder.display());
            (ShardState::Failed, what)
        }
    };
    Look {
        state,
        detail: Some(what),
        ..look
    }
}

fn note_shard(look: &mut Look, facts: &Facts) {
    look.shard = facts.shard().map(|shard| Shard {
        number: shard.number,
        of: shard.of,
    });
    look.plan = facts.plan();
}

fn note_status(look: &mut Look, status: RunStatus) {
    look.shard = look.shard.or(status.shard);
    (look.records, look.residues) = (status.records, status.residues);
    (look.all_records, look.all_residues) = (status.all_records, status.all_residues);
    look.host = Some(status.host).filter(|host| !host.is_empty());
    look.command = status.command;
    let computed = status.residues.saturating_sub(status.restored_residues);
    if look.state == ShardState::Running && status.seconds > 0.0 && computed > 0 {
        let rate = computed as f64 / status.seconds;
        look.residues_per_second = Some(rate);
        look.seconds_left = status
            .all_residues
            .map(|all| all.saturating_sub(status.residues) as f64 / rate);
    }
}

/// How long ago `status.json` was written, by the clock of the file system and that of this machine; `None`
/// if these clocks evidently differ.
fn age(partial: &Path) -> Option<Duration> {
    let metadata = std::fs::symlink_metadata(partial.join(super::STATUS_JSON)).ok()?;
    SystemTime::now()
        .duration_since(metadata.modified().ok()?)
        .ok()
}

/// A time in the largest unit of which there are two.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let fit = units.into_iter().find(|(unit, _)| seconds >= 2 * unit);
    let (unit, name) = fit.unwrap_or((1, "second"));
    count(seconds / unit, name)
}

fn locked(path: &Path) -> Locked {
    let Ok(file) = disk::open_regular(path) else {
        return match disk::kind(path) {
            Ok(None) => Locked::No,
            _ => Locked::Unknown,
        };
    };
    match flock::is_locked(&file) {
        Some(true) => Locked::Yes,
        Some(false) => Locked::No,
        None => Locked::Unknown,
    }
}

/// The state of an unfinished run. A lock that is held proves that it runs, and a recorded end that it does
/// not. A free lock proves that nothing runs on this machine; that it is free for other machines, too, holds
/// on most file systems, but not on all. Only then the time of the last sign of life counts, and only where
/// the clocks agree.
fn judge(
    locked: Locked,
    status: Option<&RunStatus>,
    age: Option<Duration>,
    here: &str,
) -> (ShardState, Option<String>) {
    if locked == Locked::Yes {
        return (ShardState::Running, None);
    }
    let Some(status) = status else {
        let what = "it ended without a message: it was killed, or its machine failed";
        return (ShardState::Stopped, Some(what.into()));
    };
    match status.state {
        RunState::Failed => return (ShardState::Failed, status.error.clone()),
        RunState::Stopped => return (ShardState::Stopped, status.error.clone()),
        RunState::Running => {}
    }
    if locked == Locked::No && status.host == here {
        let what = "it ended without a message: it was killed, or its machine failed";
        return (ShardState::Stopped, Some(what.into()));
    }
    let there = &status.host;
    match age {
        Some(age) if age <= SIGN_OF_LIFE => {
            let what = format!(
                "its last sign of life came from {there} {} ago; its lock cannot be seen from here",
                count(age.as_secs(), "second")
            );
            (ShardState::Running, Some(what))
        }
        Some(age) => {
            let what = format!(
                "no sign of life from {there} for {}, by the clocks of {there} and of this machine",
                ago(age)
            );
            (ShardState::Stopped, Some(what))
        }
        None => {
            let what = format!(
                "its lock is free; when it was last alive is unknown, because the clocks of {there} and of \
                 this machine differ"
            );
            (ShardState::Stopped, Some(what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: RunState) -> RunStatus {
        RunStatus {
            state,
            host: "node7".into(),
            error: Some("no memory".into()),
            ..RunStatus::here()
        }
    }

    fn judged(
        locked: Locked,
        state: Option<RunState>,
        seconds: Option<u64>,
        here: &str,
    ) -> (ShardState, String) {
        let status = state.map(status);
        let age = seconds.map(Duration::from_secs);
        let (state, detail) = judge(locked, status.as_ref(), age, here);
        (state, detail.unwrap_or_default())
    }

    #[test]
    fn a_lock_counts_more_than_any_time() {
        use RunState::{Failed, Running, Stopped};
        let killed = "it ended without a message: it was killed, or its machine failed";
        for age in [None, Some(0), Some(61), Some(1_000_000)] {
            for state in [None, Some(Running), Some(Stopped), Some(Failed)] {
                let found = judged(Locked::Yes, state, age, "login");
                assert_eq!(found, (ShardState::Running, String::new()));
            }
            let found = judged(Locked::No, Some(Running), age, "node7");
            assert_eq!(found, (ShardState::Stopped, killed.into()));
            let found = judged(Locked::No, None, age, "login");
            assert_eq!(found, (ShardState::Stopped, killed.into()));
            for locked in [Locked::No, Locked::Unknown] {
                let found = judged(locked, Some(Failed), age, "login");
                assert_eq!(found, (ShardState::Failed, "no memory".into()));
                let found = judged(locked, Some(Stopped), age, "login");
                assert_eq!(found, (ShardState::Stopped, "no memory".into()));
            }
        }
    }

    #[test]
    fn without_a_lock_in_sight_the_time_counts_where_clocks_agree() {
        let running = Some(RunState::Running);
        let (state, detail) = judged(Locked::No, running, Some(12), "login");
        assert_eq!(state, ShardState::Running);
        assert_eq!(
            detail,
            "its last sign of life came from node7 12 seconds ago; its lock cannot be seen from here"
        );
        let (state, detail) = judged(Locked::Unknown, running, Some(7200), "node7");
        assert_eq!(state, ShardState::Stopped);
        assert!(
            detail.starts_with("no sign of life from node7 for 2 hours, by "),
            "{detail}"
        );
        let (state, detail) = judged(Locked::No, running, None, "login");
        assert_eq!(state, ShardState::Stopped);
        assert!(
            detail.contains("the clocks of node7 and of this machine differ"),
            "{detail}"
        );
    }
}
