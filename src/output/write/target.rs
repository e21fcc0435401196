//! What is in the output folder before a run, and what the run may do with it.

use crate::output::array::Array;
use crate::output::counts::InFallback;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::{Layout, PARTIAL, RUN_JSON};
use crate::output::lock::{LOCK, Lock};
use crate::output::manifest::{Manifest, ManifestError};
use crate::output::publish;
use crate::output::publish::occupied::{check_targets, read_listed};
use crate::output::resume::journal::{JOURNAL, Journal};
use crate::output::resume::run_identity::{BEGUN_JSON, RunIdentity, RunIdentityFile};
use crate::output::status::{OwnStatus, STATUS_JSON, StatusFile};
use crate::output::write::array_writer::ArrayWriter;
use crate::output::write::folder::OutputFolder;
use crate::output::write::ledger::Ledger;
use crate::threads::Threads;
use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What happens to existing output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// It is not changed.
    #[default]
    Refuse,
    /// An unfinished run is discarded; a finished one is replaced once the new one is complete.
    Replace,
    /// An unfinished run is resumed.
    Resume,
}

impl Existing {
    /// What the settings `resume` and `force` ask for, of which one may be set.
    pub fn asked(resume: bool, force: bool) -> Existing {
        match (resume, force) {
            (true, _) => Existing::Resume,
            (false, true) => Existing::Replace,
            (false, false) => Existing::Refuse,
        }
    }
}

/// What an output folder contains.
#[derive(Debug)]
pub enum State {
    /// Nothing of a run, or what is to be replaced.
    Fresh,
    /// The work of an unfinished run.
    Interrupted(Box<RunIdentity>),
    /// A run whose files are finished but may not all be in their places.
    Sealed(Box<Manifest>),
    /// A finished run.
    Complete(Box<Manifest>),
}

/// An output folder that a run may write into.
#[derive(Debug)]
pub struct Target {
    dir: PathBuf,
    partial: PathBuf,
    layout: Layout,
    existing: Existing,
    state: State,
    /// Taken early if there is work to resume, otherwise when the run begins.
    lock: Option<Lock>,
}

impl Target {
    /// Examines `dir`, which may be missing, empty, or have files that no run writes; those are never
    /// changed.
    ///
    /// Nothing is created or changed, except the lock of a working folder that is to be resumed.
    ///
    /// # Errors
    /// When `dir` is not a folder, holds what `existing` does not allow, or cannot be read; with
    /// [`Existing::Resume`] also when another run is writing into it, or when its work cannot be
    /// continued by this version.
    pub fn examine(dir: &Path, layout: &Layout, existing: Existing) -> Result<Self, OutputError> {
        let mut target = Self {
            dir: dir.to_path_buf(),
            partial: dir.join(PARTIAL),
            layout: layout.clone(),
            existing,
            state: State::Fresh,
            lock: None,
        };
        if !target.is_folder()? {
            return Ok(target);
        }
        let partial = kind(&target.partial)?;
        if existing != Existing::Resume {
            check_targets(dir, layout, existing == Existing::Replace)?;
        }
        match partial {
            None => {}
            Some(kind) if kind.is_symlink() => {
                return Err(OutputError::Symlink {
                    path: target.partial,
                });
            }
            Some(kind) if !kind.is_dir() => {
                return Err(OutputError::InTheWay {
                    path: target.partial,
                });
            }
            Some(_) if existing == Existing::Resume => target.lock = Some(Lock::take(dir)?),
            Some(_) => target.check_unused()?,
        }
        match existing {
            Existing::Refuse => {}
            Existing::Replace => drop(read_listed(dir)?),
            Existing::Resume => target.state = target.find_work()?,
        }
        Ok(target)
    }

    /// What was found.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Bytes on the disk of the work that was found.
    pub fn held_bytes(&self) -> u64 {
        match self.state {
            State::Interrupted(_) => disk::bytes_below(&self.partial),
            _ => 0,
        }
    }

    /// Which records are done in the work that was found; nothing is created or changed.
    ///
    /// # Errors
    /// When the journal is there and cannot be read.
    pub fn journal(&self) -> Result<Option<Journal>, OutputError> {
        match self.state {
            State::Interrupted(_) => Journal::open_to_read(&self.partial),
            State::Fresh | State::Sealed(_) | State::Complete(_) => Ok(None),
        }
    }

    /// Creates the folder and its working folder. With [`Existing::Replace`], the work of an
    /// unfinished run is discarded now, and the files of a finished one are replaced in
    /// [`OutputFolder::finish`].
    ///
    /// # Errors
    /// When another run is writing into the folder or has done so since [`Self::examine`], or when
    /// it cannot be written.
    pub fn begin(self, identity: RunIdentity) -> Result<OutputFolder, OutputError> {
        let stored = self.layout.clone();
        self.begin_storing(&stored, identity)
    }

    fn begin_storing(
        mut self,
        stored: &Layout,
        mut identity: RunIdentity,
    ) -> Result<OutputFolder, OutputError> {
        let dir = &self.dir;
        std::fs::create_dir_all(dir).map_err(|e| OutputError::io("making", dir, e))?;
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => Lock::take(dir)?,
        };
        if let Err(error) = self.clear() {
            lock.release();
            return Err(error);
        }
        identity.replaces = self.existing == Existing::Replace;
        identity.write(&self.partial)?;
        let ledger = Ledger::create(&self.partial, &self.layout)?;
        let rows = ArrayWriter::create(&self.partial, stored)?;
        let journal = Journal::create(&self.partial)?;
        self.open(identity, ledger, rows, journal, lock, false)
    }

    /// The same for a linked folder, whose arrays are in other folders.
    pub(crate) fn begin_linked(self) -> Result<OutputFolder, OutputError> {
        let stored = self.layout.without_arrays();
        self.begin_storing(&stored, RunIdentity::default())
    }

    /// Resumes the work that was found, whose identity the caller has compared. Everything but the
    /// values and the journal is written again.
    ///
    /// # Errors
    /// When there is no such work, or the folder cannot be read or written.
    pub fn resume(mut self) -> Result<OutputFolder, OutputError> {
        let state = std::mem::replace(&mut self.state, State::Fresh);
        let (State::Interrupted(identity), Some(lock)) = (state, self.lock.take()) else {
            return Err(OutputError::NotResumable {
                path: self.partial,
                what: "has no unfinished work".into(),
            });
        };
        let mut kept = vec![LOCK.to_owned(), BEGUN_JSON.into(), JOURNAL.into()];
        kept.extend(self.layout.arrays().iter().map(Array::location));
        remove_others(&self.partial, &kept)?;
        let ledger = Ledger::create(&self.partial, &self.layout)?;
        let rows = ArrayWriter::open(&self.partial, &self.layout)?;
        let journal = Journal::open(&self.partial)?;
        self.open(*identity, ledger, rows, journal, lock, true)
    }

    /// Moves the remaining files of a sealed run to their places and writes `run.json`; for a complete
    /// run, removes what is left of the working folder.
    ///
    /// # Errors
    /// When a file is missing, cannot be moved, or is not as `run.json` says.
    pub fn complete(mut self) -> Result<Manifest, OutputError> {
        let state = std::mem::replace(&mut self.state, State::Fresh);
        match (state, self.lock.take()) {
            (State::Sealed(manifest), Some(lock)) => {
                let replaces = RunIdentity::read(&self.partial)?.is_some_and(|run| run.replaces);
                publish::carry_out(&self.dir, &self.partial, &manifest, replaces)?;
                lock.release();
                Ok(*manifest)
            }
            (State::Complete(manifest), lock) => {
                if let Some(lock) = lock {
                    remove_others(&self.partial, &[LOCK.to_owned()])?;
                    lock.release();
                }
                Ok(*manifest)
            }
            _ => Err(OutputError::NotResumable {
                path: self.partial,
                what: "has no finished run".into(),
            }),
        }
    }

    fn open(
        self,
        identity: RunIdentity,
        ledger: Ledger,
        rows: ArrayWriter,
        journal: Journal,
        lock: Lock,
        resumed: bool,
    ) -> Result<OutputFolder, OutputError> {
        // Files that are synced later have to be found by their names.
        for folder in [&self.partial, &self.dir] {
            disk::sync_folder(folder).map_err(|e| OutputError::io("syncing", folder, e))?;
        }
        Ok(OutputFolder {
            dir: self.dir,
            status: OwnStatus(Arc::new(StatusFile::new(&self.partial))),
            identity: RunIdentityFile::new(&self.partial, identity),
            partial: self.partial,
            layout: self.layout,
            shard: None,
            ledger,
            rows,
            journal,
            lock,
            known: 0,
            links: Vec::new(),
            resumed,
            in_fallback: InFallback::default(),
            threads: Threads::default(),
        })
    }

    /// Whether `dir` is there.
    fn is_folder(&self) -> Result<bool, OutputError> {
        let not_a_folder = || OutputError::NotAFolder {
            path: self.dir.clone(),
        };
        match std::fs::metadata(&self.dir) {
            Ok(metadata) if metadata.is_dir() => Ok(true),
            Ok(_) => Err(not_a_folder()),
            // A dangling link exists, so a folder cannot be created there.
            Err(e) if e.kind() == io::ErrorKind::NotFound => match kind(&self.dir)? {
                None => Ok(false),
                Some(_) => Err(not_a_folder()),
            },
            Err(e) => Err(OutputError::io("reading", &self.dir, e)),
        }
    }

    /// Refuses a working folder with work, unless it may be discarded.
    fn check_unused(&self) -> Result<(), OutputError> {
        if self.existing == Existing::Replace || is_unused(&self.partial)? {
            return Ok(());
        }
        Err(OutputError::Unfinished {
            dir: self.dir.clone(),
        })
    }

    /// Checks again, now that no other run can write, and empties the working folder.
    fn clear(&self) -> Result<(), OutputError> {
        let replaces = self.existing == Existing::Replace;
        check_targets(&self.dir, &self.layout, replaces)?;
        self.check_unused()?;
        if replaces {
            read_listed(&self.dir)?;
            publish::take_back(&self.dir, &self.partial)?;
        }
        remove_others(&self.partial, &[LOCK.to_owned()])
    }

    /// The work that can be resumed.
    fn find_work(&self) -> Result<State, OutputError> {
        if let Some(manifest) = read_manifest(&self.partial)? {
            return Ok(State::Sealed(Box::new(manifest)));
        }
        if let Some(identity) = RunIdentity::read(&self.partial)? {
            check_targets(&self.dir, &self.layout, identity.replaces)?;
            return Ok(State::Interrupted(Box::new(identity)));
        }
        if let Some(manifest) = read_manifest(&self.dir)? {
            return Ok(State::Complete(Box::new(manifest)));
        }
        if !is_unused(&self.partial)? {
            return Err(OutputError::NotResumable {
                path: self.partial.clone(),
                what: "does not say which run its work is of".into(),
            });
        }
        check_targets(&self.dir, &self.layout, false)?;
        Ok(State::Fresh)
    }
}

impl OutputFolder {
    /// [`Target::examine`] and [`Target::begin`] of a run that is not to be resumed.
    ///
    /// # Errors
    /// As those.
    pub fn create(dir: &Path, layout: Layout, force: bool) -> Result<Self, OutputError> {
        let existing = if force {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        Target::examine(dir, &layout, existing)?.begin(RunIdentity::default())
    }
}

/// Whether a working folder is missing, or has only files that precede any work.
pub(crate) fn is_unused(partial: &Path) -> Result<bool, OutputError> {
    let reading = |e| OutputError::io("reading", partial, e);
    let entries = match std::fs::read_dir(partial) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        entries => entries.map_err(reading)?,
    };
    let new = |name: &str| format!("{name}{}", disk::NEW);
    let unused = [
        LOCK.into(),
        STATUS_JSON.into(),
        new(BEGUN_JSON),
        new(STATUS_JSON),
    ];
    for entry in entries {
        let name = entry.map_err(reading)?.file_name();
        if !unused.iter().any(|unused| *name == **unused) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes everything from a working folder except the named files.
fn remove_others(partial: &Path, kept: &[String]) -> Result<(), OutputError> {
    let reading = |e| OutputError::io("reading", partial, e);
    for entry in std::fs::read_dir(partial).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        if kept.iter().any(|name| entry.file_name() == **name) {
            continue;
        }
        let path = entry.path();
        let removed = if entry.file_type().map_err(reading)?.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(|e| OutputError::io("removing", &path, e))?;
    }
    Ok(())
}

fn read_manifest(dir: &Path) -> Result<Option<Manifest>, OutputError> {
    Manifest::read(dir).map_err(|error| match error {
        ManifestError::Io(cause) => OutputError::io("reading", &dir.join(RUN_JSON), cause),
        other => OutputError::NotResumable {
            path: dir.join(RUN_JSON),
            what: other.to_string(),
        },
    })
}

fn kind(path: &Path) -> Result<Option<FileType>, OutputError> {
    disk::kind(path).map_err(|e| OutputError::io("reading", path, e))
}
